"""The command: thin, in sentences, and honest in its exit status."""

import re
from pathlib import Path

import pytest

from moe_teach import cli
from moe_teach.course import registry
from moe_teach.course.authoring import command as authoring
from moe_teach.course.learner import progress_file
from moe_teach.course.learner.desk import lay_out


@pytest.fixture(autouse=True)
def own_home(home: Path) -> None:
    """Let no test meet what another one has recorded."""


def run(capsys, *words):
    status = cli.main(words)
    said = capsys.readouterr()
    return status, said.out + said.err


def test_no_verb_shows_the_help(capsys):
    status, said = run(capsys)
    assert status == 2
    assert "progress" in said


def test_an_unknown_verb_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["fly"])
    assert end.value.code == 2


@pytest.mark.parametrize(
    "words",
    [
        ("hint", "77.1"),
        ("solution", "0.99"),
        ("check", "nonsense"),
        ("author", "verify", "0.99"),
        ("author", "build", "three"),
    ],
)
def test_an_unknown_id_is_a_usage_error_in_a_sentence(capsys, words):
    status, said = run(capsys, *words)
    assert status == 2
    assert said.startswith("moe-teach: ")
    assert said.strip().endswith(".")


def test_hint_solution_progress_and_reset_speak_in_the_terminal(capsys):
    first = run(capsys, "hint", "0.1")[1]
    assert first.startswith("Hint 1 of 3")
    assert "Still stuck? `moe-teach hint 0.1 2`" in first, "a terminal knows no hint(...)"
    assert run(capsys, "hint", "0.1", "3")[1].startswith("Hint 3 of 3")
    assert "def route_by_rule" in run(capsys, "solution", "0.1")[1]
    progress = run(capsys, "progress")[1]
    assert "A router made of rules" in progress
    assert "One chapter's exercises: `moe-teach progress 3`." in progress
    assert run(capsys, "reset", "0.1")[0] == 0


def test_check_fails_until_everything_asked_for_has_passed(capsys):
    assert run(capsys, "check", "0.1")[0] == 1
    progress_file.count_attempt("0.1", "passed", 1, 1)
    status, said = run(capsys, "check", "0.1")
    assert status == 0
    assert "passed" in said


def test_list_groups_the_exercises_by_chapter_with_their_states(capsys):
    progress_file.count_attempt("0.1", "passed", 1, 1)
    status, said = run(capsys, "list")
    assert status == 0
    assert "00 start here: 1 of 5 passed\n" in said
    assert re.search(r"^   0\.1  passed +\d+ min +A router made of rules$", said, re.MULTILINE)
    assert said.count(" passed\n") == len(registry.chapters())
    assert run(capsys, "list", "03")[1].startswith("03 router: 0 of 8 passed\n")


@pytest.mark.parametrize("verb", ["list", "progress"])
@pytest.mark.parametrize("chapter", ["77", "three", "3.1"])
def test_a_chapter_that_is_not_there_is_a_usage_error(capsys, verb, chapter):
    status, said = run(capsys, verb, chapter)
    assert status == 2
    assert said.startswith("moe-teach: ")
    assert "progress(" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("hint", "0.1", "9"), "0.1 has hints 1 to 3, and no hint 9."),
        (("hint", "0.1", "0"), "0.1 has hints 1 to 3, and no hint 0."),
        (("hint", "3.q1", "2"), "3.q1 has hint 1 only, and no hint 2."),
    ],
)
def test_a_hint_that_is_not_there_is_a_usage_error(capsys, words, said):
    assert run(capsys, *words) == (2, f"moe-teach: {said}\n")


def test_a_folder_is_not_taken_for_the_id_of_an_exercise(capsys, tmp_path):
    status, said = run(capsys, "check", str(tmp_path))
    assert status == 2
    assert said.startswith(f"moe-teach: {tmp_path} is no notebook. Name a file")


def test_next_names_the_first_open_exercise_and_how_to_get_its_notebook(capsys):
    progress_file.count_attempt("0.1", "passed", 1, 1)
    status, said = run(capsys, "next")
    assert status == 0
    assert said.startswith('Next: 0.2 "')
    assert "moe-teach start FOLDER" in said


def test_next_says_where_on_the_readers_desk_the_exercise_lies(capsys, tmp_path):
    (tmp_path / "course/exercises").mkdir(parents=True)
    lay_out(tmp_path / "course", tmp_path / "desk")
    said = run(capsys, "next")[1]
    assert f'{tmp_path}/desk/exercises/00_start_here.ipynb, under "Exercise 0.1"' in said
    assert "moe-teach hint 0.1" in said


def test_next_has_a_word_for_who_has_passed_everything(capsys):
    for item in registry.every_item():
        progress_file.count_attempt(item.id, "passed", 1, 1)
    assert run(capsys, "next")[1].startswith("Every exercise has passed.")


@pytest.mark.usefixtures("as_a_user")
def test_verify_prints_a_table_and_opens_the_gate_for_a_sound_chapter(capsys):
    status, said = run(capsys, "author", "verify", "0")
    assert status == 0
    assert "route_by_rule" in said
    assert "Every gate is open." in said


def test_a_closed_gate_is_exit_status_one(capsys, monkeypatch):
    monkeypatch.setattr(authoring.gates, "MIN_HINTS", 4)
    status, said = run(capsys, "author", "verify", "0.1")
    assert status == 1
    assert "needs 4" in said


def test_a_missing_author_tool_is_a_fault_that_says_what_to_install(capsys, monkeypatch):
    def missing(*_):
        raise ModuleNotFoundError("No module named 'jupytext'", name="jupytext")

    monkeypatch.setattr(authoring, "verify", missing)
    status, said = run(capsys, "author", "verify")
    assert status == 3
    assert "'jupytext'" in said
    assert "pip install" in said


@pytest.mark.parametrize("words", [("slides", "00"), ("pack", "0"), ("template", "gradescope")])
def test_a_file_where_a_folder_is_needed_is_a_sentence_and_stays(capsys, tmp_path, words):
    (tmp_path / "taken").write_text("mine")
    place = str(tmp_path / "taken")
    where = {"slides": ("--to", place), "pack": ("--to", f"{place}/x.zip"), "template": (place,)}
    status, said = run(capsys, *words, *where[words[0]])
    assert status == 2
    assert said.startswith(f"moe-teach: {place} is there already and is no folder")
    assert said.endswith("name another place.\n")
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize(
    "fault",
    [
        ZeroDivisionError("a"),
        KeyError("b"),
        ModuleNotFoundError("c", name="moe_teach.d"),
        FileNotFoundError(2, "No such file", "ours"),
    ],
)
def test_our_own_fault_is_exit_status_three_and_says_where(capsys, monkeypatch, fault):
    def fails(*_):
        raise fault

    monkeypatch.setattr(authoring, "verify", fails)
    status, said = run(capsys, "author", "verify")
    assert status == 3
    assert type(fault).__name__ in said
    assert "Traceback" in said
