"""A stage takes a large seed as well as a small one: grading draws seeds of any size."""

import ast
from pathlib import Path

import moe_teach.chapters

MODULES = sorted(Path(moe_teach.chapters.__path__[0]).rglob("*.py"))
SIZES = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)


def by_size(source: str) -> list[int]:
    """List the lines where a seed's size decides, or where it is an index as it is."""
    found = []
    for node in ast.walk(ast.parse(source)):
        compares = isinstance(node, ast.Compare) and any(isinstance(op, SIZES) for op in node.ops)
        parts = [node.left, *node.comparators] if compares else []
        if isinstance(node, ast.Subscript):
            parts = [node.slice]
        if any(isinstance(part, ast.Name) and part.id == "seed" for part in parts):
            found.append(node.lineno)
    return found


def test_a_seed_that_decides_by_its_size_is_found() -> None:
    assert by_size("if seed >= 3:\n    pass\nLOADS[seed]\nif seed % 3:\n    LOADS[seed % 3]") == [
        1,
        3,
    ]


def test_no_stage_does_less_for_a_large_seed() -> None:
    found = {
        f"{module.parent.name}/{module.name}": lines
        for module in MODULES
        if (lines := by_size(module.read_text(encoding="utf-8")))
    }
    assert not found
