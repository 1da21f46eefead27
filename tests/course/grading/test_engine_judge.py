"""The batch with the engine itself: one class, from files to points."""

from moe_teach.course.grading.batch import grade
from moe_teach.course.grading.book import book_of
from moe_teach.course.grading.engine_judge import EngineJudge
from moe_teach.course.grading.journal import Journal
from tests.course.grading.hand_ins import cell_of, handed_out, solved, submission
from tests.course.grading.judges import hand_in

STEM = "00_start_here"


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
