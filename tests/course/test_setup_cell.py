"""The set-up cell: the same in every notebook, run any number of times, in any folder."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import types
from functools import cache
from pathlib import Path

import pytest

from moe_teach.chapters import CHAPTERS
from moe_teach.course import setup
from moe_teach.course.authoring import pages

ROOT = Path(__file__).parents[2]
URL = "https://github.com/who/what"
CODE = pages.setup_code(URL)


def test_it_runs_twice_in_a_folder_that_is_not_the_clone(tmp_path: Path):
    (tmp_path / "twice.py").write_text(f"{CODE}\n\n{CODE}\n")
    done = subprocess.run(
        [sys.executable, "twice.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "error::DeprecationWarning"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0] == lines[1]
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == [tmp_path / "twice.py"]


def test_its_line_names_versions_threads_device_widgets_and_triton(capsys):
    setup()
    line = capsys.readouterr().out
    assert re.fullmatch(
        r"moe_teach \S+ \| Python 3\.\S+ \| torch \S+ \| \d+ threads? \| [^|]+ "
        r"\| widgets [a-z ]+ \| triton (compiled|interpreted|absent)\n",
        line,
    )


@pytest.fixture
def colab(monkeypatch):
    """Pretend to be Colab and write down what would be installed."""
    commands, widgets = [], []
    output = types.ModuleType("google.colab.output")
    output.enable_custom_widget_manager = lambda: widgets.append(True)
    package = types.ModuleType("google.colab")
    package.output = output
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", package)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command))
    return types.SimpleNamespace(commands=commands, widgets=widgets)


def test_a_short_run_says_that_the_texts_describe_the_full_one(monkeypatch, capsys):
    monkeypatch.setenv("MOE_TEACH_FAST", "1")
    setup()
    assert "the texts describe the full run" in capsys.readouterr().out.splitlines()[1]
    monkeypatch.delenv("MOE_TEACH_FAST")
    setup()
    assert "full run" not in capsys.readouterr().out


def test_on_colab_nothing_is_installed_when_the_course_is_there(colab, capsys):
    exec(CODE, {})
    assert colab.commands == []
    assert colab.widgets
    assert capsys.readouterr().out.count("\n") == 1


def test_on_colab_a_missing_course_is_installed_from_the_repository(colab, monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    exec(CODE, {})
    (command,) = colab.commands
    assert command[1:4] == ["-m", "pip", "install"]
    assert command[-1] == f"moe-teach @ git+{URL}"


@pytest.mark.parametrize("here", [(), ("moe_teach",), ("moe_teach", "gguf")])
def test_a_chapter_that_needs_an_extra_installs_it_also_beside_the_bare_course(
    colab, monkeypatch, here
):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in here else None)
    exec(pages.setup_code(URL, 8), {})
    assert [command[-1] for command in colab.commands] == (
        [] if "gguf" in here else [f"moe-teach[deploy] @ git+{URL}"]
    )


def module_file(name: str) -> Path | None:
    """Find the file of a module of the library."""
    path = ROOT / name.replace(".", "/")
    return next((f for f in (path / "__init__.py", path.with_suffix(".py")) if f.is_file()), None)


@cache
def imported_by(file: Path) -> frozenset[str]:
    """Name all that a file imports, at its top or on the way."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def packages_reached(sources: list[Path]) -> set[str]:
    """Follow imports through the library; give the packages outside it that are met."""
    waiting = [name for source in sources for name in imported_by(source)]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            file = module_file(name) if name.startswith("moe_teach") else None
            waiting += imported_by(file) if file else ()
    return {name.partition(".")[0] for name in seen}


def test_a_chapter_installs_on_colab_what_its_pages_and_checks_can_reach():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["optional-dependencies"]["deploy"]  # Colab itself has Triton, for 09 and 10
    brought = {re.split(r"[<>=;]", line)[0].replace("-", "_") for line in lines}
    for room in CHAPTERS:
        chapter = int(room[2:4])
        pages_of_it = [
            f for s in ("notebooks", "solutions") for f in (ROOT / s).glob(f"{room[2:4]}*.py")
        ]
        checks = list((ROOT / "moe_teach/chapters" / room).rglob("*.py"))
        reached = packages_reached(pages_of_it + checks)
        extra = pages.EXTRAS.get(chapter, ("",))[0]
        assert bool(reached & brought) == (extra == "deploy"), room


def test_elsewhere_nothing_is_ever_installed(monkeypatch):
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    monkeypatch.setattr(subprocess, "run", pytest.fail)
    exec(CODE, {})
