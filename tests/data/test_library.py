"""Taking a source apart: an independent tokenizer must agree on what is code."""

import ast
import io
import tokenize

import pytest

from moe_teach.data import library
from moe_teach.data.pieces import normalise

SOURCE = '''"""The module."""
import os  # for the path


# A comment of its own.
class Thing:
    """All there is."""


class Point:
    x: int = 0
    """How far to the right."""


def quote(text, mark="#"):
    """Put marks around.

    Twice.
    """; n = 2
    url = 'http://x/#top'  # 'not a string'
    return f"{mark}" * n + text + """
# inside a string
"""


async def both():
    "One line."
    def inner(): "Just this."
    return inner
'''


class WithoutBareStrings(ast.NodeTransformer):
    """An independent way to the same end: on the tree instead of on the text."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        is_string = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_string else node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        had = {name for name, value in ast.iter_fields(node) if value and name == "body"}
        super().generic_visit(node)
        if had and isinstance(node.body, list) and not node.body:
            node.body = [ast.Expr(ast.Constant(...))]
        return node


def test_code_and_docstrings_come_apart() -> None:
    code, docstrings = library.blocks(SOURCE)

    assert docstrings == [
        "The module.",
        "All there is.",
        "How far to the right.",
        "Put marks around.\n\nTwice.",
        "One line.",
        "Just this.",
    ]
    assert code == [
        "import os",
        "class Thing:\n    ...",
        "class Point:\n    x: int = 0",
        'def quote(text, mark="#"):\n    n = 2\n'
        "    url = 'http://x/#top'\n"
        '    return f"{mark}" * n + text + """\n# inside a string\n"""',
        "async def both():\n    def inner(): ...\n    return inner",
    ]


@pytest.mark.parametrize(
    "name",
    ["argparse.py", "functools.py", "inspect.py", "json/decoder.py", "textwrap.py", "typing.py"],
)
def test_what_is_left_of_a_library_file_means_the_same_program(name: str) -> None:
    source = normalise((library.root() / name).read_text(encoding="utf-8"))
    code, _ = library.blocks(source)
    rebuilt = "\n\n".join(code)

    assert not any(kind == tokenize.COMMENT for kind, _ in all_tokens(rebuilt))
    assert ast.unparse(ast.parse(rebuilt)) == ast.unparse(
        WithoutBareStrings().visit(ast.parse(source))
    )


def all_tokens(code: str) -> list[tuple[int, str]]:
    return [(t.type, t.string) for t in tokenize.generate_tokens(io.StringIO(code).readline)]


def test_prose_is_told_from_code_and_joined_to_one_line() -> None:
    text = """This is a paragraph of quite ordinary English prose, broken into two
lines in the middle, as paragraphs in a docstring are, with a self-
contained word.

>>> this_is_an_example("with an argument that is long enough to be considered")

name ::= (letter | "_") (letter | digit | "_")* which is grammar and not English

Short.
"""
    assert library.paragraphs(text) == [
        "This is a paragraph of quite ordinary English prose, broken into two lines in the "
        "middle, as paragraphs in a docstring are, with a self-contained word."
    ]


def test_a_file_that_is_not_here_is_left_out() -> None:
    assert library.code_documents(["no_such_module.py"]) == {}
    assert library.english_documents(["no_such_module.py", "topic no such topic"]) == {}


def test_tests_and_tables_are_not_offered() -> None:
    names = library.files()

    assert "argparse.py" in names
    assert names == sorted(set(names))
    assert not {"test", "encodings", "tkinter", "idlelib"} & {n.split("/")[0] for n in names}
