"""Leaves of the cells around the answers what the answers need: their imports, helpers, constants.

Trials, plots and training runs between the exercises would only cost the grader's time, and a loop
among them a whole submission.
"""

import ast
from collections.abc import Collection, Sequence

from moe_teach.course.learner.mine.statements import Program, Statement, is_star


def needed(cells: Sequence[str], answers: set[int], always: Collection[str] = ()) -> list[str]:
    """Give every cell's text, cut to what the cells numbered in `answers` need.

    Answers stay whole. Names are followed backwards from them through all other cells, and from
    the names in `always`: what the chapter itself gives, on which its own solutions build.
    """
    programs = [Program({}, (cell,), i).statements for i, cell in enumerate(cells)]
    others = [(i, s) for i, found in enumerate(programs) if i not in answers for s in found]
    wanted = {name for i in answers for s in programs[i] for name in _reads(s)} | set(always)
    kept: set[int] = set()
    found_more = True
    while found_more:
        found_more = False
        for number in reversed(range(len(others))):
            statement = others[number][1]
            if number not in kept and _is_wanted(statement, wanted):
                kept.add(number)
                wanted |= _reads(statement)
                found_more = True
    texts: list[list[str]] = [[] for _ in cells]
    for number, (i, statement) in enumerate(others):
        if number in kept:
            texts[i].append(statement.text)
    return [cell if i in answers else "\n".join(texts[i]) for i, cell in enumerate(cells)]


def bound(cell: str) -> set[str]:
    """Give the names that a cell gives values to."""
    return {name for s in Program({}, (cell,), 0).statements for name in s.binds}


def _reads(statement: Statement) -> set[str]:
    return {*statement.now, *statement.later}


def _is_wanted(statement: Statement, wanted: set[str]) -> bool:
    if is_star(statement.node) or statement.binds & wanted:
        return True
    return _changed(statement.node) in wanted


def _changed(node: ast.stmt) -> str:
    """Name the thing that a statement changes in place: `X[...] = 1`, `X.a = 1`, `X.append(1)`."""
    match node:
        case ast.Assign(targets=[target]) | ast.AugAssign(target=target):
            pass
        case ast.Expr(ast.Call(ast.Attribute() as target)):
            pass
        case _:
            return ""
    while isinstance(target, ast.Attribute | ast.Subscript):
        target = target.value
    return target.id if isinstance(target, ast.Name) else ""
