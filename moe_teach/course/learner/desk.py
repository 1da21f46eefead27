"""The reader's desk: copies of the notebooks to write in, so that the course itself stays clean.

    desk/notebooks/  exercises/  solutions/     as in the course, with the links between them
    desk/earlier/                               what an update has replaced

A copy in which nobody changed a cell (running it is no change) follows the course. Any other one
stays as it is, and the course's new form comes beside it. Where the desk is, the folder of the
reader's own files remembers.
"""

import contextlib
import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

from moe_teach.files import home, write_atomically
from moe_teach.text_table import counted

SHELVES = ("notebooks", "exercises", "solutions")
_RECORD = ".handed_out.json"  # by file, the cells as the course gave them
_N_NAMED = 3  # headings of what is new


class NoDesk(LookupError):
    """The folder cannot be a desk; the message says why and what to name instead."""


def lay_out(course: Path, desk: Path) -> list[str]:
    """Hand out the notebooks, remember where, and give a sentence for each event.

    Raises:
        NoDesk: where the folder holds the course itself or cannot be written.
    """
    if desk.resolve() == course.resolve():
        raise NoDesk(
            f"{desk} is the course itself. Name another folder, so that what you write there and "
            "what an update brings do not meet in one file."
        )
    try:
        said = hand_out(course, desk)
    except OSError as problem:
        reason = (problem.strerror or str(problem)).rstrip(".")
        raise NoDesk(
            f"The notebooks cannot be laid out in {desk} ({reason}). Name a folder that may be "
            "written to, for example one in your home."
        ) from problem
    with contextlib.suppress(
        OSError
    ):  # without a home the verb `next` knows no folder, that is all
        write_atomically(_note(), str(desk.resolve()).encode())
    return said


def place() -> Path | None:
    """Give the desk that was laid out last, if it is still there."""
    try:
        desk = Path(_note().read_text(encoding="utf-8"))
        return desk if (desk / _RECORD).is_file() else None
    except (OSError, ValueError):
        return None


def hand_out(course: Path, desk: Path) -> list[str]:
    """Bring the desk up to date with the course's notebooks; give a sentence for each event.

    Loses nothing that the reader wrote. Raises `OSError` where the desk cannot be written.
    """
    record = _read_record(desk)
    said, new = [], []
    for given in (path for shelf in SHELVES for path in sorted((course / shelf).glob("*.ipynb"))):
        name = given.relative_to(course).as_posix()
        own = desk / name
        cells = cells_digest(given)
        if not own.exists():
            new.append(name)
        elif (held := cells_digest(own)) == cells:
            record[name] = cells
            continue
        elif held is not None and record.get(name) == cells:
            continue  # written in since, and the course has nothing new for it
        elif held is None or held != record.get(name):
            said += _put_beside(given, own)
            continue
        else:
            said.append(
                f"{name} is new in the course{_news(given, own)}; your copy of the old one is in "
                "earlier/."
            )
            _keep_earlier(desk, own)
        write_atomically(own, given.read_bytes())
        record[name] = cells
    said = _laid_out(desk, new, is_first=len(new) == len(record)) + said
    said += _left_out(course, desk, record)
    text = json.dumps(record, indent=1, sort_keys=True) + "\n"
    write_atomically(desk / _RECORD, text.encode())
    return said


def cells_digest(notebook: Path) -> str | None:
    """Name what the cells of a notebook say, without outputs; None for what is no notebook."""
    cells = _cells(notebook)
    if cells is None:
        return None
    said = [(kind, source) for kind, source, _ in cells]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _cells(notebook: Path) -> list[tuple[str, str, Any]] | None:
    """Read kind, source and id of each cell; None for what is no notebook."""
    try:
        cells = json.loads(notebook.read_bytes())["cells"]
        return [(cell["cell_type"], "".join(cell["source"]), cell.get("id")) for cell in cells]
    except (ValueError, TypeError, LookupError, AttributeError):
        return None


def _laid_out(desk: Path, new: list[str], *, is_first: bool) -> list[str]:
    if new and is_first:
        where = desk if desk.name else desk.resolve()  # "." would end the sentence twice
        return [f"{len(new)} notebooks laid out in {where}."]
    return [f"{name} is laid out." for name in new]


def _left_out(course: Path, desk: Path, record: dict[str, str]) -> list[str]:
    """Tell once of notebooks that the course no longer has; the copies stay."""
    gone = [name for name in sorted(record) if not (course / name).exists()]
    for name in gone:
        del record[name]
    return [
        f"{name} is no longer in the course; your copy stays."
        for name in gone
        if (desk / name).exists()
    ]


def _news(given: Path, own: Path) -> str:
    """Say how many cells of the course's form a copy lacks, and under which headings they stand.

    A cell of the course keeps its id in the copy, whatever is written in it.
    """
    held = _cells(own) or []
    known = {cell_id for _, _, cell_id in held if cell_id} | {source for _, source, _ in held}
    heading, found = "", []
    for kind, source, cell_id in _cells(given) or []:
        if kind == "markdown" and source.startswith("#"):
            heading = source.splitlines()[0].strip("# ")
        if cell_id not in known and source not in known:
            found.append(heading)
    if not found:
        return " (cells went away or changed places)"
    named = [f'"{heading}"' for heading in dict.fromkeys(found) if heading]
    more = [f"{len(named) - _N_NAMED} more places"] if len(named) > _N_NAMED else []
    under = f", under {' and '.join([*named[:_N_NAMED], *more])}" if named else ""
    return f" ({counted(len(found), 'cell')}{under})"


def _put_beside(given: Path, own: Path) -> list[str]:
    """Lay the course's new form beside a copy that is the reader's by now."""
    beside = own.with_name(f"{own.stem}.new.ipynb")
    if beside.exists() and cells_digest(beside) == cells_digest(given):
        return []
    if beside.exists():  # they may have begun to work in it
        _keep_earlier(own.parents[1], beside)
    write_atomically(beside, given.read_bytes())
    return [
        f"{own.parent.name}/{own.name} stays as you wrote it; {beside.name} beside it is new"
        f"{_news(given, own)}."
    ]


def _keep_earlier(desk: Path, copy: Path) -> None:
    day = time.strftime("%Y-%m-%d")
    number = 1
    while (
        kept := desk / "earlier" / copy.parent.name / f"{copy.stem} {day} {number}.ipynb"
    ).exists():
        number += 1
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(copy, kept)


def _note() -> Path:
    return home() / "desk.txt"


def _read_record(desk: Path) -> dict[str, str]:
    """Read what was handed out; without a record every changed copy counts as the reader's."""
    try:
        stored = json.loads((desk / _RECORD).read_bytes())
        return {str(name): str(cells) for name, cells in stored.items()}
    except (OSError, ValueError, AttributeError):
        return {}
