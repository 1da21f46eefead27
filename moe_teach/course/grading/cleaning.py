"""Takes out of a cell what only a notebook understands: magics, shell lines, help, course verbs.

What is left is Python as IPython would run it, less the lines that would reach out of it.
"""

import ast
import re
from functools import lru_cache
from typing import Any

_SUSPECT = re.compile(r"^\s*(?:[%!?]|\w[\w, ]*=\s*[%!])|\?\??\s*(?:#.*)?$", re.M)
_RUNNING = {"time", "timeit", "capture", "prun"}  # cell magics whose body runs as a cell would
_VERBS = {"check", "hint", "solution", "progress", "reset", "setup", "pack", "submit"}


def is_python(source: str) -> bool:
    """Tell whether a text can be compiled."""
    return tree_of(source) is not None


@lru_cache(maxsize=4096)
def tree_of(source: str) -> ast.Module | None:
    """Parse a cell; None where it is not Python. The tree is shared: do not change it."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def cleaned(source: str) -> tuple[str, bool]:
    """Give a cell without magics and course verbs, and whether a magic was taken out.

    A text that is no Python either way comes back as it was.
    """
    has_magic = False
    if tree_of(source) is None and _SUSPECT.search(source):
        python = _without_magics(source)
        has_magic, source = python is not None, source if python is None else python
    tree = tree_of(source)
    if tree is None:
        return source, has_magic
    asking = [n for n in ast.walk(tree) if _asks_notebook(n)] if "get_ipython" in source else []
    verbs = [node for node in tree.body if _is_verb(node) and node not in asking]
    return _without(source, asking + verbs), has_magic or bool(asking)


def _without_magics(source: str) -> str | None:
    """Let IPython write a cell as Python, where magics are calls; None where that fails."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        python = TransformerManager().transform_cell(source)
    except Exception:  # an unfinished text may raise anything in there
        return None
    tree = tree_of(python)
    if tree is None:
        return None
    match tree.body:
        case [ast.Expr(ast.Call(ast.Attribute(attr="run_cell_magic"), [name, _, body]))]:
            if isinstance(name, ast.Constant) and name.value in _RUNNING:
                text = str(getattr(body, "value", ""))
                return text if is_python(text) else _without_magics(text)
            return ""
    return python


def _asks_notebook(node: Any) -> bool:
    is_simple = isinstance(node, ast.Expr | ast.Assign | ast.AugAssign | ast.AnnAssign)
    return is_simple and any(
        isinstance(part, ast.Name) and part.id == "get_ipython" for part in ast.walk(node)
    )


def _is_verb(node: ast.stmt) -> bool:
    match node:
        case ast.Expr(ast.Call(ast.Name(name))):
            return name in _VERBS
        case ast.Expr(ast.Call(ast.Attribute(attr=name, value=ast.Name("course" | "moe_teach")))):
            return name in _VERBS
    return False


def _without(source: str, nodes: list[Any]) -> str:
    """Replace statements by `pass` at the same place, so that every other line keeps its number."""
    if not nodes:
        return source
    lines = [line.encode("utf-8") for line in source.split("\n")]
    for node in sorted(nodes, key=lambda n: (n.lineno, n.col_offset), reverse=True):
        first, last = node.lineno - 1, node.end_lineno - 1
        tail = lines[last][node.end_col_offset :]
        lines[first] = lines[first][: node.col_offset] + b"pass" + tail
        lines[first + 1 : last + 1] = [b""] * (last - first)
    left = "\n".join(line.decode("utf-8") for line in lines).rstrip()
    said = [line.strip() for line in left.splitlines()]
    return "" if all(line in ("", "pass") or line.startswith("#") for line in said) else left
