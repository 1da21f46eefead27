"""Docstrings are written as Markdown with Google's sections; Sphinx reads reStructuredText."""

import ast
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from textwrap import dedent

_SECTION = re.compile(r"(?:Args|Attributes|Raises|Returns|Yields):$")
_SPAN = re.compile(r"`([^`]+)`")
# A default that has no name in Python: `<factory>`, `<function Piece.<lambda>>`.
_NAMELESS = re.compile(r"(?<=[=( ])<(?:[^<>]|<[^<>]*>)*>")


def as_rst(lines: Sequence[str]) -> list[str]:
    """Write the lines of a docstring so that reStructuredText shows what Markdown would.

    A block that is indented after an empty line is code, or a drawing; sections are left to
    napoleon, which knows them.
    """
    shown: list[str] = []
    for is_block, stretch in groupby(_marked(lines), key=lambda pair: pair[0]):
        part = [line for _, line in stretch]
        shown += _block(part) if is_block else _prose(part)
    return shown


def readable_signature(signature: str) -> str:
    """Write three dots for a default without a name, so that Sphinx can parse the rest."""
    return _NAMELESS.sub("...", signature)


def _marked(lines: Sequence[str]) -> Iterator[tuple[bool, str]]:
    """Say of each line whether it belongs to a block; empty lines go with what stands before."""
    in_section = in_block = False
    previous = ""
    for line in lines:
        if line.strip() and not line.startswith("    "):
            in_section, in_block = bool(_SECTION.match(line)), False
        elif line.strip() and not previous.strip() and not in_section:
            in_block = True
        yield in_block, line
        previous = line


def _block(lines: list[str]) -> list[str]:
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return [f".. code-block:: {_language(lines)}", "", *lines, ""]


def _language(lines: list[str]) -> str:
    try:
        ast.parse(dedent("\n".join(lines)))
    except SyntaxError:
        return "text"
    return "python"


def _prose(lines: list[str]) -> list[str]:
    """Mark code as reStructuredText does, and keep its signs out of everything else."""
    pieces = _SPAN.split("\n".join(lines))
    for at, piece in enumerate(pieces):
        follows = pieces[at + 1][:1] if at + 1 < len(pieces) else ""
        joined = "\\ " if follows.isalnum() else ""  # a letter right after code, as in a plural
        pieces[at] = f"``{piece}``{joined}" if at % 2 else re.sub(r"([|\\])", r"\\\1", piece)
    return "".join(pieces).split("\n")
