"""The reader's desk: copies of the notebooks to write in, so that the clone itself stays clean.

    desk/notebooks/  exercises/  solutions/     as in the course, with the links between them
    desk/earlier/                               what an update has replaced

A copy in which nobody changed a cell (running it is no change) follows the course. Any other one
stays as it is, and the course's new form comes beside it.
"""

import hashlib
import json
import shutil
import time
from pathlib import Path

from moe_teach.files import write_atomically

SHELVES = ("notebooks", "exercises", "solutions")
_RECORD = ".handed_out.json"  # by file, the cells as the course gave them


def hand_out(course: Path, desk: Path) -> list[str]:
    """Bring the desk up to date with the course's notebooks; give a sentence for each event.

    Loses nothing that the reader wrote. Raises `OSError` where the desk cannot be written.
    """
    record = _read_record(desk)
    said = []
    new = 0
    for given in (path for shelf in SHELVES for path in sorted((course / shelf).glob("*.ipynb"))):
        name = given.relative_to(course).as_posix()
        own = desk / name
        cells = cells_digest(given)
        if not own.exists():
            new += 1
        elif (held := cells_digest(own)) == cells:
            record[name] = cells
            continue
        elif held is None or held != record.get(name):
            said += _put_beside(given, own)
            continue
        else:
            _keep_earlier(desk, own)
            said.append(f"{name} is new in the course; your copy of the old one is in earlier/.")
        write_atomically(own, given.read_bytes())
        record[name] = cells
    text = json.dumps(record, indent=1, sort_keys=True) + "\n"
    write_atomically(desk / _RECORD, text.encode())
    return ([f"{new} notebooks laid out in {desk}."] if new else []) + said


def cells_digest(notebook: Path) -> str | None:
    """Name what the cells of a notebook say, without outputs; None for what is no notebook."""
    try:
        cells = json.loads(notebook.read_bytes())["cells"]
        said = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    except (ValueError, TypeError, LookupError):
        return None
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _put_beside(given: Path, own: Path) -> list[str]:
    """Lay the course's new form beside a copy that is the reader's by now."""
    beside = own.with_name(f"{own.stem}.new.ipynb")
    if beside.exists() and cells_digest(beside) == cells_digest(given):
        return []
    if beside.exists():  # they may have begun to work in it
        _keep_earlier(own.parents[1], beside)
    write_atomically(beside, given.read_bytes())
    return [f"{own.parent.name}/{own.name} stays as you wrote it; {beside.name} beside it is new."]


def _keep_earlier(desk: Path, copy: Path) -> None:
    day = time.strftime("%Y-%m-%d")
    number = 1
    while (
        kept := desk / "earlier" / copy.parent.name / f"{copy.stem} {day} {number}.ipynb"
    ).exists():
        number += 1
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(copy, kept)


def _read_record(desk: Path) -> dict[str, str]:
    """Read what was handed out; without a record every changed copy counts as the reader's."""
    try:
        stored = json.loads((desk / _RECORD).read_bytes())
        return {str(name): str(cells) for name, cells in stored.items()}
    except (OSError, ValueError, AttributeError):
        return {}
