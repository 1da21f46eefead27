"""Makes the mutants of a solution: every rule at every node between the solution markers."""

import ast
import difflib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

from moe_teach.course.authoring.mutation.call_rules import CALL_RULES
from moe_teach.course.authoring.mutation.plain_rules import PLAIN_RULES
from moe_teach.course.authoring.mutation.site import Before, Change, Rule, Site
from moe_teach.course.authoring.mutation.tensor_rules import TENSOR_RULES
from moe_teach.course.materials import BEGIN, END

RULES = [*TENSOR_RULES, *PLAIN_RULES, *CALL_RULES]
PROBE = "_seen_here_"  # notes what an expression holds and gives it back
_COMMENT = re.compile(r"\s+# [^\"']*$")


@dataclass(frozen=True)
class Mutant:
    """A solution with one small fault.

    `old` and `new` are the changed lines, `code` the whole cell. `key` names the mutant for good:
    it holds no line numbers. Where `only` is set, `probe` is the unchanged cell with the place of
    the change wrapped in a call of `PROBE`.
    """

    exercise_id: str
    rule: str
    old: str
    new: str
    code: str
    key: str
    only: str = ""
    probe: str = ""

    def is_in_share(self, one_in: int) -> bool:
        """Say whether the mutant belongs to a fixed share of all mutants, chosen by its key."""
        digest = hashlib.sha256(f"{self.exercise_id} {self.key}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % one_in == 0


def mutants_of(exercise_id: str, cell: str) -> list[Mutant]:
    """Change a solution cell by every rule; what compiles to the same program is left out."""
    seen = {_program(cell)}
    keys: dict[str, int] = {}
    mutants = []
    for rule, site, change in _changes(cell):
        code = _edited(cell, site.node, change)
        try:
            program = _program(code)
        except (SyntaxError, ValueError):
            continue
        if program in seen:
            continue
        seen.add(program)
        old, new = _changed_lines(cell, code)
        key = f"{rule.name}: {_short(old)} -> {_short(new)}"
        keys[key] = keys.get(key, 0) + 1
        if keys[key] > 1:
            key += f" #{keys[key]}"
        probe = _probe(cell, site.node) if rule.only else ""
        mutants.append(Mutant(exercise_id, rule.name, old, new, code, key, rule.only, probe))
    return mutants


def _changes(cell: str) -> Iterator[tuple[Rule, Site, Change]]:
    for site in _sites(cell):
        for rule in RULES:
            for change in rule.strike(site):
                yield rule, site, change


def _sites(cell: str) -> Iterator[Site]:
    """Walk through what stands between the markers, and the functions around it.

    Left alone: messages of errors, what stands inside f-strings, and annotations.
    """
    tree = ast.parse(cell)
    inside = _inside(cell)
    results = {id(member) for node in ast.walk(tree) for member in _results(node)}
    begun: set[int] = set()

    def walk(parent: Any, function: Any) -> Iterator[Site]:
        for node in ast.iter_child_nodes(parent):
            within = node if isinstance(node, ast.FunctionDef) else function
            if isinstance(node, ast.FunctionDef) and inside & set(_lines(node)):
                yield Site(node, parent, node, cell)
            elif function and getattr(node, "lineno", 0) and set(_lines(node)) <= inside:
                is_first = isinstance(node, ast.stmt) and id(function) not in begun
                begun.update({id(function)} if is_first else ())
                yield Site(node, parent, function, cell, is_first, id(node) in results)
            if not isinstance(node, ast.Raise | ast.JoinedStr | ast.arguments):
                yield from walk(node, within)

    yield from walk(tree, None)


def _results(node: ast.AST) -> list[Any]:
    if not isinstance(node, ast.Return) or node.value is None:
        return []
    if isinstance(node.value, ast.Tuple):
        return node.value.elts
    return node.value.values if isinstance(node.value, ast.Dict) else [node.value]


def _inside(cell: str) -> set[int]:
    """Number the lines between the markers."""
    numbers, inside = set(), False
    for number, line in enumerate(cell.splitlines(), start=1):
        if line.strip() in (BEGIN, END):
            inside = line.strip() == BEGIN
        elif inside:
            numbers.add(number)
    return numbers


def _lines(node: Any) -> range:
    return range(node.lineno, node.end_lineno + 1)


def _edited(cell: str, node: Any, change: Change) -> str:
    """Write the change into the text of the cell, with brackets where they are needed."""
    if isinstance(change, Before):
        marks = getattr(node, "decorator_list", [])
        line = min([node.lineno, *(mark.lineno for mark in marks)]) - 1
        lines = cell.splitlines(keepends=True)
        lines.insert(line, " " * node.col_offset + change.text + "\n")
        return "".join(lines)
    text = ast.unparse(ast.fix_missing_locations(change))
    bare, safe = _replaced(cell, node, text), _replaced(cell, node, f"({text})")
    return bare if _tree(safe) in ("", _tree(bare)) else safe


def _replaced(cell: str, node: Any, text: str) -> str:
    """Put `text` in the place of a node; Python counts columns in bytes."""
    lines = cell.encode().splitlines(keepends=True)
    before = lines[node.lineno - 1][: node.col_offset]
    after = lines[node.end_lineno - 1][node.end_col_offset :]
    middle = before + text.encode() + after
    return b"".join([*lines[: node.lineno - 1], middle, *lines[node.end_lineno :]]).decode()


def _tree(code: str) -> str:
    try:
        return ast.dump(ast.parse(code))
    except SyntaxError:
        return ""


def _probe(cell: str, node: Any) -> str:
    if isinstance(node, ast.stmt):
        return _edited(cell, node, Before(f"@{PROBE}"))
    return _replaced(cell, node, f"{PROBE}({ast.get_source_segment(cell, node)})")


def _program(code: str) -> CodeType:
    """Compile to what two spellings of one program have in common."""
    return _bare(compile(code, "", "exec"))


def _bare(code: CodeType) -> CodeType:
    constants = tuple(_bare(c) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_consts=constants, co_firstlineno=1, co_linetable=b"")


def _changed_lines(before: str, after: str) -> tuple[str, str]:
    old, new = before.splitlines(), after.splitlines()
    blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    changed = [block for block in blocks if block[0] != "equal"]
    begin_old, end_old = changed[0][1], changed[-1][2]
    begin_new, end_new = changed[0][3], changed[-1][4]
    return "\n".join(old[begin_old:end_old]), "\n".join(new[begin_new:end_new])


def _short(lines: str) -> str:
    """Join lines into one, without indents and comments."""
    return " ".join(_COMMENT.sub("", line).strip() for line in lines.splitlines())
