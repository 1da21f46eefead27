"""The desk follows the course and loses nothing; the clone stays as git knows it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from moe_teach.cli import main
from moe_teach.course.learner.desk import NoDesk, cells_digest, hand_out, lay_out, place

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


def test_a_folder_without_a_name_is_told_by_its_place(
    course: Path, desk: Path, monkeypatch
) -> None:
    desk.mkdir(parents=True)
    monkeypatch.chdir(desk)
    assert hand_out(course, Path()) == [f"3 notebooks laid out in {desk.resolve()}."]


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
        "exercises/00_start.ipynb stays as you wrote it; "
        "00_start.new.ipynb beside it is new (1 cell)."
    )
    assert "return 7" in own.read_text()
    assert "anew" in (desk / "exercises/00_start.new.ipynb").read_text()
    assert hand_out(course, desk) == []


def test_an_answer_brings_nothing_new_while_the_course_stays_as_it_was(
    course: Path, desk: Path
) -> None:
    hand_out(course, desk)
    own = desk / "exercises/00_start.ipynb"
    write(own, "return 7")
    assert hand_out(course, desk) == []
    assert "return 7" in own.read_text()
    assert [path.name for path in own.parent.iterdir()] == ["00_start.ipynb"]
    write(course / "exercises/00_start.ipynb", "raise NotImplementedError('anew')")
    assert len(hand_out(course, desk)) == 1
    assert "return 7" in own.read_text()


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


def page(path: Path, *cells: tuple[str, str]) -> None:
    """Write a notebook whose cells carry ids, as those of the course do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = [
        {"cell_type": "markdown" if text[0] == "#" else "code", "source": text, "id": cell_id}
        for cell_id, text in cells
    ]
    path.write_text(json.dumps({"cells": made}))


def test_an_update_says_under_which_headings_its_new_cells_stand(course: Path, desk: Path) -> None:
    given = course / "exercises/00_start.ipynb"
    page(given, ("a", "# Start"), ("b", "## One"), ("c", "stub"), ("d", "## Two"), ("e", "stub 2"))
    hand_out(course, desk)
    own = desk / "exercises/00_start.ipynb"
    page(
        own,
        ("a", "# Start"),
        ("b", "## One"),
        ("c", "return 7"),
        ("d", "## Two"),
        ("e", "return 8"),
    )
    page(given, ("a", "# Start"), ("b", "## One"), ("c", "stub"), ("d", "## Two"), ("f", "other"))
    (said,) = hand_out(course, desk)
    assert said.endswith('00_start.new.ipynb beside it is new (1 cell, under "Two").')


def test_many_headings_are_not_all_named(course: Path, desk: Path) -> None:
    given = course / "notebooks/00_start.ipynb"
    hand_out(course, desk)
    page(given, *((f"h{i}", f"## Part {i}") for i in range(6)))
    (said,) = hand_out(course, desk)
    assert '(6 cells, under "Part 0" and "Part 1" and "Part 2" and 3 more places)' in said


def test_a_cell_that_only_went_away_is_said_too(course: Path, desk: Path) -> None:
    given = course / "notebooks/00_start.ipynb"
    page(given, ("a", "# Start"), ("b", "1 + 1"))
    hand_out(course, desk)
    page(given, ("a", "# Start"))
    (said,) = hand_out(course, desk)
    assert "(cells went away or changed places)" in said


def test_a_notebook_that_is_new_in_an_update_is_named(course: Path, desk: Path) -> None:
    hand_out(course, desk)
    write(course / "notebooks/01_next.ipynb", "2")
    assert hand_out(course, desk) == ["notebooks/01_next.ipynb is laid out."]


def test_a_notebook_that_left_the_course_stays_and_is_said_once(course: Path, desk: Path) -> None:
    hand_out(course, desk)
    (course / "notebooks/00_start.ipynb").unlink()
    assert hand_out(course, desk) == [
        "notebooks/00_start.ipynb is no longer in the course; your copy stays."
    ]
    assert (desk / "notebooks/00_start.ipynb").exists()
    assert hand_out(course, desk) == []


def test_a_file_that_was_there_before_is_never_written_over(course: Path, desk: Path) -> None:
    write(desk / "notebooks/00_start.ipynb", "my own thoughts")
    hand_out(course, desk)
    assert "my own thoughts" in (desk / "notebooks/00_start.ipynb").read_text()
    assert (desk / "notebooks/00_start.new.ipynb").exists()


def test_the_course_itself_is_no_desk(course: Path) -> None:
    with pytest.raises(NoDesk, match=r"is the course itself\. Name another folder"):
        lay_out(course, course / "notebooks" / "..")
    assert not (course / ".handed_out.json").exists()


def test_a_folder_that_cannot_be_written_is_a_sentence(course: Path, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("mine")
    with pytest.raises(NoDesk, match=r"cannot be laid out in .*a file.* Name a folder"):
        lay_out(course, tmp_path / "a file")
    assert (tmp_path / "a file").read_text() == "mine"


def test_where_the_desk_is_is_remembered_while_it_is_there(course: Path, desk: Path) -> None:
    assert place() is None
    lay_out(course, desk)
    assert place() == desk.resolve()
    shutil.rmtree(desk)
    assert place() is None


def test_a_desk_is_laid_out_also_where_nobody_has_a_home(
    course: Path, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOE_TEACH_HOME", "~no-such-user/here")
    assert lay_out(course, desk) == [f"3 notebooks laid out in {desk}."]
    assert place() is None


def test_start_lays_out_the_real_course_and_says_how_to_open_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my course"
    assert main(["start", str(folder)]) == 0
    assert "notebooks laid out in" in capsys.readouterr().out
    for shelf in ("notebooks", "exercises", "solutions"):
        there = {path.name for path in (folder / shelf).iterdir()}
        assert there == {path.name for path in (ROOT / shelf).glob("*.ipynb")}
    assert main(["start", str(folder)]) == 0
    said = capsys.readouterr().out
    assert f"Everything in {folder} is up to date." in said
    assert (
        f"jupyter lab '--ServerApp.root_dir={folder}' '{folder}/notebooks/00_start_here.ipynb'"
        in said
    )


def test_start_without_a_place_to_write_is_a_usage_error_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("")
    assert main(["start", str(tmp_path / "taken")]) == 2
    assert capsys.readouterr().err.startswith("moe-teach: The notebooks cannot be laid out in")


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
