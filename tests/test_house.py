"""The house keeps its shape: imports look down, rooms are small, nothing heavy at the door."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "moe_teach"
MODULES = sorted(PACKAGE.rglob("*.py"))
FLOORS = [
    {"__init__", "types", "config", "files", "surroundings", "seeding"},
    {"catalog"},  # is made of configurations
    {"ops", "cost"},
    {"nn"},
    {"data", "checkpoint"},
    {"train", "analysis", "compose", "parallel", "deploy"},
    {"widgets", "plots"},
    {"course", "bench"},
    {"doctor", "lab_check"},
    {"cli"},  # the front door: it may call any floor
]
FLOOR_OF = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
# Only these rooms may bring in something heavy; everyone else stays light.
HEAVY = {
    "triton": {"ops", "bench", "analysis", "course"},
    "transformers": {"checkpoint", "deploy", "bench"},
    "anywidget": {"widgets"},
    "matplotlib": {"plots"},
    "jupytext": {"course"},
    "nbformat": {"course"},
    "nbclient": {"course"},
    "playwright": {"lab_check"},
}


def room_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(module: Path) -> Iterator[str]:
    """Give the dotted name of everything a module imports, wherever the statement stands."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.name} imports relatively"
            if node.module == "moe_teach":
                yield from (f"moe_teach.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


def rooms_imported_by(module: Path) -> set[str]:
    inner = [name.split(".")[1] for name in imports(module) if name.startswith("moe_teach.")]
    return {name for name in inner if name in FLOOR_OF or (PACKAGE / name).exists()}


named = pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))


@named
def test_imports_only_look_down(module: Path) -> None:
    room = room_of(module)
    assert room in FLOOR_OF, f"{room} has no floor yet: give it one in tests/test_house.py"
    for other in rooms_imported_by(module) - {room}:
        assert FLOOR_OF[other] < FLOOR_OF[room], f"{room} must not import {other}"


@named
def test_heavy_packages_stay_in_the_room_that_needs_them(module: Path) -> None:
    for name in imports(module):
        allowed = HEAVY.get(name.split(".")[0])
        assert allowed is None or room_of(module) in allowed, f"{module} imports {name}"


@named
def test_modules_and_functions_fit_one_sitting(module: Path) -> None:
    text = module.read_text()
    assert text.count("\n") <= 250, f"{module} has {text.count(chr(10))} lines; split it"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 40, f"{module.name}: {node.name} has {length} lines"


@named
def test_every_module_and_public_function_says_what_it_is(module: Path) -> None:
    tree = ast.parse(module.read_text())
    if "checks" in module.parts or "answers" in module.parts:
        return  # exercises speak through their registry entry
    assert ast.get_docstring(tree) or not tree.body, f"{module} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{module.name}: {node.name} has no docstring"


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import moe_teach", ("torch", "numpy", "matplotlib", "anywidget")),
        ("import moe_teach.cost, moe_teach.catalog", ("torch", "matplotlib")),
        ("import moe_teach.nn.model", ("triton", "transformers", "matplotlib", "anywidget")),
        ("import moe_teach.course", ("jupytext", "nbformat", "matplotlib", "transformers")),
    ],
    ids=["the package", "the cost model", "the network", "the course"],
)
def test_importing_a_room_brings_nothing_heavy(statement: str, forbidden: tuple[str, ...]) -> None:
    script = f"import sys; {statement}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert not set(forbidden) & set(loaded.stdout.split())
