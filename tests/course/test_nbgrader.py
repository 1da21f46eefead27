"""What nbgrader reads of the course without being installed: cells' metadata, and scores' forms.

`make nbgrader` runs the real one; here stand its rules, so that a break of them is seen at once.
"""

import json
import re
from pathlib import Path

import pytest
from IPython.core.formatters import DisplayFormatter

from moe_teach.course import check
from moe_teach.course.learner.feedback import Score
from moe_teach.judging.outcome import Outcome

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted(
    p for shelf in ("exercises", "solutions") for p in (ROOT / shelf).glob("*.ipynb")
)
FLAGS = ("grade", "locked", "solution", "task")
ALLOWED = {*FLAGS, "schema_version", "grade_id", "points"}


def graded_cells(notebook: Path) -> list[dict]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if "nbgrader" in cell["metadata"]]


def shown(score: Score) -> dict[str, str]:
    return DisplayFormatter().format(score)[0]


def outcome(**facts) -> Outcome:
    told = {"message": "Every gate is twice too large.", "cause": "The sum runs over both axes."}
    about = {"item_id": "9.1", "title": "Gates", "state": "wrong", "points": 2}
    return Outcome(**(about | told | facts))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_graded_cell_keeps_to_schema_3(notebook):
    cells = graded_cells(notebook)
    ids = [cell["metadata"]["nbgrader"]["grade_id"] for cell in cells]
    assert len(set(ids)) == len(ids) > 0
    for cell in cells:
        facts = cell["metadata"]["nbgrader"]
        assert facts["schema_version"] == 3
        assert set(facts) <= ALLOWED
        assert all(type(facts[flag]) is bool for flag in FLAGS)
        assert re.fullmatch(r"[a-zA-Z0-9_\-]+", facts["grade_id"])
        assert cell["cell_type"] == "code"
        if facts["grade"]:
            assert facts["locked"] and not facts["solution"]
            assert facts["points"] > 0
        else:
            assert facts["solution"] and not facts["locked"]
            assert "points" not in facts


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_graded_cell_ends_in_its_check_so_that_its_value_is_the_points(notebook):
    graded = [c for c in graded_cells(notebook) if c["metadata"]["nbgrader"]["grade"]]
    for cell in graded:
        assert re.fullmatch(r'check\("\d+\.\d+", \w+\)', "".join(cell["source"]))


@pytest.mark.parametrize(
    ("facts", "number"),
    [
        ({}, "0.0"),
        ({"state": "raised"}, "0.0"),
        ({"state": "not attempted"}, "0.0"),
        ({"state": "course problem"}, "0.0"),
        ({"state": "passed", "earned": 2}, "2.0"),
        ({"earned": 1.25}, "1.25"),
        ({"earned": 7}, "2.0"),  # more than the maximum would cost the whole submission
    ],
)
@pytest.mark.parametrize("way", ["autograde", "validate"])
def test_nbgrader_reads_a_number_and_its_pages_show_why(monkeypatch, way, facts, number):
    monkeypatch.setenv("NBGRADER_EXECUTION", way)
    forms = shown(Score(outcome(**facts)))
    assert forms["text/plain"] == number
    assert "Every gate is twice too large." in forms["text/html"]
    assert "Every gate is twice too large." in forms["text/markdown"]
    if facts.get("state", "wrong") != "course problem":
        assert "The sum runs over both axes." in forms["text/html"]


def test_a_learners_script_stays_a_text_in_nbgraders_pages(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    forms = shown(Score(outcome(got="<script>alert(1)</script>")))
    assert "<script>" not in forms["text/html"]
    assert "&lt;script&gt;" in forms["text/html"]


def test_a_failed_check_says_message_and_cause_to_who_grades_with_nbgrader(monkeypatch, home):
    def active_fraction(n_experts, top_k):
        return n_experts / top_k

    learner = check("0.2", active_fraction)
    assert learner.state == "wrong"
    assert "Likely cause" not in repr(learner)  # the first failure shows the symptom alone
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    forms = shown(check("0.2", active_fraction))
    assert forms["text/plain"] == "0.0"
    assert learner.outcome.message.split("`")[0] in forms["text/html"].replace("&#x27;", "'")
    assert "Likely cause" in forms["text/html"]


def test_validate_gets_the_reason_where_it_looks_and_a_pass_costs_nothing(
    monkeypatch, home, capsys
):
    def active_fraction(n_shared, n_per_expert, n_experts, top_k):
        chosen, stored = n_shared + top_k * n_per_expert, n_shared + n_experts * n_per_expert
        return chosen / stored

    monkeypatch.setenv("NBGRADER_EXECUTION", "validate")
    assert check("0.2", active_fraction) == 1
    assert capsys.readouterr().err == ""  # anything there would be taken for a failure
    assert check("0.2", lambda *_: 2) == 0
    assert "A whole number came" in capsys.readouterr().err
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert check("0.2", lambda *_: 2) == 0
    assert capsys.readouterr().err == ""
