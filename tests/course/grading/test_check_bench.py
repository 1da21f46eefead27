"""The bench of the checks measures what a learner's check does, and says where a check fails."""

from dataclasses import replace

import pytest

from moe_teach.cli import main
from moe_teach.course import registry
from moe_teach.course.grading import check_bench
from moe_teach.judging.exercise import Stage


def test_each_check_that_is_asked_for_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "checks", "0.2", "0.1"]) == 0
    header, first, second, told = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["exercise", "name"]
    assert {first.split()[0], second.split()[0]} == {"0.1", "0.2"}
    assert "2 of 2 checks" in told


def test_all_stages_and_the_goal_are_measured() -> None:
    row = check_bench.measured(registry.find_exercise("0.5"))
    assert row.state == "passed"
    assert [*row.by_stage] == ["one list for each token", "enough is kept", "goal"]


def test_a_check_that_refuses_the_solution_is_told() -> None:
    exercise = registry.find_exercise("0.2")

    def refuse(answer: object, seed: int) -> None:
        raise RuntimeError("no")

    row = check_bench.measured(replace(exercise, stages=[Stage("broken", refuse)]))
    assert row.state != "passed"
    assert "broken" in row.by_stage
