"""The wheel alone is the course: whoever installs it has no clone and needs none."""

import contextlib
import email
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SHELVES = ("notebooks", "exercises", "solutions")
MAX_MB = 12  # what a reader fetches; an index refuses 100


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = pytest.importorskip("hatchling.build", reason="hatchling comes with the extra dev")
    pytest.importorskip("hatch_fancy_pypi_readme", reason="it comes with the extra dev")
    folder = tmp_path_factory.mktemp("wheel")
    with contextlib.chdir(ROOT):
        return folder / build.build_wheel(str(folder))


@pytest.fixture(scope="session")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as packed:
        return set(packed.namelist())


@pytest.fixture(scope="session")
def front_page(wheel: Path) -> email.message.Message:
    """Read what an index shows: the metadata, with the page as its body."""
    with zipfile.ZipFile(wheel) as packed:
        (name,) = (n for n in packed.namelist() if n.endswith("dist-info/METADATA"))
        return email.message_from_bytes(packed.read(name))


def outside(folder: Path, words: str) -> Iterator[str]:
    """Give the files of a folder that are the reader's to have, named as in the wheel."""
    for path in sorted((ROOT / folder).glob(words)):
        if path.is_file() and not {"__pycache__", ".ipynb_checkpoints"} & set(path.parts):
            yield path.relative_to(ROOT).as_posix()


def test_every_file_of_the_library_is_in_the_wheel(names: set[str]) -> None:
    library = set(outside(Path("moe_teach"), "**/*"))

    assert "moe_teach/py.typed" in library, "it tells type checkers that the annotations count"
    assert library - names == set()


@pytest.mark.parametrize("shelf", SHELVES)
def test_every_notebook_is_in_the_wheel_and_what_it_is_made_from_is_not(
    shelf: str, names: set[str]
) -> None:
    packed = {name for name in names if name.startswith(f"moe_teach/course/{shelf}/")}
    notebooks = {f"moe_teach/course/{name}" for name in outside(Path(shelf), "*.ipynb")}

    assert notebooks
    assert notebooks <= packed
    assert [name for name in packed if name.endswith(".py")] == []


def test_the_stored_runs_that_lessons_draw_over_are_in_the_wheel(names: set[str]) -> None:
    runs = {f"moe_teach/course/{name}" for name in outside(Path("notebooks/results"), "*.json")}

    assert runs
    assert runs <= names


def test_the_wheel_holds_nothing_else_and_stays_light(wheel: Path, names: set[str]) -> None:
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"moe_teach"}
    assert wheel.stat().st_size < MAX_MB * 1e6


def test_the_page_of_an_index_leads_out_of_it_by_addresses_only(front_page) -> None:
    page = front_page.get_payload()
    targets = re.findall(r"\]\(([^)]*)\)", page)

    assert front_page["Description-Content-Type"] == "text/markdown"
    assert len(targets) > 40
    assert [target for target in targets if not target.startswith("https://")] == []
    assert [line for line in page.splitlines() if "$HFPR" in line] == []


def test_what_the_page_of_an_index_leads_to_is_there(front_page) -> None:
    home = PROJECT["project"]["urls"]["Repository"].removeprefix("https://github.com/")
    tag = f"v{PROJECT['project']['version']}"
    page = front_page.get_payload()
    files = re.findall(rf"\]\(https://github\.com/{home}/blob/{tag}/([^)#]+)", page)
    pictures = re.findall(rf"\]\(https://raw\.githubusercontent\.com/{home}/{tag}/([^)]+)", page)

    assert ".github/front-door.png" in pictures
    assert len(files) > 30
    assert [name for name in files + pictures if not (ROOT / name).exists()] == []


NEWCOMER = """
import sys
from moe_teach.cli import main
from moe_teach.course import experiments
from moe_teach.course.materials import solution_cell
from moe_teach.course.registry import find_exercise

assert main(["start", sys.argv[1]]) == 0
assert main(["start", sys.argv[1]]) == 0
assert main(["next"]) == 0
assert "def topk_route" in solution_cell(find_exercise("3.1"))
assert experiments.stored("05_experts")
print(main(["doctor"]))
"""


def test_the_wheel_alone_starts_a_newcomer(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "site")
    away = {name: text for name, text in os.environ.items() if not name.startswith("MOE_TEACH")}
    away |= {"PYTHONPATH": str(tmp_path / "site"), "MOE_TEACH_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", NEWCOMER, "my course"],
        cwd=tmp_path,
        env=away,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert "notebooks laid out in my course." in done.stdout
    assert "Everything in my course is up to date." in done.stdout
    assert f"{tmp_path}/my course/exercises/00_start_here.ipynb" in done.stdout
    assert "make " not in done.stdout, "there is no Makefile here"
    for shelf in SHELVES:
        laid_out = {path.name for path in (tmp_path / "my course" / shelf).iterdir()}
        assert laid_out == {Path(name).name for name in outside(Path(shelf), "*.ipynb")}


def test_the_table_of_the_wheel_names_every_shelf() -> None:
    """What can be said where nothing can build a wheel."""
    table = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]

    assert set(table["only-include"]) == {"moe_teach", *SHELVES}
    assert table["sources"] == {shelf: f"moe_teach/course/{shelf}" for shelf in SHELVES}
