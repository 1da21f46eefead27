"""The desk follows the course and loses nothing; the clone stays as git knows it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from moe_teach.cli import main
from moe_teach.course.learner.desk import cells_digest, hand_out

ROOT = Path(__file__).parents[2]


def write(path: Path, *cells: str, outputs: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ran = [{"output_type": "stream", "name": "stdout", "text": "42"}] if outputs else []
    path.write_text(
        json.dumps({"cells": [{"cell_type": "code", "source": c, "outputs": ran} for c in cells]})
    )


@pytest.fixture
def course(tmp_path: Path) -> Path:
    write(tmp_path / "course/notebooks/00_start.ipynb", "1 + 1")
    write(tmp_path / "course/exercises/00_start.ipynb", "raise NotImplementedError")
    write(tmp_path / "course/solutions/00_start.ipynb", "2")
    return tmp_path / "course"


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    return tmp_path / "desk"


def texts(folder: Path) -> list[str]:
    return [path.read_text() for path in folder.rglob("*.ipynb")]


def test_a_first_hand_out_copies_every_notebook(course: Path, desk: Path) -> None:
    assert hand_out(course, desk) == [f"3 notebooks laid out in {desk}."]
    assert (desk / "exercises/00_start.ipynb").read_text() == (
        course / "exercises/00_start.ipynb"
    ).read_text()
    assert hand_out(course, desk) == []


def test_a_lesson_that_was_only_run_keeps_its_outputs_until_the_course_changes(
    course: Path, desk: Path
) -> None:
    hand_out(course, desk)
    own = desk / "notebooks/00_start.ipynb"
    write(own, "1 + 1", outputs=True)
    hand_out(course, desk)
    assert "42" in own.read_text()
    write(course / "notebooks/00_start.ipynb", "2 + 2")
    (said,) = hand_out(course, desk)
    assert said.startswith("notebooks/00_start.ipynb is new in the course")
    assert "2 + 2" in own.read_text()
    assert any("42" in text for text in texts(desk / "earlier"))


def test_an_answer_stays_and_the_new_exercise_comes_beside_it(course: Path, desk: Path) -> None:
    hand_out(course, desk)
    own = desk / "exercises/00_start.ipynb"
    write(own, "return 7")
    write(course / "exercises/00_start.ipynb", "raise NotImplementedError('anew')")
    (said,) = hand_out(course, desk)
    assert said == (
        "exercises/00_start.ipynb stays as you wrote it; 00_start.new.ipynb beside it is new."
    )
    assert "return 7" in own.read_text()
    assert "anew" in (desk / "exercises/00_start.new.ipynb").read_text()
    assert hand_out(course, desk) == []


def test_work_in_the_new_form_is_kept_when_a_newer_one_comes(course: Path, desk: Path) -> None:
    hand_out(course, desk)
    write(desk / "exercises/00_start.ipynb", "return 7")
    write(course / "exercises/00_start.ipynb", "second form")
    hand_out(course, desk)
    write(desk / "exercises/00_start.new.ipynb", "return 8")
    write(course / "exercises/00_start.ipynb", "third form")
    hand_out(course, desk)
    kept = texts(desk)
    assert all(any(words in text for text in kept) for words in ("return 7", "return 8", "third"))


@pytest.mark.parametrize("record", [None, "{", "[]", "null"])
def test_without_a_record_a_changed_copy_counts_as_the_readers(
    course: Path, desk: Path, record: str | None
) -> None:
    hand_out(course, desk)
    write(desk / "exercises/00_start.ipynb", "return 7")
    (desk / ".handed_out.json").unlink()
    if record is not None:
        (desk / ".handed_out.json").write_text(record)
    hand_out(course, desk)
    assert "return 7" in (desk / "exercises/00_start.ipynb").read_text()


@pytest.mark.parametrize("content", ["", "no notebook", '{"cells": 3}', "[]"])
def test_a_damaged_copy_is_left_where_it_is(course: Path, desk: Path, content: str) -> None:
    hand_out(course, desk)
    own = desk / "exercises/00_start.ipynb"
    own.write_text(content)
    assert cells_digest(own) is None
    hand_out(course, desk)
    assert own.read_text() == content
    assert (desk / "exercises/00_start.new.ipynb").exists()


def test_the_command_lays_out_the_real_course_and_git_sees_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clone = tmp_path / "clone"
    for shelf in ("notebooks", "exercises", "solutions"):
        (clone / shelf).mkdir(parents=True)
        for path in (ROOT / shelf).glob("00*.ipynb"):
            shutil.copy(path, clone / shelf)
    shutil.copy(ROOT / ".gitignore", clone)
    (clone / "moe_teach").mkdir()
    subprocess.run(["git", "init", "-q"], cwd=clone, check=True)
    subprocess.run(["git", "add", "-A"], cwd=clone, check=True)
    monkeypatch.chdir(clone)
    assert main(["desk"]) == 0
    assert "3 notebooks laid out" in capsys.readouterr().out
    write(clone / "desk/notebooks/00_start_here.ipynb", "run", outputs=True)
    status = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files"],
        cwd=clone,
        capture_output=True,
        text=True,
    )
    assert [line for line in status.stdout.splitlines() if not line.startswith("A ")] == []
