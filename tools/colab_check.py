"""Try the course as Colab would run it, without Colab: `make colab-check`.

1. uv resolves the core for Colab's Python with every version that Colab has held fixed.
2. An environment gets those versions (and torch's build for CPUs), and nothing of the course.
3. The first lessons run in it, in fast mode, in a kernel that believes it is on Colab: their set-up
   cell itself installs the course, from the last commit here. Nothing that was there may change.

What this cannot show: Colab's own page, and so whether a widget is drawn there.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "tests/colab_versions.txt"
HOME = ROOT / "build/colab"
LESSONS = ("00_start_here", "01_why_sparse", "02_mixtures", "03_router", "04_dispatch")
NOT_AT_FIRST = ("torch", "triton")  # torch has a build of its own, and brings its triton
# What Colab's kernel has imported before the first cell runs, as far as anywidget asks for it.
STAND_IN = {
    "google/colab/__init__.py": '"""Stands in for Colab\'s own package."""\n',
    "google/colab/output/__init__.py": (
        "from google.colab.output import _widgets\n\n\n"
        "def enable_custom_widget_manager():\n"
        "    _widgets._installed_url = 'https://colab.invalid/manager.min.js'\n"
    ),
    "google/colab/output/_widgets.py": "_installed_url = None\n",
}
WIDGET = "application/vnd.jupyter.widget-view+json"
CELL_LIMIT = 900  # seconds; the first cell installs the course


def main() -> int:
    """Say what was tried and what came out; return 0, or 1 where the course would fail."""
    parser = argparse.ArgumentParser(description="Try the course as Colab would run it.")
    parser.add_argument("lessons", nargs="*", default=LESSONS, metavar="NN_slug")
    parser.add_argument("--torch", metavar="VERSION", help="another than the one of Colab")
    parser.add_argument("--keep", action="store_true", help="use the environment of last time")
    asked = parser.parse_args()
    pins = recorded()
    if not resolves():
        return 1
    python = HOME / "bin/python"
    if asked.keep and python.exists():
        subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", "moe-teach"], check=True)
    else:
        environment(python, asked.torch or pins["torch"], pins)
    before = frozen(python)
    problems = []
    with tempfile.TemporaryDirectory() as scratch:
        for lesson in asked.lessons:
            problems += run(lesson, python, Path(scratch))
    after = frozen(python)
    for name in sorted(before):
        if after.get(name) != before[name]:
            problems.append(f"{name} {before[name]} became {after.get(name, 'nothing')}")
    print(f"The set-up cell added: {', '.join(sorted(after.keys() - before.keys())) or 'nothing'}.")
    print(*problems or ["Colab's versions carry the course: no error, nothing replaced."], sep="\n")
    return 1 if problems else 0


def recorded() -> dict[str, str]:
    """Read what Colab carries, by name."""
    lines = RECORD.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


def resolves() -> bool:
    """Ask uv whether the core can be installed beside what Colab has; reads descriptions only."""
    python = re.search(r"Python (\d+\.\d+)", RECORD.read_text(encoding="utf-8"))[1]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-python-downloads"),
            *("--python", sys.executable, "--python-version", python),
            *("--python-platform", "x86_64-unknown-linux-gnu"),
            *("--constraints", RECORD, ROOT / "pyproject.toml"),
        ],
        capture_output=True,
        text=True,
    )
    print(f"Resolved for Python {python} with Colab's versions: {done.returncode == 0}", flush=True)
    print(done.stderr, end="", file=sys.stderr)
    return done.returncode == 0


def environment(python: Path, torch: str, pins: dict[str, str]) -> None:
    """Make the environment anew: Colab's versions, pip, and torch's build for CPUs."""
    shutil.rmtree(HOME, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", HOME], check=True)
    held = HOME / "constraints.txt"
    held.write_text("".join(f"{n}=={v}\n" for n, v in pins.items() if n not in NOT_AT_FIRST))
    with_torch = HOME / "torch.txt"
    with_torch.write_text(f"{held.read_text()}torch=={torch}\n")
    set_up = (python, ROOT / "tools/set_up.py", "--torch", "cpu", "--torch-only")
    subprocess.run([*set_up, "-c", with_torch], check=True)
    names = [n for n in pins if n not in (*NOT_AT_FIRST, "transformers")]
    wanted = ("uv", "pip", "install", "--quiet", "--python", python, "-c", with_torch)
    subprocess.run([sys.executable, "-m", *wanted, *names, "ipykernel"], check=True)


def frozen(python: Path) -> dict[str, str]:
    """List what the environment holds, by name."""
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {item["name"]: item["version"] for item in json.loads(listed.stdout)}


def run(lesson: str, python: Path, scratch: Path) -> Iterator[str]:
    """Run one lesson far from any clone, and give what went wrong, a sentence each."""
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    specs = stage(scratch, python)
    notebook = nbformat.read(ROOT / f"notebooks/{lesson}.ipynb", as_version=4)
    manager = AsyncKernelManager(
        kernel_name="colab", kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(specs)])
    )
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=CELL_LIMIT,
        allow_errors=True,
        store_widget_state=False,
        resources={"metadata": {"path": str(scratch)}},
    )
    begin = time.perf_counter()
    client.execute(env=surroundings(scratch))
    yield from judged(lesson, notebook, time.perf_counter() - begin)


def stage(scratch: Path, python: Path) -> Path:
    """Lay out a kernel of that Python, and what it imports first; return the kernels' folder."""
    for name, text in STAND_IN.items():
        file = scratch / "stand_in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    startup = scratch / "ipython/profile_default/startup"
    startup.mkdir(parents=True, exist_ok=True)
    (startup / "colab.py").write_text("import google.colab.output\n")
    spec = scratch / "kernels/colab"
    spec.mkdir(parents=True, exist_ok=True)
    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    words = {"argv": command, "display_name": "Colab", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(words))
    return spec.parent


def surroundings(scratch: Path) -> dict[str, str]:
    """Give the kernel's variables: short runs, no clone at hand, the published address led here."""
    from moe_teach.course.authoring.pages import repository_url

    return {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "PYTHONPATH": str(scratch / "stand_in"),
        "IPYTHONDIR": str(scratch / "ipython"),
        "MOE_TEACH_HOME": str(scratch / "home"),
        "MOE_TEACH_FAST": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{ROOT.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": repository_url(ROOT),
    }


def judged(lesson: str, notebook: Any, seconds: float) -> Iterator[str]:
    """Print one line on a lesson that ran, and give what a reader would stumble over."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [(n, output) for n, cell in enumerate(cells, 1) for output in cell.outputs]
    widgets = sum("colab" in output.get("metadata", {}).get(WIDGET, {}) for _, output in outputs)
    print(f"{lesson}: {len(cells)} cells, {widgets} live widgets, {seconds:.0f} s", flush=True)
    shown = sum(WIDGET in output.get("data", {}) for _, output in outputs)
    if shown != widgets:
        yield f"{lesson}: {shown - widgets} widgets do not say which manager Colab shall load"
    for number, output in outputs:
        if output.output_type == "error":
            yield f"{lesson}, code cell {number}: {output.ename}: {output.evalue}"
        elif output.output_type == "stream" and output.name == "stderr":
            yield f"{lesson}, code cell {number} writes to stderr: {output.text[:300]}"


if __name__ == "__main__":
    sys.exit(main())
