"""A notebook as it was saved: which checks it holds, and what each of them depends on."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from moe_teach.course import materials

_CHECK = re.compile(r"""^check\(\s*["'](\d+\.q?\d+)["']""", re.MULTILINE)
_PLAY = "play"  # shows what can be done with the answers; no check needs it


class BrokenNotebook(LookupError):
    """The file cannot be read as a notebook of the course; the message says why."""


@dataclass(frozen=True)
class SavedCell:
    """A code cell: its number among the code cells, from 1, its text, and the ids it checks."""

    number: int
    source: str
    checks: tuple[str, ...]
    exercise: str = ""


def read(file: Path) -> list[SavedCell]:
    """Read the cells that its checks need, in order.

    Of a lesson these are the questions alone: they need nothing that the lesson computes, and
    lessons train models.

    Raises:
        BrokenNotebook: in a sentence, where there is nothing to check.
    """
    try:
        found = materials.code_cells(file)
    except OSError as problem:
        reason = (problem.strerror or str(problem)).rstrip(".")
        raise BrokenNotebook(
            f"{file} cannot be read ({reason}). Name a notebook file."
        ) from problem
    except (ValueError, TypeError, LookupError, AttributeError) as problem:
        raise BrokenNotebook(
            f"{file} is not a notebook that can be read: it may be half saved or damaged. Save it "
            "once more in Jupyter."
        ) from problem
    cells = [
        SavedCell(number, source, tuple(_CHECK.findall(source)), exercise)
        for number, (role, exercise, source) in enumerate(found, start=1)
        if role != _PLAY
    ]
    if not any(cell.checks for cell in cells):
        raise BrokenNotebook(
            f"{file} holds no check of the course, so there is nothing to look at."
        )
    if all(".q" in item_id for cell in cells for item_id in cell.checks):
        return [cell for cell in cells if cell.checks]
    return cells


def fingerprints(cells: list[SavedCell]) -> dict[str, str]:
    """Name, for each id that is checked, all the text that its answer can depend on.

    That is its own cells and every cell that belongs to no exercise.
    """
    ids = dict.fromkeys(item_id for cell in cells for item_id in cell.checks)
    return {item_id: _digest(cells, item_id) for item_id in ids}


def _digest(cells: list[SavedCell], item_id: str) -> str:
    def concerns(cell: SavedCell) -> bool:
        owners = {*cell.checks, cell.exercise} - {""}
        return not owners or item_id in owners

    return hashlib.sha256(repr([c.source for c in cells if concerns(c)]).encode()).hexdigest()
