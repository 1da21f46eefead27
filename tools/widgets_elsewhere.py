"""Try every widget where the course's own tests do not look, and print a table.

    .venv/bin/python tools/widgets_elsewhere.py [--notebook PYTHON_WITH_NOTEBOOK_7]

Exported pages (two templates of nbconvert) open in a Chromium whose network is off. Notebook 7
runs from the environment that is named (with `notebook`, `anywidget`, `jupyterlab_widgets`); its
kernel is this Python. In each place a widget has to be seen, and something of it has to change at a
click on its first control and at an arrow key.
"""

import argparse
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from playwright.sync_api import Browser, Locator, Page, sync_playwright

from moe_teach.lab_check.server import launch_chromium
from moe_teach.text_table import in_markdown

WIDGETS = {
    "balance_replay": "BalanceReplay()",
    "batch_explorer": "BatchExplorer()",
    "cache_replay": "CacheReplay()",
    "cost_calculator": "CostCalculator()",
    "dispatch_explorer": "DispatchExplorer()",
    "expert_shelf": "ExpertShelf()",
    "granularity": "Granularity.of([(1, 0, [45.9, 45.3]), (2, 0, [47.5]), (4, 1, [46.8])])",
    "loss_axes": "LossAxes()",
    "route_explorer": "RouteExplorer()",
    "router_playground": "RouterPlayground()",
    "tile_map": "TileMap()",
}
SHORTER = {"cost_calculator": ".moe-cost"}
TEMPLATES = ("lab", "classic")
LIVE = "application/vnd.jupyter.widget-view+json"
# What of a widget can change: its elements, the values of its controls, and what a canvas holds.
STATE = """root => root.innerHTML
  + [...root.querySelectorAll("input, select")].map(control => control.value)
  + [...root.querySelectorAll("canvas")].map(canvas => canvas.toDataURL())"""
SECONDS = 120


def main() -> int:
    """Print the table; return 0 when every widget lives everywhere it was tried."""
    parser = argparse.ArgumentParser(description="Try every widget in exported pages, Notebook 7.")
    parser.add_argument("--notebook", type=Path, metavar="PYTHON", help="has Notebook 7")
    asked = parser.parse_args()
    found: dict[str, dict[str, str]] = {name: {} for name in WIDGETS}
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        chromium = launch_chromium(playwright)
        for template in TEMPLATES:
            page = exported_page(chromium, Path(scratch), template)
            for name in WIDGETS:
                found[name][f"exported, {template}"] = tried(page, name)
        if asked.notebook:
            with notebook_7(Path(scratch), asked.notebook) as address:
                page = run_notebook(chromium, address)
                for name in WIDGETS:
                    found[name]["Notebook 7"] = tried(page, name)
    header = ("widget", *found["tile_map"])
    print(in_markdown(header, [(name, *places.values()) for name, places in found.items()]))
    verdicts = [verdict for places in found.values() for verdict in places.values()]
    return 0 if all(verdict == "seen, mouse, keys" for verdict in verdicts) else 1


def cells() -> list[dict[str, Any]]:
    """Write one cell for each widget, whose output is what a stored lesson would hold."""
    blank = {"cell_type": "code", "execution_count": None, "metadata": {}}
    written = []
    for name, made in WIDGETS.items():
        kind = made.partition("(")[0].partition(".")[0]
        module = import_module(f"moe_teach.widgets.{name}")
        bundle = eval(made, vars(module))._repr_mimebundle_()[0]
        bundle.pop(LIVE, None)
        output = {"output_type": "display_data", "metadata": {}, "data": bundle}
        source = f"from moe_teach.widgets.{name} import {kind}\n{made}"
        written.append(blank | {"id": name, "source": source, "outputs": [output]})
    return written


def as_notebook(kernel: str) -> dict[str, Any]:
    """Write a notebook of all widgets."""
    spec = {"name": kernel, "display_name": kernel, "language": "python"}
    return {"cells": cells(), "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5}


def exported_page(chromium: Browser, scratch: Path, template: str) -> Page:
    """Export the notebook as nbconvert does, and open the file without a network."""
    import nbformat
    from nbconvert import HTMLExporter

    notebook = nbformat.from_dict(as_notebook("python3"))
    text, _ = HTMLExporter(template_name=template).from_notebook_node(notebook)
    file = scratch / f"{template}.html"
    file.write_text(text, encoding="utf-8")
    page = chromium.new_context(offline=True, viewport={"width": 1200, "height": 1400}).new_page()
    page.goto(file.as_uri(), wait_until="domcontentloaded")
    return page


@contextmanager
def notebook_7(scratch: Path, python: Path) -> Iterator[str]:
    """Serve the notebook with that Python's Notebook 7; the address of the page that shows it."""
    spec = scratch / "data/kernels/course"
    spec.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    words = {"argv": command, "display_name": "course", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(words))
    unrun = as_notebook("course")
    for cell in unrun["cells"]:
        cell["outputs"] = []  # so that what is seen there is the live view
    (scratch / "all.ipynb").write_text(json.dumps(unrun))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(8)
    server = subprocess.Popen(
        [
            *(python, "-m", "notebook", "--no-browser", "--allow-root", f"--port={port}"),
            *("--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={scratch}"),
            *(
                f"--IdentityProvider.token={token}",
                "--JupyterNotebookApp.expose_app_in_browser=True",
            ),
        ],
        env={**os.environ, "JUPYTER_PATH": str(scratch / "data"), "IPYTHONDIR": str(scratch)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(SECONDS):
            try:
                urlopen(f"{address}/api?token={token}", timeout=5).close()
                break
            except OSError:
                time.sleep(1)
        yield f"{address}/notebooks/all.ipynb?token={token}"
    finally:
        server.terminate()
        server.wait()


def run_notebook(chromium: Browser, address: str) -> Page:
    """Open the notebook, run all of it, and wait until no cell is busy."""
    page = chromium.new_page(viewport={"width": 1200, "height": 1400})
    page.set_default_timeout(SECONDS * 1000)
    page.goto(address)
    page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext?.isReady")
    page.evaluate("""async () => {
      await window.jupyterapp.commands.execute("notebook:run-all-cells");
    }""")
    return page


def tried(page: Page, name: str) -> str:
    """Say what of a widget works on a page: that it is seen, the mouse, the keys."""
    widget = page.locator(SHORTER.get(name, f".moe-{name.replace('_', '-')}")).first
    try:
        widget.wait_for(timeout=SECONDS * 1000)
        widget.scroll_into_view_if_needed()
        box = widget.bounding_box()
    except Exception as unseen:  # the table shall hold the others all the same
        return f"not seen: {str(unseen).splitlines()[0]}"
    works = ["seen"] if box and box["width"] > 200 and box["height"] > 150 else []
    slider = widget.locator("input[type=range]:visible")
    button = widget.locator("button:not([aria-pressed=true]):visible")
    by_slider = slider.count() > 0
    ways = (clicked, pressed) if by_slider else (Locator.click, entered)
    control = (slider if by_slider else button).first
    for word, way in zip(("mouse", "keys"), ways, strict=True):
        works += [word] if changes(widget, lambda way=way: way(control)) else []
    print(name, *works, file=sys.stderr, flush=True)
    return ", ".join(works) or "nothing"


def entered(button: Locator) -> None:
    """Press a button as people without a mouse do."""
    button.focus()
    button.press("Enter")


def changes(widget: Locator, act: Callable[[], None]) -> bool:
    """Act, and tell whether the widget changes within two seconds."""
    before = widget.evaluate(STATE)
    act()
    for _ in range(20):
        if widget.evaluate(STATE) != before:
            return True
        time.sleep(0.1)
    return False


def clicked(slider: Locator) -> None:
    """Click where the slider is not standing: at a quarter of its length, or at three quarters."""
    box = slider.bounding_box()
    at_left = slider.evaluate("s => (s.value - s.min) / (s.max - s.min) < 0.5")
    slider.click(position={"x": box["width"] * (0.85 if at_left else 0.15), "y": box["height"] / 2})


def pressed(slider: Locator) -> None:
    """Press the arrow key that leads away from the slider's end."""
    slider.focus()
    at_end = slider.evaluate("s => Number(s.value) >= Number(s.max)")
    slider.press("ArrowLeft" if at_end else "ArrowRight")


if __name__ == "__main__":
    sys.exit(main())
