"""The batch with the engine itself: one class, from files to points."""

import pytest

from moe_teach.course import materials
from moe_teach.course.grading import verdicts
from moe_teach.course.grading.batch import grade, regrade
from moe_teach.course.grading.book import book_of
from moe_teach.course.grading.engine_judge import EngineJudge
from moe_teach.course.grading.journal import Journal
from moe_teach.course.grading.probes import BadProbe, with_probes
from moe_teach.course.registry import find_exercise
from moe_teach.judging.engine import run_exercise
from moe_teach.judging.exercise import Stage, require
from tests.course.grading.hand_ins import cell_of, handed_out, solved, submission
from tests.course.grading.judges import hand_in

STEM = "00_start_here"
ONE_CASE_WRONG = """
_of_all_but_one = route_by_rule
def route_by_rule(token):
    return [] if token == "zebra" else _of_all_but_one(token)
"""
PROBE = """
from moe_teach.course.grading.probes import extra
from moe_teach.judging.exercise import require

@extra("0.1")
def as_the_teacher_likes(route_by_rule, seed):
    require(route_by_rule("zebra") != [], "Only the teacher knows why.")
"""


def test_a_check_that_the_courses_own_answer_fails_is_at_fault_and_costs_nobody_a_point():
    def refuse(_answer, _seed):
        require(False, "Nothing pleases me.")

    exercise = find_exercise("0.2")
    judged = with_probes(exercise, {"0.2": (Stage("never pleased", refuse),)})
    seeds, answer = (0, 100, 200), materials.reference(exercise)
    outcome = run_exercise(judged, answer, seeds=seeds)
    found = verdicts.of_outcome(judged, outcome, seeds, materials.reference)
    assert (found.status, found.points, found.stage) == ("ungraded", None, "never pleased")
    assert found.message.startswith("The check is at fault")
    assert found.message.endswith("It says: Nothing pleases me.")


def test_a_solution_has_all_points_a_starter_none_and_a_crash_costs_one_exercise(tmp_path):
    crashing = solved(STEM)
    cell = cell_of(crashing, "0.1")
    cell["source"] = "import os\ndef route_by_rule(*given, **more):\n    os._exit(0)\n"
    contents = {"right": solved(STEM), "starter": handed_out(STEM), "crash": crashing}
    made = [hand_in(name, content=submission(book).content) for name, book in contents.items()]
    told = grade(made, Journal(tmp_path), EngineJudge())
    people = book_of(Journal(tmp_path).entries()).people
    assert told.faults == []
    assert people["right"].total == sum(g.max_points for g in people["right"].grades.values())
    assert {g.status for g in people["starter"].grades.values()} == {"not_attempted"}
    assert people["starter"].total == 0
    assert {e: g.status for e, g in people["crash"].grades.items() if g.status != "passed"} == {
        "0.1": "crashed"
    }
    assert people["right"].grades["0.1"].result["tier"] >= 1


def test_a_private_probe_judges_too_and_a_new_one_counts_as_a_change(tmp_path):
    private, book = tmp_path / "private", Journal(tmp_path / "book")
    private.mkdir()
    (private / f"{STEM}.py").write_text(PROBE)
    handed = solved(STEM)
    cell_of(handed, "0.1")["source"] += ONE_CASE_WRONG
    made = [hand_in("ada", content=submission(handed).content)]
    grade(made, book, EngineJudge(probes=private))
    ada = book_of(book.entries()).people["ada"]
    assert {e for e, g in ada.grades.items() if g.status != "passed"} == {"0.1"}
    assert ada.grades["0.1"].result["message"] == "Only the teacher knows why."
    assert ada.grades["0.1"].result["stage"] == "as the teacher likes"
    (private / f"{STEM}.py").write_text(PROBE.replace("!= []", "is not None"))
    again = regrade(book, EngineJudge(probes=private), changed=True)
    assert (again.n_judged, again.unprobed) == (1, set())
    assert regrade(book, EngineJudge(), changed=True).unprobed == {"0.1"}
    assert regrade(book, EngineJudge()).unprobed == set()
    assert book_of(book.entries()).people["ada"].grades["0.1"].status == "passed"


def test_a_probe_that_the_answer_could_read_is_refused(tmp_path):
    (tmp_path / "10_triton_experts.py").write_text(PROBE.replace("0.1", "10.8"))
    with pytest.raises(BadProbe, match=r"10\.8, which is judged beside"):
        EngineJudge(probes=tmp_path)
