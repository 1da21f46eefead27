"""An open task passes at its goal, tells every valid answer its figure, and trusts nothing else."""

import pytest
import torch

from moe_teach.judging.engine import run_exercise
from moe_teach.judging.exercise import Goal, require

LEARNERS = """
def double(x):
    return {factor} * x
"""


@pytest.fixture
def task(double):
    """Any multiple of x is valid; the larger the sum of absolute values, the better."""
    del double.stages[1:]
    double.goal = Goal(
        quantity="factor",
        unit="times",
        baseline=1,
        target=2,
        more_is_better=True,
        limit="Nothing bounds it.",
        cause="It is small.",
        cure="Make it large.",
    )

    @double.goal.measure
    def _measure(answer, seed):
        x = torch.ones(2, 2) * (seed + 1)
        got = answer(x)
        require(bool((got >= 0).all()), "A negative number came out.")
        return float(got.sum() / x.sum())

    return double


def run(task, learner, factor):
    return run_exercise(task, learner(LEARNERS.format(factor=factor)))


def test_an_answer_at_the_goal_passes_and_is_told_its_figure(task, learner):
    outcome = run(task, learner, 2)
    assert (outcome.state, outcome.earned, outcome.measured) == ("passed", 2, 2.0)
    assert outcome.message == (
        "Factor: 2 times. The goal is at least 2 times; the plain way reaches 1 times. "
        "Nothing bounds it."
    )
    assert outcome.stages[-1] == ("goal", "passed")


def test_an_answer_below_the_goal_is_wrong_at_the_goal_and_has_a_figure(task, learner):
    outcome = run(task, learner, 1.75)
    assert (outcome.state, outcome.stage, outcome.earned) == ("wrong", "goal", 0)
    assert outcome.measured == 1.75
    assert outcome.stages == (("shape", "passed"), ("goal", "failed"))
    assert (outcome.cause, outcome.cure) == ("It is small.", "Make it large.")


def test_an_invalid_answer_has_no_figure(task, learner):
    outcome = run_exercise(task, learner("def double(x):\n    return x[:1, :1]"))
    assert (outcome.stage, outcome.measured) == ("shape", None)


def test_what_goes_wrong_while_measuring_is_told_as_in_any_stage(task, learner):
    negative = run(task, learner, -1)
    assert (negative.state, negative.stage) == ("wrong", "goal")
    assert negative.message == "A negative number came out."
    raised = run_exercise(
        task, learner("def double(x):\n    return x if x.mean() != 2 else x.nonsense")
    )
    assert (raised.state, raised.stage, raised.earned) == ("raised", "goal", 0)
    assert raised.trace.startswith("line 2 in double")


def test_no_number_at_all_misses_the_goal(task, learner):
    task.goal.measuring = lambda answer, seed: float("nan")
    outcome = run(task, learner, 2)
    assert (outcome.state, outcome.measured) == ("wrong", None)


def test_less_can_be_better(task, learner):
    task.goal.more_is_better = False
    assert run(task, learner, 1.5).state == "passed"
    assert run(task, learner, 2.5).state == "wrong"
    assert "at most 2 times" in run(task, learner, 2.5).message


def test_a_figure_is_the_mean_over_the_seeds(task, learner):
    task.goal.measuring = lambda answer, seed: float(seed)
    outcome = run_exercise(task, learner(LEARNERS.format(factor=1)), seeds=(1, 2, 6))
    assert outcome.measured == 3


def test_a_measure_side_by_side_is_asked_once_for_all_seeds(task, learner):
    asked = []

    def measure(answer, seeds):
        asked.append(seeds)
        return [float(seed) for seed in seeds]

    task.goal.measuring, task.goal.side_by_side = measure, True
    outcome = run_exercise(task, learner(LEARNERS.format(factor=1)), seeds=(1, 2, 6))

    assert (outcome.measured, asked) == (3, [[1, 2, 6]])


def test_a_goal_without_a_measure_is_the_courses_fault(task, learner):
    task.goal.measuring = None
    assert run(task, learner, 2).state == "course problem"


@pytest.mark.parametrize(
    ("figure", "unit", "spelt"),
    [(97.25, "%", "97.25%"), (12_345.0, "bytes", "12,345 bytes"), (0.123456, "nats", "0.1235 nats"),
     (3.0, "", "3")],
)  # fmt: skip
def test_figures_read_well(figure, unit, spelt):
    goal = Goal(quantity="q", unit=unit, baseline=0, target=1, more_is_better=True)
    assert goal.spelt(figure) == spelt
