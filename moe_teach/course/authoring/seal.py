"""The seal of an executed page: all that is stored on it comes from one run of one version.

The seal is a digest of the version, of every code cell and of everything stored under it. An
output from another run, a cell that was edited and not run, another version: each breaks it, and
only running the whole page makes a new one. Text may change without a run.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import moe_teach

Seal = dict[str, str]


def seal_of(notebook: Mapping[str, Any], version: str = moe_teach.__version__) -> Seal:
    """Seal what a notebook, read as JSON, holds now as a run of `version`."""
    cells = [
        (_joined(cell["source"]), [_joined(output) for output in cell["outputs"]])
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]
    text = json.dumps([version, cells], sort_keys=True)
    return {"version": version, "stamp": hashlib.sha256(text.encode()).hexdigest()[:16]}


def stored_seal(notebook: Mapping[str, Any]) -> Seal | None:
    """Give the seal that a notebook carries, or None where it was never run as a whole."""
    return notebook["metadata"].get("moe_teach", {}).get("run")


def broken_seal(notebook: Mapping[str, Any]) -> str:
    """Say in a sentence what is wrong with a page's seal; nothing where it holds."""
    stored = stored_seal(notebook)
    if stored is None:
        return "It was never run as a whole."
    if stored["version"] != moe_teach.__version__:
        return f"It was run by version {stored['version']}, and this is {moe_teach.__version__}."
    if stored != seal_of(notebook):
        return "Some of its code or outputs do not come from the run that its seal names."
    return ""


def _joined(part: Any) -> Any:
    """Join text that a notebook file keeps as a list of lines."""
    if isinstance(part, list) and all(isinstance(line, str) for line in part):
        return "".join(part)
    if isinstance(part, Mapping):
        ignored = {"execution_count"}
        return {name: _joined(value) for name, value in part.items() if name not in ignored}
    return part
