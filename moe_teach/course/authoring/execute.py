"""Runs lessons in a kernel and stores their outputs, less whatever varies from run to run."""

import json
import os
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LIVE_VIEW = "application/vnd.jupyter.widget-view+json"
_ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")
_CELL_LIMIT = 600  # seconds; a lesson's own budget is far below


@dataclass(frozen=True)
class Run:
    """What one execution cost, and what in its outputs should not be there."""

    lesson: str
    seconds: float
    peak_mb: float  # 0 where the system does not tell
    problems: tuple[str, ...]


def execute(path: Path) -> tuple[str, Run]:
    """Run one notebook from top to bottom and return its text with clean outputs.

    Raises nbclient's `CellExecutionError` when a cell fails.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    metadata = json.loads(json.dumps(notebook.metadata))
    peaks = [0.0]
    client = NotebookClient(
        notebook,
        timeout=_CELL_LIMIT,
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_complete=lambda **_: peaks.append(_peak_mb(client)),
    )
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        client.execute(env={**os.environ, "MOE_TEACH_HOME": scratch, "MOE_TEACH_MINE": "off"})
    seconds = time.perf_counter() - begin
    problems = clean(notebook)
    notebook.metadata = nbformat.from_dict(metadata)
    text = nbformat.writes(notebook) + "\n"
    return text, Run(path.stem, seconds, max(peaks), tuple(problems))


def clean(notebook: Any) -> list[str]:
    """Make stored outputs the same on every run; list what the lesson itself must mend."""
    problems = []
    for number, cell in enumerate(notebook.cells, start=1):
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        cell.outputs = _joined(cell.outputs)
        for output in cell.outputs:
            output.get("data", {}).pop(_LIVE_VIEW, None)
            shown = json.dumps(output)
            if output.output_type == "stream" and output.name == "stderr":
                problems.append(f"cell {number} writes to stderr: {output.text[:200].strip()}")
            if _ADDRESS.search(shown):
                problems.append(f"cell {number} prints a memory address")
    return problems


def _joined(outputs: list[Any]) -> list[Any]:
    """Join neighbouring pieces of one stream, and keep of a progress line what it ended as."""
    joined: list[Any] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last and output.output_type == "stream" == last.output_type and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    for output in joined:
        if output.output_type == "stream":
            lines = output.text.split("\n")
            output.text = "\n".join(line.rstrip("\r").split("\r")[-1] for line in lines)
    return joined


def _peak_mb(client: Any) -> float:
    """Read the kernel's largest resident size so far (Linux); 0 elsewhere."""
    try:
        status = Path(f"/proc/{client.km.provisioner.pid}/status").read_text()
    except (OSError, AttributeError):
        return 0.0
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(match.group(1)) / 1024 if match else 0.0
