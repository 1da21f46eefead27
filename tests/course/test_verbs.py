"""The words learners type: they always answer, remember honestly, and never punish."""

import subprocess
import sys
from pathlib import Path

import pytest

from moe_teach.course import by_mode, check, hint, progress, reset, show, solution
from moe_teach.course.learner import progress_file as ledger
from moe_teach.course.learner import verbs
from moe_teach.judging.exercise import Stage, require
from moe_teach.nn.router import Router


def right(tokens):
    return [0 if t.isdigit() else 2 if any(c.isalnum() for c in t) else 1 for t in tokens]


def test_check_returns_points_and_records_the_attempt():
    assert check("0.1", right) == 1
    record = ledger.read().of("0.1")
    assert (record.state, record.attempts, record.points) == ("passed", 1, 1)


def test_an_untouched_exercise_is_not_an_attempt():
    def stub(tokens):
        raise NotImplementedError

    assert check("0.1", stub).state == "not attempted"
    assert check("0.1").state == "not attempted"
    assert ledger.read().of("0.1").attempts == 0


def test_a_wrong_answer_points_to_the_next_unread_hint():
    assert 'hint("0.1", 1)' in repr(check("0.1", lambda tokens: [0]))
    hint("0.1")
    assert 'hint("0.1", 2)' in repr(check("0.1", lambda tokens: [0]))


@pytest.mark.parametrize("item_id", ["77.1", "0.99", "nonsense", "", None, 3.1])
def test_an_unknown_id_is_answered_in_a_sentence(item_id, as_a_user):
    score = check(item_id, right)
    assert score == 0
    assert score.outcome.message.endswith(".")
    for verb in (hint, solution, reset):
        assert verb(item_id).text.endswith(".")


def test_hints_open_one_after_another_and_are_recorded():
    titles = [hint("0.1").title for _ in range(4)]
    assert [title.split(" for ")[0] for title in titles] == [
        "Hint 1 of 3",
        "Hint 2 of 3",
        "Hint 3 of 3",
        "Hint 3 of 3",
    ]
    assert ledger.read().of("0.1").hints == (1, 2, 3)
    assert "has hints 1 to 3" in hint("0.1", 4).text


def test_the_solution_comes_without_markers_and_is_recorded_not_punished():
    note = solution("0.1")
    assert note.code.startswith("def route_by_rule")
    assert "###" not in note.code
    assert note.text
    assert ledger.read().of("0.1").solution_opened
    assert check("0.1", right) == 1


def test_the_shown_solution_passes_its_check():
    namespace = {}
    exec(solution("0.2").code, namespace)
    assert check("0.2", namespace["active_fraction"]).state == "passed"


def test_the_solution_of_a_question_is_its_answer():
    assert solution("0.q2").text.startswith("b) 60 parameters")


def test_reset_empties_the_record_and_gives_the_start_back():
    check("0.1", right)
    note = reset("0.1")
    assert note.code.rstrip().endswith("raise NotImplementedError")
    assert ledger.read().of("0.1").attempts == 0


def test_progress_lists_every_exercise_and_the_next_step():
    check("0.1", right)
    shown = repr(progress())
    assert "1 of " in shown
    assert "Next: 0.2" in shown
    assert "A router made of rules" in repr(progress(0))


def test_a_pass_of_an_earlier_version_stays_and_says_so():
    ledger.count_attempt("0.1", "passed", 0, 1)
    assert "passed (an earlier version)" in repr(progress(0))


def test_graders_leave_no_trace_in_the_learners_progress(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert check("0.1", right) == 1
    assert ledger.read().records == {}


def test_a_folder_that_cannot_be_written_costs_no_feedback(home):
    home.write_text("a file where the folder should be")
    score = check("0.1", right)
    assert score == 1
    assert "could not be saved" in repr(score)
    assert hint("0.1").title.startswith("Hint 1")


VERBS = {
    "check": lambda: check("0.q1", "a"),
    "check an exercise": lambda: check("0.1", right),
    "hint": lambda: hint("0.1"),
    "solution": lambda: solution("0.1"),
    "the answer": lambda: solution("0.q1"),
    "reset": lambda: reset("0.1"),
    "progress": progress,
}


def no_home():
    raise FileNotFoundError(
        "This user has no home folder: set MOE_TEACH_HOME to a folder of yours."
    )


OBSTACLES = {
    "no home": lambda home, patch: patch.setattr(ledger, "home", no_home),
    "a folder in its place": lambda home, patch: (home / "progress.json").mkdir(parents=True),
    "a newer course": lambda home, patch: (
        home.mkdir(),
        (home / "progress.json").write_text('{"schema": 99}'),
    ),
    "a link to itself": lambda home, patch: (
        home.mkdir(),
        (home / "progress.json").symlink_to(home / "progress.json"),
    ),
    "no permission": lambda home, patch: patch.setattr(ledger, "_read", no_permission),
}


def no_permission():
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("obstacle", OBSTACLES)
@pytest.mark.parametrize("verb", VERBS)
def test_where_no_progress_can_be_kept_every_verb_answers_and_says_so(
    verb, obstacle, home, monkeypatch
):
    OBSTACLES[obstacle](home, monkeypatch)
    shown = repr(VERBS[verb]())
    assert "could not be saved" in shown or "could not be read" in shown
    assert "Nothing is kept" in shown or verb == "progress"


@pytest.mark.parametrize("item_id", ["³.1", "3.1\x00", "<img src=x onerror=alert(1)>", "٣.1"])
def test_ids_in_other_letters_are_no_ids(item_id):
    for verb in (hint, solution, reset):
        assert verb(item_id).title.startswith("No")
    score = check(item_id, right)
    assert score == 0
    assert "<img" not in score._repr_markdown_().partition("````")[0]
    assert "<img" not in hint(item_id)._repr_markdown_()


@pytest.mark.parametrize("level", ["2", 1.5, None, True, 10**30, -1, [1]])
def test_a_strange_level_of_a_hint_is_answered(level, as_a_user):
    assert hint("0.1", level).title


@pytest.mark.parametrize("chapter", ["³", "٣", "", "-0"])
def test_a_chapter_in_other_digits_does_not_exist(chapter):
    assert "No such chapter" in repr(progress(chapter))


def test_the_cause_is_told_at_the_second_failure_and_the_cure_at_the_third(double, monkeypatch):
    def never(answer, seed):
        require(False, "It is off.", cause="A factor is missing.", cure="Multiply by two.")

    double.stages[:] = [Stage("values", never)]
    monkeypatch.setattr(verbs.registry, "find", lambda _: double)
    monkeypatch.setattr(verbs.materials, "reference", lambda _: right)
    shown = [repr(check("9.1", lambda x: x)) for _ in range(4)]
    assert ["It is off." in said for said in shown] == [True] * 4
    assert ["A factor" in said for said in shown] == [False, True, True, True]
    assert ["Multiply" in said for said in shown] == [False, False, True, True]
    ledger.count_attempt("9.1", "passed", 1, 2)
    assert "A factor" not in repr(check("9.1", lambda x: x))


def test_who_counts_no_failures_hides_nothing(double, monkeypatch):
    def never(answer, seed):
        require(False, "It is off.", cause="A factor is missing.", cure="Multiply by two.")

    double.stages[:] = [Stage("values", never)]
    monkeypatch.setattr(verbs.registry, "find", lambda _: double)
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    outcome = check("9.1", lambda x: x).outcome
    assert (outcome.cause, outcome.cure) == ("A factor is missing.", "Multiply by two.")


def test_a_check_crosses_few_files_on_its_way_to_the_card():
    def swiglu_expert(x, w_gate, w_up, w_down):
        return -x

    check("4.1", swiglu_expert)  # loads the chapter
    package, crossed = str(Path(verbs.__file__).parents[2]), set()

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(package):
            crossed.add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        card = check("4.1", swiglu_expert)._repr_html_()
    finally:
        sys.setprofile(None)
    assert "wrong" in card
    assert len(crossed) <= 14, "\n".join(sorted(crossed))


def test_a_chapter_that_cannot_be_loaded_is_a_course_problem(monkeypatch):
    def broken(_item_id):
        raise ImportError("no module named 'missing'")

    monkeypatch.setattr(verbs.registry, "find", broken)
    assert check("0.1", right).state == "course problem"


def test_show_gives_the_real_source():
    note = show(Router.forward)
    assert note.code.startswith("def forward(")
    assert note.title == "moe_teach.nn.router.Router.forward"
    assert "class Router" in show(Router).code


@pytest.mark.parametrize("thing", [3, "Router", len])
def test_show_refuses_what_has_no_source_in_a_sentence(thing):
    with pytest.raises(TypeError, match=r"show\(\) wants|no Python source"):
        show(thing)


@pytest.mark.parametrize(("mode", "steps"), [("", 400), ("0", 400), ("1", 60)])
def test_the_fast_mode_changes_sizes(monkeypatch, mode, steps):
    monkeypatch.setenv("MOE_TEACH_FAST", mode)
    assert by_mode(full=400, fast=60) == steps


def test_the_verbs_load_nothing_heavy():
    code = (
        "import sys\nfrom moe_teach.course import check, progress, show\nprogress()\n"
        "heavy = {'jupytext', 'nbformat', 'matplotlib', 'transformers', 'triton'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("verb", [hint, solution, reset])
def test_a_verb_without_an_id_asks_which_one(verb):
    assert "Which one?" in repr(verb())


def test_a_function_in_the_place_of_the_id_shows_no_address(as_a_user):
    assert "0x" not in repr(check(right))


@pytest.mark.parametrize("chapter", [0, "00"])
def test_progress_can_be_narrowed_to_one_chapter(chapter):
    shown = progress(chapter).rows
    assert shown
    assert {row[0].split(".")[0] for row in shown} == {"0"}


@pytest.mark.parametrize("chapter", ["zero", 77, -1])
def test_progress_of_a_chapter_that_does_not_exist_says_so(chapter):
    assert "No such chapter" in repr(progress(chapter))


def test_a_pass_points_to_the_explanation():
    assert 'solution("0.1")' in repr(check("0.1", right))
