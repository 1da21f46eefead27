"""`make lab-check` sees a course that works, and does not miss one that fails."""

import json
from pathlib import Path

import pytest

from moe_teach.lab_check.__main__ import check_lab, main
from moe_teach.lab_check.server import LabCheckError

pytestmark = pytest.mark.browser


def lesson(folder: Path, *sources: str) -> Path:
    """Write a notebook of a few code cells."""
    blank = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    cells = [blank | {"id": f"c{i}", "source": source} for i, source in enumerate(sources)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    whole = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path = folder / "lesson.ipynb"
    path.write_text(json.dumps(whole))
    return path


def test_chapter_00_runs_in_jupyterlab() -> None:
    assert "ran in JupyterLab without an error" in check_lab()


def test_a_cell_that_fails_is_named_and_the_exit_status_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = lesson(tmp_path, "from moe_teach.course import setup\nsetup()", "1 / 0")
    monkeypatch.setattr("moe_teach.lab_check.__main__.check_lab", lambda: check_lab(broken))

    assert main() == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_missing_notebook_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LabCheckError, match="run this in the folder of the course"):
        check_lab(tmp_path / "nowhere.ipynb")
