"""The statements somebody ran, in the order of running: a notebook's cells, or a module's file.

Every top-level statement knows which names it binds, which it needs when it runs, and which only
when a function in it is called. With that, what an answer needs can be found backwards.
"""

import ast
import linecache
import symtable
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

Order = tuple[int, int, int]  # program, cell, line
_COMPILED = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_COMPREHENSIONS = ("listcomp", "setcomp", "dictcomp", "genexpr")
_RUNNING_MAGICS = ("time", "capture", "prun")  # cell magics whose body runs as a cell would


@dataclass(frozen=True)
class Notebook:
    """A namespace, and the texts that were run in it, the earliest first."""

    namespace: dict[str, Any]
    cells: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Statement:
    """One top-level statement.

    `binds` are the names it gives values to, `now` those it reads when it runs, `later` those that
    its functions read when they are called. `cell` is the whole text that it stands in.
    """

    node: ast.stmt
    text: str
    cell: str
    binds: frozenset[str]
    now: frozenset[str]
    later: frozenset[str]
    order: Order = (0, 0, 0)


class Program:
    """The statements of one namespace, and the values that its names have today."""

    def __init__(self, namespace: dict[str, Any], cells: tuple[str, ...], rank: int) -> None:
        self.namespace = namespace
        self.rank = rank
        self.statements = [
            Statement(*found, order=(rank, number, line))
            for number, cell in enumerate(cells)
            for line, found in enumerate(_split(cell))
        ]
        self.switched_globals = {
            name
            for statement in self.statements
            for node in ast.walk(statement.node)
            if isinstance(node, ast.Global)
            for name in node.names
        }

    def bindings(self, name: str, before: Order | None = None) -> Iterator[Statement]:
        """Give the statements that bind `name` or may do so by a star, the latest first."""
        for statement in reversed(self.statements):
            is_early = before is None or statement.order < before
            if is_early and (name in statement.binds or is_star(statement.node)):
                yield statement


def is_star(node: ast.stmt) -> bool:
    """Tell whether this is `from module import *`."""
    return isinstance(node, ast.ImportFrom) and node.names[0].name == "*"


def current_notebook() -> Notebook:
    """Give what was run in this session: the kernel's cells, or the script's file."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None:
        return Notebook(shell.user_ns, tuple(shell.history_manager.input_hist_parsed))
    return notebook_of(vars(sys.modules["__main__"]))


def notebook_of(namespace: dict[str, Any]) -> Notebook:
    """Give the text of the file that a namespace belongs to; none where there is no such file."""
    text = "".join(linecache.getlines(str(namespace.get("__file__") or "")))
    return Notebook(namespace, (text,))


def statement_of(text: str) -> Statement:
    """Read one statement that stands alone."""
    return Statement(*_split(text)[0])


@lru_cache(maxsize=4096)
def _split(cell: str) -> tuple[tuple[Any, ...], ...]:
    try:
        tree = compile(cell, "<cell>", "exec", _COMPILED, dont_inherit=True)
    except (SyntaxError, ValueError):
        return ()  # it has not run either
    found: list[tuple[Any, ...]] = []
    for node in tree.body:  # type: ignore[attr-defined]
        body = _magic_body(node)
        if body is not None:
            found += _split(body)
        else:
            text = _text(cell, node, tree.body)  # type: ignore[attr-defined]
            found.append((node, text, cell, *_names(node, text)))
    return tuple(found)


def _magic_body(node: ast.stmt) -> str | None:
    """Give the cell under a magic such as %%time, which IPython keeps as a text."""
    match node:
        case ast.Expr(
            ast.Call(
                ast.Attribute(attr="run_cell_magic"), [ast.Constant(magic), _, ast.Constant(body)]
            )
        ) if magic in _RUNNING_MAGICS:
            return body
    return None


def _text(cell: str, node: ast.stmt, all_nodes: list[ast.stmt]) -> str:
    """Give a statement as it was written, with its decorators and the comment right above it."""
    lines = cell.splitlines()
    first, last = first_line(node), node.end_lineno or node.lineno
    if any(
        o is not node and first_line(o) <= last and (o.end_lineno or 0) >= first for o in all_nodes
    ):
        return ast.get_source_segment(cell, node) or ast.unparse(node)
    while (
        first > 1 and lines[first - 2].startswith("#") and not lines[first - 2].startswith("# %%")
    ):
        first -= 1
    return "\n".join(line.rstrip() for line in lines[first - 1 : last])


def first_line(node: ast.AST) -> int:
    """Give the line a statement begins in, decorators included."""
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])  # type: ignore[attr-defined]


def _names(node: ast.stmt, text: str) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    if isinstance(node, ast.Delete) or (isinstance(node, ast.AnnAssign) and node.value is None):
        return frozenset(), frozenset(), frozenset()
    try:
        table = symtable.symtable(text, "<statement>", "exec")
    except SyntaxError:  # a cell that awaits: its names are known, its parts are not
        stored = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and _is_stored(n)}
        return frozenset(stored), frozenset(), frozenset()
    symbols = table.get_symbols()
    inner = _of_comprehensions(node)  # from Python 3.12 on they show among the names around them
    binds = {s.get_name() for s in symbols if s.is_assigned() or s.is_imported()} - inner
    now = {s.get_name() for s in symbols if s.is_referenced()} - inner
    later: set[str] = set()
    for child in table.get_children():
        _visit(child, False, now, later)
    later |= _quoted(node)
    return frozenset(binds), frozenset(now), frozenset(later)


def _visit(table: symtable.SymbolTable, is_later: bool, now: set[str], later: set[str]) -> None:
    runs_late = isinstance(table, symtable.Function) and table.get_name() not in _COMPREHENSIONS
    is_later = is_later or runs_late
    into = later if is_later else now
    into.update(s.get_name() for s in table.get_symbols() if s.is_global())
    for child in table.get_children():
        _visit(child, is_later, now, later)


def _of_comprehensions(node: ast.stmt) -> set[str]:
    """Give the names that comprehensions count with and that nothing around them uses."""
    inner: set[str] = set()
    outer: set[str] = set()
    waiting: list[ast.AST] = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, ast.Name):
            outer.add(one.id)
        if isinstance(one, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            targets = (n for part in one.generators for n in ast.walk(part.target))
            inner |= {n.id for n in targets if isinstance(n, ast.Name)}
            waiting.append(one.generators[0].iter)
        else:
            waiting += ast.iter_child_nodes(one)
    return inner - outer


def _quoted(node: ast.stmt) -> set[str]:
    """Give the names in annotations that are written as texts."""
    notes = [getattr(n, "annotation", None) or getattr(n, "returns", None) for n in ast.walk(node)]
    texts = [
        part.value
        for note in notes
        if note is not None
        for part in ast.walk(note)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
    names: set[str] = set()
    for text in texts:
        try:
            tree = ast.parse(text, mode="eval")
        except SyntaxError:
            continue
        names |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    return names


def _is_stored(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)
