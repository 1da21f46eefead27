"""From a pass to a part: written down, proved, kept; and nothing that was yours is lost."""

import ast
import subprocess
import sys

import pytest

from moe_teach import cli
from moe_teach.course import check, mine, progress, registry, reset
from moe_teach.course.learner.mine import carrying, parts, proving, waiting, writing

RIGHT = """
def route_by_rule(tokens):
    return [0 if t.isdigit() else 2 if any(c.isalnum() for c in t) else 1 for t in tokens]
"""
OTHER = """
def route_by_rule(tokens):
    kinds = [1 for _ in tokens]
    for i, token in enumerate(tokens):
        if any(c.isalnum() for c in token):
            kinds[i] = 0 if token.isdigit() else 2
    return kinds
"""
NEEDS_THE_SESSION = "import sys\nsys.sign = 1\n" + RIGHT.replace("else 1", "else sys.sign")


@pytest.fixture
def exercise():
    return registry.find_exercise("0.1")


@pytest.fixture
def learner(monkeypatch, notebook, exercise):
    """Pass the check in a notebook; the proof runs in this process, when the test says so."""
    monkeypatch.setenv("MOE_TEACH_MINE", "background")
    monkeypatch.setattr(waiting, "prove_in_background", lambda _: None)
    monkeypatch.setattr(carrying, "_TOLD", set())

    def passes(*cells, prove=True):
        session = notebook(*cells)
        monkeypatch.setattr(carrying, "current_notebook", lambda: session)
        score = check(exercise.id, session.namespace[exercise.name])
        if prove:
            proving.prove_waiting(exercise)
        return repr(score)

    return passes


def test_a_pass_becomes_a_part_once_it_is_proved(learner, exercise):
    said = learner(RIGHT, prove=False)
    assert 'On its way into your own package: `mine("0.1")`' in said
    assert parts.find(exercise) is None
    assert "being proved" in repr(mine())
    assert mine("0.1").__code__.co_filename == str(waiting.file_of(exercise))
    proving.prove_waiting(exercise)
    assert mine("0.1").__code__.co_filename == str(parts.file_of(exercise))
    assert waiting.find(exercise) is None


def test_a_part_says_what_it_is_and_is_python_that_needs_no_course(learner, exercise, tmp_path):
    learner("LETTERS = 2", RIGHT.replace("else 2", "else LETTERS"))
    text = parts.read(exercise).text
    assert ast.get_docstring(ast.parse(text)).startswith("Exercise 0.1, ")
    assert "\nLETTERS = 2\n\n\ndef route_by_rule(tokens):\n" in text
    code = "from mine.e0_1_route_by_rule import route_by_rule as f; print(f(['7', 'a', '?']))"
    path = {"PYTHONPATH": str(parts.folder().parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=path, capture_output=True, text=True
    )
    assert done.stdout.split() == ["[0,", "2,", "1]"], done.stderr


def test_the_same_answer_again_changes_nothing(learner, exercise):
    learner(RIGHT)
    before = parts.read(exercise).text
    assert "On its way" not in learner(RIGHT)
    assert parts.read(exercise).text == before


def test_another_answer_takes_its_place_and_the_earlier_one_is_kept(learner, exercise):
    learner(RIGHT)
    learner(OTHER)
    assert "kinds" in parts.read(exercise).text
    kept = list((parts.folder() / "earlier").iterdir())
    assert len(kept) == 1
    assert "kinds" not in kept[0].read_text()


def test_what_was_edited_by_hand_is_never_lost(learner, exercise):
    learner(RIGHT)
    file = parts.file_of(exercise)
    file.write_text(file.read_text() + "\nNOTE = 'by hand'\n")
    assert "edited by hand" in repr(mine())
    assert "with your changes by hand" in learner(RIGHT)
    assert "by hand" in file.read_text()
    assert "kept in the folder `earlier`" in learner(OTHER)
    assert "kinds" in file.read_text()
    assert ["by hand" in kept.read_text() for kept in file.parent.glob("earlier/*")] == [True]


def test_an_edited_part_is_checked_before_it_is_given_out(learner, exercise, capsys):
    learner(RIGHT)
    file = parts.file_of(exercise)
    file.write_text(file.read_text().replace("else 2", "else 1"))
    assert check("0.1", mine("0.1")).state == "passed"
    assert "yours does not work today: its check says: " in capsys.readouterr().out


def test_a_part_of_an_earlier_version_says_so_and_is_used_while_it_passes(
    learner, exercise, monkeypatch, capsys
):
    learner(RIGHT)
    monkeypatch.setattr(exercise, "version", 2)
    assert "out of date" in repr(mine())
    assert mine("0.1").__code__.co_filename == str(parts.file_of(exercise))
    assert capsys.readouterr().out == ""


def test_what_fails_in_a_fresh_process_is_told_once_at_the_next_check(
    learner, exercise, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "sign", 0, raising=False)
    learner(NEEDS_THE_SESSION, prove=False)
    monkeypatch.delattr(sys, "sign")
    proving.prove_waiting(exercise)
    assert parts.find(exercise) is None
    assert "could not be carried over: in a fresh process" in repr(mine())
    told = "Your answer to 0.1 could not be carried over: in a fresh process its check says:"
    assert told in repr(check("0.2", lambda *_: 0))
    assert told not in repr(check("0.2", lambda *_: 0))
    assert mine("0.1") is not None
    assert "yours was not carried over" in capsys.readouterr().out


def test_what_lives_in_the_session_is_said_in_a_line_and_has_passed_all_the_same(learner, exercise):
    said = learner(
        "import torch\nw = torch.zeros(1)\n" + RIGHT.replace("[0 if", "[int(w) if"), prove=False
    )
    assert "passed (1 of 1 points)" in said
    assert "cannot be carried over into your own package: it needs `w`, a tensor" in said
    assert waiting.find(exercise) is None


def test_a_fault_of_ours_costs_nobody_a_pass(learner, monkeypatch):
    def fails(*_):
        raise RecursionError("too deep")

    monkeypatch.setattr(carrying.writing, "body_of", fails)
    said = learner(RIGHT, prove=False)
    assert "passed (1 of 1 points)" in said
    assert "could not be carried over into your own package (RecursionError: too deep)" in said


def test_the_courses_own_and_a_part_itself_are_not_carried_over(learner, exercise):
    assert "On its way" not in repr(check("0.1", mine("0.1")))
    learner(RIGHT)
    before = parts.read(exercise).text
    assert "On its way" not in repr(check("0.1", mine("0.1")))
    assert parts.read(exercise).text == before


def test_a_newer_answer_is_not_replaced_by_the_proof_of_an_older_one(learner, exercise):
    learner(RIGHT, prove=False)
    old = waiting.file_of(exercise).read_text()
    learner(OTHER, prove=False)
    waiting.accept(exercise, old)
    waiting.turn_down(exercise, old, "because.")
    assert parts.find(exercise) is None
    assert waiting.find(exercise) is not None


def test_the_proof_of_an_assembly_uses_the_answers_that_wait_beside_it(
    learner, exercise, monkeypatch
):
    learner(RIGHT, prove=False)
    monkeypatch.setattr(waiting, "see_to", lambda _: pytest.fail("A proof must start no proof."))
    monkeypatch.setenv("MOE_TEACH_MINE", "off")  # as in the process of a proof
    assert mine("0.1").__code__.co_filename == str(waiting.file_of(exercise))


def test_switched_off_nothing_is_written(learner, exercise, monkeypatch):
    monkeypatch.setenv("MOE_TEACH_MINE", "off")
    learner(RIGHT)
    assert not parts.folder().exists()


def test_a_folder_that_cannot_be_written_costs_one_line(learner, home):
    home.write_text("a file where the folder should be")
    said = learner(RIGHT, prove=False)
    assert "passed (1 of 1 points)" in said
    assert "Your own package could not be written" in said
    assert mine("0.1")
    assert "the course's" in repr(mine())
    assert "passed" in repr(progress())


def test_reset_keeps_the_part_and_says_where(learner, exercise):
    learner(RIGHT)
    assert f"stays in {parts.file_of(exercise)}" in reset("0.1").text
    assert parts.find(exercise) is not None


def test_an_answer_from_a_file_beside_the_notebook_comes_with_what_it_uses_there(
    learner, exercise, tmp_path, monkeypatch
):
    (tmp_path / "helpers.py").write_text(
        "WORD = 2\ndef is_word(t):\n    return any(c.isalnum() for c in t)\n"
    )
    (tmp_path / "rules.py").write_text(
        "import helpers\nfrom helpers import WORD as LETTERS\n\ndef route(tokens):\n    return "
        "[0 if t.isdigit() else LETTERS if helpers.is_word(t) else 1 for t in tokens]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("helpers", "rules"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    learner("from rules import route", "route_by_rule = route")
    text = parts.read(exercise).text
    assert "helpers = SimpleNamespace(is_word=is_word)" in text
    assert "import helpers" not in text
    assert mine("0.1")(["7", "a", "?"]) == [0, 2, 1]


def test_the_terminal_lists_parts_and_proves_them_in_one_fresh_process(
    learner, capsys, monkeypatch
):
    monkeypatch.setenv("MOE_TEACH_MINE", "off")
    assert cli.main(["mine", "--check"]) == 0
    assert "no parts yet" in capsys.readouterr().out
    monkeypatch.setenv("MOE_TEACH_MINE", "background")
    learner(RIGHT)
    other = parts.file_of(registry.find_exercise("0.2"))
    other.write_text("def active_fraction(*_):\n    return 0.0\n")
    third = parts.file_of(registry.find_exercise("0.3"))
    third.write_text("import os\nos._exit(3)\n")
    assert cli.main(["mine"]) == 0
    assert "1 of " not in capsys.readouterr().out.splitlines()[0]
    assert cli.main(["mine", "--check"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["0.1", "route_by_rule", "passes"]
    assert "its check says: " in said[1]
    assert "ended with status 3" in said[2]


def test_without_a_home_the_rest_works(learner, monkeypatch):
    def no_home():
        raise FileNotFoundError("This user has no home folder: set MOE_TEACH_HOME.")

    monkeypatch.setattr(parts, "home", no_home)
    said = learner(RIGHT, prove=False)
    assert "passed (1 of 1 points)" in said
    assert "Your own package could not be written: This user has no home folder" in said
    assert mine("0.1")(["7"]) == [0]
    assert "no home folder" in repr(mine())
    assert reset("0.1").code


HANDED_IN = {
    "0.1": (
        "from enum import Enum\nfrom functools import lru_cache",
        "class Kind(Enum):\n    DIGIT, SIGN, WORD = range(3)",
        "@lru_cache\ndef kind(token):\n    return 0 if token.isdigit() else 2 if any(c.isalnum() "
        "for c in token) else Kind.SIGN.value",
        "def route_by_rule(tokens):\n    return [kind(t) for t in tokens]",
    ),
    "0.2": (
        "from dataclasses import dataclass\nfrom moe_teach.course import mine",
        "@dataclass\nclass Model:\n    shared: int\n    each: int\n"
        "    def size(self, n):\n        return self.shared + n * self.each",
        "def active_fraction(n_shared, n_per_expert, n_experts, top_k):\n"
        "    assert mine('0.1')(['7']) == [0]\n    model = Model(n_shared, n_per_expert)\n"
        "    return model.size(top_k) / model.size(n_experts)",
    ),
    "0.3": (
        "import functools",
        "def who(expert_ids, expert, *, start):\n"
        "    return [t for t, ids in enumerate(expert_ids, start) if expert in ids]",
        "tokens_that_notice = functools.partial(who, start=1)",
    ),
}


def test_answers_are_proved_in_a_fresh_process_and_the_wrong_one_is_not_taken(notebook):
    for item_id, cells in HANDED_IN.items():
        exercise = registry.find_exercise(item_id)
        session = notebook(*cells)
        answer = session.namespace[exercise.name]
        body, called = writing.body_of(item_id, exercise.name, answer, session)
        waiting.offer(exercise, parts.composed(exercise, body, called))
    environment = waiting.environment()
    subprocess.run(waiting.command(*HANDED_IN), env=environment, check=True, timeout=120)
    first, second, third = map(registry.find_exercise, HANDED_IN)
    assert parts.read(first).is_proved_for(first)
    assert parts.read(second).is_proved_for(second)
    assert parts.find(third) is None
    assert waiting.refusal(third).startswith("in a fresh process its check says: ")


def test_going_back_to_the_answer_that_is_the_part_takes_the_other_one_off_the_list(
    learner, exercise
):
    learner(RIGHT)
    learner(OTHER, prove=False)
    learner(RIGHT)
    assert waiting.find(exercise) is None
    assert "kinds" not in parts.read(exercise).text
