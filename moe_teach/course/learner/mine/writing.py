"""Turns an answer into the text of a part: imports, then what it needs in the order it ran."""

import ast
import re
from typing import Any

from moe_teach.course.learner.mine import imports, origin
from moe_teach.course.learner.mine.found import Gathered, Refused
from moe_teach.course.learner.mine.gathering import Gathering
from moe_teach.course.learner.mine.statements import Notebook, Program, Statement, statement_of

_AT_THE_END = (10**6, 0, 0)


def body_of(item_id: str, name: str, answer: Any, notebook: Notebook) -> tuple[str, str]:
    """Write the module that holds `answer`, and give the name it has in there.

    That is `name`, unless the answer itself uses something else of that name.

    Raises:
        Refused: if something that the answer needs exists in this session only.
    """
    gathering = Gathering(notebook)
    called = _gather(gathering, item_id, name, answer)
    gathering.finish()
    found = gathering.found
    taken = {one.name for one in found.imports} | set(found.bound)
    if called != name and name not in taken:
        found.texts[_AT_THE_END] = f"{name} = {called}"
        called = name
    _refuse_what_finds_itself(item_id, found.statements)
    first, rest = _first_lines(found), _joined(found.texts)
    gap = "" if not first else "\n\n" if _is_line(rest.partition("\n\n")[0]) else "\n\n\n"
    return f"{first}{gap}{rest}\n", called


def _gather(gathering: Gathering, item_id: str, name: str, answer: Any) -> str:
    for program in _places(gathering, answer):
        for known in (name, *program.namespace):
            if not known.startswith("_") and program.namespace.get(known) is answer:
                gathering.need(program, known)
                return known
    inline = _inline(gathering.main, item_id, name)
    if inline is None:
        raise Refused("no name and no cell leads to it: give it a name in a cell, and check that.")
    gathering.demand_no_aliens(name, answer)
    gathering.take(gathering.main, inline)
    return name


def _places(gathering: Gathering, answer: Any) -> list[Program]:
    """Give the programs in which an answer may have its name: the notebook, a module of yours."""
    own = origin.globals_of(answer)
    module = str((own or {}).get("__name__", ""))
    if own is None or own is gathering.main.namespace or imports.is_installed(module):
        return [gathering.main]
    return [gathering.main, gathering.program_of(own)]


def _inline(program: Program, item_id: str, name: str) -> Statement | None:
    """Make a statement of an answer that was written right into the call of `check`."""
    for statement in reversed(program.statements):
        for node in ast.walk(statement.node):
            match node:
                case ast.Call(ast.Name("check"), [ast.Constant(asked), given]) if asked == item_id:
                    if isinstance(given, ast.Name):
                        return None
                    text = ast.get_source_segment(statement.cell, given) or ast.unparse(given)
                    if "\n" in text:
                        text = f"({text})"
                    made = statement_of(f"{name} = {text}")
                    return Statement(**{**vars(made), "order": _AT_THE_END})
    return None


def _refuse_what_finds_itself(item_id: str, taken: list[tuple[Program, Statement]]) -> None:
    for _, statement in taken:
        for node in ast.walk(statement.node):
            match node:
                case ast.Call(ast.Name("mine"), [ast.Constant(asked)]) if asked == item_id:
                    raise Refused(f'it asks for `mine("{item_id}")`, which would be itself.')


def _first_lines(found: Gathered) -> str:
    codes = [value for program, s in found.statements for value in _values(program, s)]
    is_lazy = any(_has_lazy_annotations(value) for value in codes)
    used = "\n".join(found.texts.values())
    kept = {one for one in found.imports if not _is_idle(one, found.imports, used)}
    lazy = "from __future__ import annotations" if is_lazy else ""
    return "\n\n".join(filter(None, (lazy, imports.written(kept))))


def _values(program: Program, statement: Statement) -> list[Any]:
    return [program.namespace.get(name) for name in statement.binds]


def _has_lazy_annotations(value: Any) -> bool:
    import __future__

    code = origin.code_of(value)
    return bool(code and code.co_flags & __future__.annotations.compiler_flag)


def _is_idle(one: imports.Import, all_imports: set[imports.Import], used: str) -> bool:
    """Tell whether of several imports of one package this one is not used."""
    same = [other for other in all_imports if other.name == one.name and not other.what]
    is_root = not one.what and one.module.partition(".")[0] == one.name
    if not is_root or len(same) < 2:
        return False
    if one.module != one.name:
        return not re.search(rf"\b{re.escape(one.module)}\b", used)
    return any(re.search(rf"\b{re.escape(other.module)}\b", used) for other in same if other != one)


def _joined(texts: dict[tuple[int, int, int], str]) -> str:
    """Set definitions apart by two lines, as formatters do, and plain values by none."""
    ordered = [texts[order] for order in sorted(texts)]
    written = ""
    for before, text in zip(["", *ordered], ordered, strict=False):
        gap = "" if not before else "\n" if _is_line(before) and _is_line(text) else "\n\n\n"
        written += gap + text
    return written


def _is_line(text: str) -> bool:
    return not re.search(r"^(async def|def|class|@)", text, re.M)
