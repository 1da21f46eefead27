"""The house keeps its shape: imports look down, rooms are small, nothing heavy at the door."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "moe_teach"
MODULES = sorted(PACKAGE.rglob("*.py"))
FLOORS = [
    {"__init__", "types", "config", "files", "terminal", "text_table", "surroundings", "seeding"}
    | {"exit_status"},
    {"catalog"},  # is made of configurations
    {"ops", "cost"},
    {"nn"},
    {"data", "checkpoint"},
    {"train", "analysis", "compose", "parallel", "deploy"},
    {"widgets", "plots"},
    {"judging"},
    {"chapters"},
    {"course", "bench"},
    {"doctor", "lab_check"},
    {"cli"},  # the front door: it may call any floor
]
FLOOR_OF = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
# Only these rooms may bring in something heavy; everyone else stays light.
HEAVY = {
    "triton": {"ops", "bench", "analysis", "judging"},
    "transformers": {"checkpoint", "deploy", "bench"},
    "anywidget": {"widgets"},
    "matplotlib": {"plots", "chapters"},
    "jupytext": {"course"},
    "nbformat": {"course"},
    "nbclient": {"course"},
    "playwright": {"lab_check"},
}


def room_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


TREES = {module: ast.parse(module.read_text()) for module in MODULES}


def imports(module: Path) -> Iterator[str]:
    """Give the dotted name of everything a module imports, wherever the statement stands."""
    for node in ast.walk(TREES[module]):
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


def complaints(about: Callable[[Path], Iterator[str]]) -> list[str]:
    """Ask about every module, in one test: a test for each would cost more than it looks at."""
    return [f"{m.relative_to(PACKAGE)} {text}" for m in MODULES for text in about(m)]


def test_every_room_has_a_floor() -> None:
    assert {room_of(module) for module in MODULES} <= set(FLOOR_OF)


def test_imports_only_look_down() -> None:
    def looks_up(module: Path) -> Iterator[str]:
        room = room_of(module)
        for other in rooms_imported_by(module) - {room}:
            if FLOOR_OF[other] >= FLOOR_OF[room]:
                yield f"must not import {other}"

    assert complaints(looks_up) == []


def test_chapters_do_not_know_each_other_and_only_the_course_knows_them() -> None:
    def knows_a_chapter(module: Path) -> Iterator[str]:
        room, *rest = module.relative_to(PACKAGE).parts
        for name in imports(module):
            is_a_chapters = name.startswith("moe_teach.chapters.ch") and room != "course"
            if is_a_chapters and name.split(".")[2] not in rest:
                yield f"must not import {name}"

    assert complaints(knows_a_chapter) == []


def test_no_module_is_called_after_a_chapter_inside_its_room() -> None:
    named = [path for path in MODULES if path.name[:3] in ("_ch", "ch0", "ch1")]
    assert named == []


def test_heavy_packages_stay_in_the_room_that_needs_them() -> None:
    def brings(module: Path) -> Iterator[str]:
        for name in imports(module):
            allowed = HEAVY.get(name.split(".")[0])
            if allowed is not None and room_of(module) not in allowed:
                yield f"must not import {name}"

    assert complaints(brings) == []


def test_modules_and_functions_fit_one_sitting() -> None:
    def is_long(module: Path) -> Iterator[str]:
        lines = module.read_text().count("\n")
        if lines > 250:
            yield f"has {lines} lines; split it"
        for node in ast.walk(TREES[module]):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > 40:
                    yield f"has {node.name} with {length} lines"

    assert complaints(is_long) == []


def test_every_module_and_public_function_says_what_it_is() -> None:
    def is_silent(module: Path) -> Iterator[str]:
        tree = TREES[module]
        if tree.body and not ast.get_docstring(tree):
            yield "has no docstring"
        if module.stem.endswith("_answers") or module.stem == "answer_parts":
            return  # a named answer says in its name and its card what it does
        for node in tree.body:
            is_public = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
            if is_public and not ast.get_docstring(node):
                yield f"says nothing about {node.name}"

    assert complaints(is_silent) == []


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
