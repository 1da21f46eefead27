"""Code and English from what every Python brings: its standard library and its help topics.

The code of a file is its source without docstrings and comments, which are English; the docstrings
are prose of the English domain. Both keep the file's name and therefore its side. Docstrings are
found by `ast`, comments by a scanner that steps over strings; the layout of the source stays.
"""

import ast
import inspect
import re
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from moe_teach.data.pieces import Documents, normalise

# Tests, demonstrations, tables of characters, and what some distributions package separately.
_LEFT_OUT = {
    *("test", "tests", "idlelib", "lib2to3", "turtledemo", "site-packages", "dist-packages"),
    *("encodings", "pydoc_data", "ensurepip", "distutils", "_pyrepl", "lib-dynload", "entities.py"),
    *("tkinter", "turtle.py", "macholib"),
}
_STRING_OR_COMMENT = re.compile(
    r'"""(?:[^\\]|\\.)*?"""|' + r"'''(?:[^\\]|\\.)*?'''|"
    r'"(?:[^"\\\n]|\\.)*"|' + r"'(?:[^'\\\n]|\\.)*'|#[^\n]*",
    re.DOTALL,
)
_GONE = "\0"  # stands where something was; a Python source cannot contain it
_STATEMENTS = ("body", "orelse", "finalbody", "handlers", "cases")
_BLANK_LINES = re.compile(r"\n\s*\n")
_NOT_PROSE = re.compile(
    r"^(?:async )?(?:def|class|import) \w|^@|>>>|::=|[^\w\s.,;:'\"()!?*-]{3}|[{}<>|\\=]"
)
_BROKEN_WORD = re.compile(r"(?<=\w)-\s*\n\s*")
_TOPIC = "topic "


def files() -> list[str]:
    """Return the names of this Python's library files that are fit for the corpus."""
    folder = root()
    names = (path.relative_to(folder) for path in folder.rglob("*.py"))
    kept = (name for name in names if not _LEFT_OUT & set(name.parts))
    return sorted(name.as_posix() for name in kept if not name.name.startswith("_sysconfig"))


def topics() -> list[str]:
    """Return the names of the help topics, as documents are named."""
    from pydoc_data.topics import topics as texts

    return sorted(_TOPIC + topic for topic in texts)


def code_documents(names: list[str]) -> Documents:
    """Return the code of the named files as blocks; files that are not here are left out."""
    return {name: code for name in names if (code := _read(name)[0])}


def english_documents(names: list[str]) -> Documents:
    """Return the prose of the named files and help topics as paragraphs."""
    from pydoc_data.topics import topics as texts

    documents = {}
    for name in names:
        topic = name.removeprefix(_TOPIC)
        prose = paragraphs(texts.get(topic, "")) if topic != name else _read(name)[1]
        if prose:
            documents[name] = prose
    return documents


def blocks(source: str) -> tuple[list[str], list[str]]:
    """Split a source into its code, as blocks between blank lines, and its docstrings.

    Raises:
        SyntaxError, ValueError: the source is not Python that this interpreter reads.
    """
    lines = source.split("\n")
    docstrings = []
    for statement, alone in _bare_strings(ast.parse(source)):
        docstrings.append(inspect.cleandoc(statement.value.value))
        first, last = statement.lineno - 1, statement.end_lineno or statement.lineno
        # Columns of `ast` count bytes; before a docstring stands nothing but ASCII.
        before = lines[first][: statement.col_offset]
        after = lines[last - 1].encode()[statement.end_col_offset :].decode()
        lines[first:last] = [_GONE] * (last - first)
        lines[first] = (before + ("..." if alone else "") + after.lstrip("; ")).rstrip() or _GONE
    code = _without_comments("\n".join(lines))
    pieces = (piece.strip("\n") for piece in _BLANK_LINES.split(code))
    return [piece for piece in pieces if piece.strip()], docstrings


def paragraphs(text: str) -> list[str]:
    """Return the paragraphs of prose, each on one line; code, tables and headings are left out."""
    whole = _BROKEN_WORD.sub("-", text)
    joined = (" ".join(piece.split()) for piece in _BLANK_LINES.split(whole))
    return [piece for piece in joined if len(piece) >= 60 and not _NOT_PROSE.search(piece)]


def root() -> Path:
    """Return the folder of the standard library."""
    return Path(sysconfig.get_path("stdlib"))


@cache
def _read(name: str) -> tuple[list[str], list[str]]:
    """Return the code blocks and the prose of one library file, nothing if it cannot be read."""
    try:
        source = normalise((root() / name).read_text(encoding="utf-8"))
        code, docstrings = blocks(source)
    except (OSError, SyntaxError, ValueError):
        return [], []
    return code, [piece for text in docstrings for piece in paragraphs(text)]


def _bare_strings(tree: ast.AST) -> Iterator[tuple[ast.Expr, bool]]:
    """Give every statement that is only a string, and whether its block has no other.

    Most are docstrings; the others are remarks of the same kind, below an attribute, say.
    """
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        # Only statements are looked into: expressions are the bulk of a tree.
        suites = [getattr(node, field, ()) for field in _STATEMENTS]
        waiting += reversed([child for suite in suites for child in suite])
        for suite in suites:
            for child in suite:
                value = child.value if isinstance(child, ast.Expr) else None
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield child, len(suite) == 1


def _without_comments(code: str) -> str:
    """Remove comments and the lines that held nothing but what is gone."""
    marked = _STRING_OR_COMMENT.sub(lambda m: m[0] if m[0][0] != "#" else _GONE, code)
    lines = (line for line in marked.split("\n") if line.strip() != _GONE)
    return "\n".join(line.replace(_GONE, "").rstrip() for line in lines)
