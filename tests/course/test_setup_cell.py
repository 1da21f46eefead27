"""The set-up cell: the same in every notebook, run any number of times, in any folder."""

import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from moe_teach.course import setup
from moe_teach.course.authoring import pages

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


def test_elsewhere_nothing_is_ever_installed(monkeypatch):
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    monkeypatch.setattr(subprocess, "run", pytest.fail)
    exec(CODE, {})
