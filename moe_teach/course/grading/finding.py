"""Finds the answers among the cells of a notebook: by their marks, or where they are lost, by name.

Cells run from top to bottom, so the last one that defines a name counts; a starter that was pasted
again below an answer does not. Whatever is not as it was handed out is flagged.
"""

import ast
import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from moe_teach.course.grading.asked import Asked
from moe_teach.course.grading.cleaning import tree_of
from moe_teach.course.grading.reading import Cell

_ALIKE = 0.8  # of signature and docstring, from which a cell counts as a renamed starter
_DEFINED = re.compile(r"^(?:async def|def|class)\s+(\w+)", re.M)
_CHECKED = re.compile(r"^\s*check\(\s*[\"'](\d+\.\d+)[\"']\s*,\s*(\w+)\s*\)", re.M)


@dataclass
class Place:
    """Where one answer was found: the number of its cell, and the name it has there."""

    at: int = -1
    called: str = ""
    is_untouched: bool = False
    unclear: str = ""
    flags: list[str] = field(default_factory=list)
    left_out: set[int] = field(default_factory=set)


def label(cell: Cell) -> tuple[str, str]:
    """Give a cell's role and exercise by the course's mark, else by nbgrader's."""
    ours = cell.facts("moe_teach")
    role, item_id = ours.get("role"), ours.get("exercise")
    if isinstance(role, str) and isinstance(item_id, str):
        return role, item_id
    if isinstance(role, str):
        return role, ""
    found = re.fullmatch(
        r"(solution|check)-(\d+)-(\d+)", str(cell.facts("nbgrader").get("grade_id"))
    )
    return (found[1], f"{found[2]}.{found[3]}") if found else ("", "")


def checked_names(cells: Sequence[Cell]) -> Iterator[tuple[str, str]]:
    """Give the exercise and the name of every call of `check` in code."""
    for cell in cells:
        if "check(" in cell.source:
            yield from ((found[1], found[2]) for found in _CHECKED.finditer(cell.source))


def defined(source: str) -> set[str]:
    """Give the names that a cell makes at its top level; of broken Python, what `def` names."""
    tree = tree_of(source)
    if tree is None:
        return set(_DEFINED.findall(source))
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {
                part.id for t in targets for part in ast.walk(t) if isinstance(part, ast.Name)
            }
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def find(asked: Asked, cells: Sequence[Cell], names: Sequence[set[str]]) -> Place:
    """Find the answer to one exercise; `names` are those that each cell defines."""
    place = Place()
    marked = [i for i, cell in enumerate(cells) if label(cell) == ("solution", asked.id)]
    naming = [
        i for i, made in enumerate(names) if asked.name in made and _may_answer(cells[i], asked)
    ]
    fresh = {
        i for i in {*marked, *naming} if asked.is_untouched(cells[i].source, _stored(cells[i]))
    }
    worked = [i for i in naming if i not in fresh]
    if worked:
        _chosen(place, asked, cells, worked, marked)
        place.left_out = fresh
    elif renamed := [i for i in marked if i not in fresh and cells[i].source.strip()]:
        place.at, place.left_out = renamed[-1], fresh
        _name_it(place, asked, cells, names[place.at])
    elif fresh:
        place.at, place.called, place.is_untouched = max(fresh), asked.name, True
        place.left_out = fresh - {place.at}
    else:
        _by_likeness(place, asked, cells)
    if place.at >= 0:
        _flag_cell(place, asked, cells[place.at])
    return place


def _may_answer(cell: Cell, asked: Asked) -> bool:
    role, item_id = label(cell)
    if role == "play":
        return False
    return cell.kind == "code" or item_id == asked.id


def _chosen(
    place: Place, asked: Asked, cells: Sequence[Cell], worked: list[int], marked: list[int]
) -> None:
    place.at, place.called = worked[-1], asked.name
    versions = {cells[i].source.strip() for i in worked}
    if len(versions) > 1:
        place.flags.append(f"`{asked.name}` is written {len(worked)} times; the last one counts.")
    elif len(worked) > 1:
        place.flags.append(f"The cell of `{asked.name}` is there {len(worked)} times.")
    if place.at not in marked:
        place.flags.append("The answer was found by its name: its cell carries no mark.")
    tree = tree_of(cells[place.at].source)
    imported = tree and any(
        isinstance(node, ast.ImportFrom)
        and any((alias.asname or alias.name) == asked.name for alias in node.names)
        for node in tree.body
    )
    if imported:
        place.flags.append(f"`{asked.name}` is imported, not written.")


def _name_it(place: Place, asked: Asked, cells: Sequence[Cell], made: set[str]) -> None:
    """Settle what the answer is called in a marked cell that does not define the name asked for."""
    handed = [name for item_id, name in checked_names(cells) if item_id == asked.id]
    known = [name for name in handed if name in made]
    definitions = _DEFINED.findall(cells[place.at].source)
    if known or len(definitions) == 1:
        place.called = known[-1] if known else definitions[0]
        place.flags.append(f"`{place.called}` was taken for `{asked.name}`, the name asked for.")
    else:
        place.called = asked.name


def _by_likeness(place: Place, asked: Asked, cells: Sequence[Cell]) -> None:
    """Look for a starter that lost both its mark and its name."""
    wanted = _head(asked.starter, asked.name)
    alike: list[tuple[int, str]] = []
    for i, cell in enumerate(cells):
        names = _DEFINED.findall(cell.source)
        if cell.kind != "code" or label(cell)[1] or len(names) != 1:
            continue
        match = difflib.SequenceMatcher(None, wanted, _head(cell.source, names[0]), autojunk=False)
        if all(ask() >= _ALIKE for ask in (match.real_quick_ratio, match.quick_ratio, match.ratio)):
            alike.append((i, names[0]))
    if len({cells[i].source for i, _ in alike}) > 1:
        numbers = ", ".join(str(i + 1) for i, _ in alike)
        place.unclear = (
            f"Several cells ({numbers}) look like an answer to exercise {asked.id}, and none is "
            f"called `{asked.name}`: choose by hand."
        )
    elif alike:
        place.at, place.called = alike[-1]
        place.flags.append(f"`{place.called}` was taken for `{asked.name}`: its text is alike.")


def _head(source: str, name: str) -> str:
    """Give a definition's signature and docstring without its name and its spaces."""
    begin = source.find(name)
    end = source.find('"""', source.find('"""', begin) + 3)
    text = source[begin : end if end > begin else begin + 300].replace(name, "", 1)
    return " ".join(text.split())[:600]


def _flag_cell(place: Place, asked: Asked, cell: Cell) -> None:
    if cell.kind != "code":
        place.flags.append(f"The cell of the answer was of kind {cell.kind}; it was read as code.")
    version = cell.facts("moe_teach").get("version", asked.version)
    if version != asked.version:
        place.flags.append(f"Written for version {version} of the exercise; it is {asked.version}.")


def _stored(cell: Cell) -> str:
    return str(cell.facts("moe_teach").get("starter", ""))
