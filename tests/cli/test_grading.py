"""The teacher's verbs: in sentences, with an exit status that scripts can trust."""

import json
from pathlib import Path

import pytest

from moe_teach import cli
from moe_teach.course.grading import command
from tests.course.grading.hand_ins import as_bytes
from tests.course.grading.judges import CheapJudge, hand_in


@pytest.fixture(autouse=True)
def in_a_class(home: Path, tmp_path: Path, monkeypatch) -> None:
    """Work in a folder with hand-ins, with a judge that starts no process of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "EngineJudge", lambda **_: CheapJudge())
    for name, words in (("anna", ["RIGHT"]), ("bo", ["x"])):
        file = tmp_path / "class" / name / "00_start_here.ipynb"
        file.parent.mkdir(parents=True)
        file.write_bytes(hand_in(name, *words).content)


def run(capsys, *words):
    status = cli.main(words)
    said = capsys.readouterr()
    return status, said.out + said.err


def test_a_class_is_graded_shown_corrected_exported_and_reported(capsys, tmp_path):
    status, said = run(capsys, "grade", "class", "--jobs", "2")
    assert status == 1
    assert "Graded 2 submissions.\n2 students in gradebook, " in said
    assert "bo: 0 of 6 points" in run(capsys, "gradebook", "show", "bo")[1]
    words = ("gradebook", "override", "bo", "0.1", "0.5", "--because", "half", "--by", "me")
    assert run(capsys, *words) == (0, "bo, 0.1: 0.5 of 1 points by hand.\n")
    assert run(capsys, "gradebook", "rebuild") == (0, "2 students, 5 exercises.\n")
    assert run(capsys, "regrade", "--only", "0.1")[0] == 1
    assert run(capsys, "gradebook", "export", "json", "--to", "grades.json")[0] == 0
    students = json.loads((tmp_path / "grades.json").read_text())["students"]
    assert [student["total"] for student in students] == [1, 0.5]
    assert run(capsys, "report", "--to", "r.html", "--feedback", "pages")[0] == 0
    assert len(list((tmp_path / "pages").iterdir())) == 2
    assert "2 of them before" in run(capsys, "grade", "class")[1]


def test_what_nobody_could_read_stops_an_export_and_not_the_class(capsys, tmp_path):
    (tmp_path / "class" / "cy").mkdir()
    (tmp_path / "class" / "cy" / "00_start_here.ipynb").write_bytes(b"[]")
    status, said = run(capsys, "grade", "class")
    assert status == 1
    assert "1 file could not be read:\n  cy, cy/00_start_here.ipynb: The file is JSON" in said
    assert "3 students in gradebook, look at 1 of them: `moe-teach report` shows which." in said
    status, said = run(capsys, "gradebook", "export", "csv", "--to", "grades.csv")
    assert status == 1
    assert "Nothing was exported" in said
    assert not (tmp_path / "grades.csv").exists()
    assert run(capsys, "gradebook", "export", "csv", "--to", "g.csv", "--allow-ungraded")[0] == 0


def test_all_right_is_status_zero_and_a_fault_of_the_grader_status_three(capsys, monkeypatch):
    monkeypatch.setattr(
        command, "EngineJudge", lambda **_: CheapJudge(mended=["0.1", "0.2", "0.3", "0.4", "0.5"])
    )
    assert run(capsys, "grade", "class")[0] == 0
    Path("class/bo/00_start_here.ipynb").write_bytes(hand_in("bo", "FAULTY").content)
    status, said = run(capsys, "grade", "class")
    assert status == 3
    assert "The grader failed 1 time:\n  bo, " in said
    assert "a fault of ours" in said


def test_exercises_may_be_named_with_commas_as_well_as_with_spaces(capsys, tmp_path):
    run(capsys, "grade", "class/anna")
    spaces = run(capsys, "regrade", "--only", "0.1", "0.2")
    assert spaces == run(capsys, "regrade", "--only", "0.1,0.2")
    assert spaces[1].startswith("Judged again: 2 exercises of 1 submission.")


def test_one_student_is_counted_as_one(capsys, tmp_path):
    assert run(capsys, "grade", "class/anna")[1].startswith("Graded 1 submission.\n1 student in ")
    assert run(capsys, "regrade", "--only", "0.1")[1].startswith(
        "Judged again: 1 exercise of 1 submission."
    )
    said = run(capsys, "gradebook", "export", "csv", "--to", "grades.csv")[1]
    assert said == "grades.csv: 1 student in 1 file.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("export", "csv", "--to", "class"), "class is a folder, "),
        (
            ("export", "moodle", "--to", "taken"),
            "taken is there already and is no folder, where a folder is needed",
        ),
    ],
)
def test_a_place_that_cannot_be_written_is_named_by_its_own_name(capsys, tmp_path, words, said):
    run(capsys, "grade", "class")
    (tmp_path / "taken").write_text("mine")
    status, told = run(capsys, "gradebook", *words)
    assert status == 2
    assert told.startswith(f"moe-teach: {said}")
    assert told.endswith("needed: name another place.\n")
    assert (tmp_path / "taken").read_text() == "mine"


def test_moodle_is_said_to_pass_over_whom_it_does_not_know(capsys, tmp_path):
    (tmp_path / "class" / "Cy Ex_71_assignsubmission_file_").mkdir()
    file = tmp_path / "class" / "Cy Ex_71_assignsubmission_file_" / "00_start_here.ipynb"
    file.write_bytes(hand_in("cy", "RIGHT").content)
    run(capsys, "grade", "class")
    said = run(capsys, "gradebook", "export", "moodle", "--to", "out")[1]
    assert "Moodle will pass over 2 students whose files came without its number: anna, bo." in said
    assert "Moodle" not in run(capsys, "gradebook", "export", "canvas", "--to", "c.csv")[1]


@pytest.mark.parametrize(
    "words",
    [
        ("grade", "nowhere"),
        ("grade", "class", "--jobs", "0"),
        ("regrade",),
        ("report",),
        ("gradebook", "show", "anna"),
        ("gradebook", "export", "csv", "--to", "x.csv"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_and_a_usage_error(capsys, words):
    status, said = run(capsys, *words)
    assert status == 2
    assert said.startswith("moe-teach: ")
    assert said.strip().endswith(".")


@pytest.mark.parametrize(
    "words",
    [
        ("gradebook", "show", "zed"),
        ("gradebook", "override", "bo", "0.1", "many", "--because", "x"),
        ("gradebook", "override", "bo", "0.1", "7", "--because", "x"),
        ("gradebook", "override", "bo", "9.1", "1", "--because", "x"),
        ("regrade", "--only", "0.99"),
    ],
)
def test_a_gradebook_answers_mistakes_in_sentences_and_stays_as_it_was(capsys, words):
    run(capsys, "grade", "class")
    before = Path("gradebook/journal.jsonl").read_bytes()
    status, said = run(capsys, *words)
    assert status == 2
    assert said.startswith("moe-teach: ")
    assert Path("gradebook/journal.jsonl").read_bytes() == before


def test_several_peoples_code_needs_walls_or_trust(capsys, monkeypatch):
    monkeypatch.setattr("moe_teach.course.grading.engine_judge.confine.tier", lambda: 1)
    status, said = run(capsys, "grade", "class")
    assert status == 2
    assert "--trust-submissions" in said
    assert not Path("gradebook").exists()
    assert run(capsys, "grade", "class", "--trust-submissions")[0] == 1
    assert run(capsys, "grade", "class/anna", "--gradebook", "other")[0] == 1


def test_gradebook_without_a_task_shows_what_there_is(capsys):
    status, said = run(capsys, "gradebook")
    assert status == 2
    assert "override" in said


def test_an_empty_folder_is_said(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no file to grade" in run(capsys, "grade", "empty")[1]
    (tmp_path / "a.ipynb").write_bytes(as_bytes({}))
    assert run(capsys, "grade", "a.ipynb")[0] == 1
