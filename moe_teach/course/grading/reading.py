"""Reads the cells of a notebook tolerantly: what editors, mail and platforms do to files is mended.

Whatever was mended is noted. What cannot be mended is one sentence, `problem`.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

_PARTS_OF_SCRIPT = re.compile(r"^# (?:%%.*|In ?\[[ \d*]*\]:?)[ \t]*$\n?", re.M)
_KIND = re.compile(r"^# %%.*\[(markdown|raw)\]", re.M)
_CONFLICT = re.compile(r"^(?:<{7}|>{7}|={7})(?: |$)", re.M)


@dataclass(frozen=True)
class Cell:
    """One cell: `kind` is code, markdown or raw; the metadata is the course's and nbgrader's."""

    kind: str
    source: str
    metadata: dict[str, Any] = field(default_factory=dict)

    def facts(self, key: str) -> dict[str, Any]:
        """Give one part of the metadata; empty where it is missing or no table."""
        found = self.metadata.get(key)
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Reading:
    """What came out of a file: its cells, notes on what was mended, or why it cannot be read."""

    cells: tuple[Cell, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str = ""


def read(content: bytes, name: str) -> Reading:
    """Read the bytes of a notebook, or of a script exported from one."""
    if not content.strip(b"\0 \t\r\n"):
        return Reading(problem="The file is empty.")
    if content.startswith(b"PK\x03\x04"):
        return Reading(
            problem="The file is a zip archive that was renamed: unpack it, and hand in the "
            "notebook that is in it."
        )
    notes: list[str] = []
    text = _decoded(content, notes)
    if name.lower().endswith(".py") and not text.lstrip().startswith("{"):
        notes.append("A script was handed in, not a notebook: its parts were read as cells.")
        return Reading(tuple(_cells_of_script(_plain(text))), tuple(notes))
    try:
        notebook = _parsed(text, notes)
        cells = _cells_of(notebook, notes)
    except _Unreadable as problem:
        return Reading(notes=tuple(notes), problem=str(problem))
    return Reading(tuple(cells), tuple(dict.fromkeys(notes)))


class _Unreadable(Exception):
    pass


def _decoded(content: bytes, notes: list[str]) -> str:
    coding = "utf-8"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        coding = "utf-16"
    elif content[1:2] == b"\0":
        coding = "utf-16-le"
    elif content[:1] == b"\0":
        coding = "utf-16-be"
    if coding != "utf-8":
        notes.append("The file was in UTF-16 and not in UTF-8.")
    text = content.decode(coding, "replace")
    if text.startswith("\ufeff"):
        text = text.removeprefix("\ufeff")
        if coding == "utf-8":
            notes.append("The file began with a byte order mark.")
    if "\ufffd" in text and b"\xef\xbf\xbd" not in content:
        notes.append("Some signs of the file could not be read and were replaced.")
    return text


def _parsed(text: str, notes: list[str]) -> Any:
    """Read JSON, whatever follows it; say in a sentence why it is none."""
    twice: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(found)
        if len(table) < len(found):
            twice.extend(table)
        return table

    try:
        start = len(text) - len(text.lstrip())
        value, end = json.JSONDecoder(object_pairs_hook=pairs).raw_decode(text, start)
    except RecursionError:
        raise _Unreadable("The file nests its contents deeper than a notebook does.") from None
    except ValueError as problem:
        raise _Unreadable(_why_no_json(text, problem)) from None
    if twice:
        notes.append("The file names some entries twice; the last of each was read.")
    if text[end:].strip("\0 \t\r\n"):
        notes.append("Text follows the end of the notebook; it was left out.")
    return value


def _why_no_json(text: str, problem: ValueError) -> str:
    if _CONFLICT.search(text):
        return (
            "The file holds the marks of a merge conflict (<<<<<<<): settle it, open the notebook "
            "once, and hand it in again."
        )
    if not text.lstrip().startswith(("{", "[")):
        return "The file is no notebook: its text does not begin as one."
    position = getattr(problem, "pos", 0)
    if position >= len(text.rstrip()) - 1 or "Unterminated string" in str(problem):
        return "The file ends in the middle, as after an upload that broke off: hand it in again."
    return f"The file is no notebook: its JSON breaks off in line {getattr(problem, 'lineno', 1)}."


def _cells_of(notebook: Any, notes: list[str]) -> list[Cell]:
    if not isinstance(notebook, dict):
        raise _Unreadable("The file is JSON, but no notebook: it has no cells.")
    raw = notebook.get("cells")
    if not isinstance(raw, list) and isinstance(notebook.get("worksheets"), list):
        notes.append("The notebook is in format 3, of before 2015.")
        sheets = [sheet for sheet in notebook["worksheets"] if isinstance(sheet, dict)]
        raw = [cell for sheet in sheets for cell in _listed(sheet.get("cells"))]
    if not isinstance(raw, list):
        raise _Unreadable("The file is JSON, but no notebook: it has no cells.")
    metadata = notebook.get("metadata")
    spec = metadata.get("kernelspec") if isinstance(metadata, dict) else None
    language = spec.get("language", "python") if isinstance(spec, dict) else "python"
    if str(language).lower() != "python":
        notes.append("The notebook names a kernel of another language; its cells are Python.")
    cells = [_cell(cell) for cell in raw if isinstance(cell, dict)]
    if len(cells) < len(raw):
        notes.append("Some entries of the notebook are no cells and were left out.")
    if not any(cell.source.strip() for cell in cells):
        raise _Unreadable("The notebook has no cells with text.")
    return cells


def _cell(raw: dict[str, Any]) -> Cell:
    source = raw.get("source", raw.get("input", ""))
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    metadata = raw.get("metadata")
    return Cell(
        kind=str(raw.get("cell_type", "code")),
        source=_plain(source) if isinstance(source, str) else "",
        metadata=metadata if isinstance(metadata, dict) else {},
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _plain(text: str) -> str:
    """Give a text with one kind of line end, and no halves of signs, which no file can hold."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _cells_of_script(text: str) -> list[Cell]:
    """Split an export at its marks (`# %%`, `# In[3]:`); without any it is one cell."""
    marks = list(_PARTS_OF_SCRIPT.finditer(text))
    starts = [0, *(mark.end() for mark in marks)]
    ends = [*(mark.start() for mark in marks), len(text)]
    heads = ["", *(mark[0] for mark in marks)]
    cells = []
    for head, start, end in zip(heads, starts, ends, strict=True):
        found = _KIND.match(head)
        if text[start:end].strip():
            cells.append(Cell(found[1] if found else "code", text[start:end].strip("\n")))
    return cells
