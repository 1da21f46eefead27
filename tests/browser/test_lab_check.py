"""`make lab-check` sees a course that works, and does not miss one that fails."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from moe_teach.lab_check.__main__ import check_lab
from moe_teach.lab_check.server import LabCheckError

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]


def lab_check(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the check as make does, in a process of its own: a browser may be open in this one."""
    command = [sys.executable, "-m", "moe_teach.lab_check"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def course(folder: Path, *sources: str) -> Path:
    """Write a course whose chapter 00 has a few code cells."""
    blank = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    cells = [blank | {"id": f"c{i}", "source": source} for i, source in enumerate(sources)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    whole = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (folder / "notebooks").mkdir()
    (folder / "notebooks/00_start_here.ipynb").write_text(json.dumps(whole))
    return folder


def test_chapter_00_runs_in_jupyterlab() -> None:
    done = lab_check(ROOT)

    assert done.returncode == 0, done.stderr
    assert "ran in JupyterLab without an error" in done.stdout


def test_a_cell_that_fails_is_named_and_the_exit_status_says_so(tmp_path: Path) -> None:
    done = lab_check(course(tmp_path, "from moe_teach.course import setup\nsetup()", "1 / 0"))

    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_a_missing_notebook_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LabCheckError, match="run this in the folder of the course"):
        check_lab(tmp_path / "nowhere.ipynb")
