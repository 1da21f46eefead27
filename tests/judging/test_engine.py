"""Whatever a learner's code does, a check comes back with one of five states and a sentence."""

import signal
import time
import warnings

import pytest
import torch

from moe_teach.judging.engine import run_exercise
from moe_teach.judging.exercise import Exercise, require
from moe_teach.judging.guard import PRINT_LIMIT


def solution(x):
    return x + x


def run(exercise, answer, **options):
    return run_exercise(exercise, answer, reference=lambda _: solution, **options)


def test_a_right_answer_passes_every_stage(double):
    outcome = run(double, solution)
    assert outcome.state == "passed"
    assert outcome.stages == (("shape", "passed"), ("values", "passed"))
    assert outcome.earned == 2


def test_the_first_failing_stage_is_reported_with_the_smallest_example(double, learner):
    outcome = run(double, learner("def double(x):\n    return 3 * x"))
    assert (outcome.state, outcome.stage) == ("wrong", "values")
    assert outcome.stages == (("shape", "passed"), ("values", "failed"))
    assert outcome.message == "Every number must be twice as large."
    assert outcome.example[0][1].startswith("tensor (1, 2) float32")
    assert outcome.difference.startswith("2 of 2 entries differ; the first is at [0, 0]")
    assert outcome.earned == 0


@pytest.mark.parametrize(
    "code",
    [
        "def double(x):\n    raise NotImplementedError",
        "def double(x):\n    y = x\n    raise NotImplementedError('later')",
        "class double:\n    def __init__(self, x):\n        raise NotImplementedError",
    ],
)
def test_a_stub_is_not_attempted(double, learner, code):
    outcome = run(double, learner(code))
    assert outcome.state == "not attempted"
    assert outcome.earned == 0


def test_torchs_own_not_implemented_error_is_the_learners_error(double, learner):
    code = "def double(x):\n    return torch.nn.Module()(x)"
    outcome = run(double, learner(code))
    assert outcome.state == "raised"


def test_no_answer_is_not_attempted(double):
    assert run(double, ...).state == "not attempted"


def test_a_value_instead_of_the_function_is_explained(double):
    outcome = run(double, torch.ones(2))
    assert outcome.state == "wrong"
    assert "without calling it" in outcome.message


def test_an_error_is_folded_to_the_learners_own_lines(double, learner):
    code = "def helper(x):\n    return x.nonsense\n\ndef double(x):\n    return helper(x)"
    outcome = run(double, learner(code))
    assert outcome.state == "raised"
    assert outcome.trace.splitlines() == [
        "line 5 in double: return helper(x)",
        "line 2 in helper: return x.nonsense",
    ]
    assert "AttributeError" in outcome.message


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def double(x):\n    while True: pass", "did not come back within 0.5 seconds"),
        (
            "def double(x):\n    while True:\n        try: x + x\n        except BaseException: 0",
            "did not come back",
        ),
        ("import time\ndef double(x):\n    time.sleep(60)", "a loop that never ends"),
        ("def double(x):\n    return double(x)", "without end (RecursionError)"),
        ("import sys\ndef double(x):\n    sys.exit(0)", "tried to end Python"),
        ("def double(x):\n    raise KeyboardInterrupt", "interrupted"),
        ("def double(x):\n    raise MemoryError", "more memory"),
    ],
)
def test_code_that_would_stop_a_kernel_becomes_a_sentence(double, learner, code, words):
    outcome = run(double, learner(code))
    assert outcome.state == "raised"
    assert words in outcome.message + outcome.cause
    assert "double" in outcome.message


def test_a_long_recursion_is_shortened(double, learner):
    outcome = run(double, learner("def double(x):\n    return double(x)"))
    assert len(outcome.trace.splitlines()) < 10
    assert "more calls" in outcome.trace


def test_a_forgotten_return_is_named(double, learner):
    outcome = run(double, learner("def double(x):\n    x + x"))
    assert outcome.state == "wrong"
    assert "returned None" in outcome.message


def test_a_value_the_check_cannot_use_is_the_answers_fault(double, learner):
    outcome = run(double, learner("def double(x):\n    return [1]"))
    assert outcome.state == "wrong"
    assert "could not use" in outcome.message


@pytest.fixture
def asked_often():
    """An exercise that asks its answer for the same small thing ten times."""
    exercise = Exercise(id="9.3", name="double", title="Often", hints=(), explanation="", limit=0.3)

    @exercise.stage("ten times")
    def _often(answer, seed):
        for _ in range(10):
            time.sleep(answer(torch.ones(1)))

    return exercise


def slow(x):
    return 0.1  # for which the check waits, outside of the answer


def fast(x):
    return 0.0


def test_a_check_that_runs_out_of_time_between_the_calls_says_that_it_was_time(asked_often):
    outcome = run_exercise(asked_often, slow, reference=lambda _: fast)
    assert (outcome.state, outcome.stage) == ("wrong", "ten times")
    assert "double comes back" in outcome.message and "0.3 seconds" in outcome.message
    assert "TookTooLong" not in outcome.message


def test_a_machine_too_slow_for_the_courses_own_answer_is_no_fault_of_the_learner(asked_often):
    outcome = run_exercise(asked_often, slow, reference=lambda _: slow)
    assert outcome.state == "course problem"
    assert "Check again later" in outcome.message and "TookTooLong" not in outcome.message


def test_a_bug_in_the_check_is_never_the_learners_fault():
    exercise = Exercise(id="9.2", name="f", title="Broken", hints=(), explanation="")

    @exercise.stage("buggy")
    def _buggy(answer, seed):
        answer(seed)
        raise ZeroDivisionError("ours")

    outcome = run(exercise, solution)
    assert outcome.state == "course problem"
    assert "ZeroDivisionError" in outcome.message
    assert outcome.earned == 0


def test_prints_and_warnings_stay_inside_and_prints_are_repeated(double, learner, capsys):
    code = (
        "import sys, warnings\ndef double(x):\n    print('looking')\n"
        "    print('around', file=sys.stderr)\n    warnings.warn('hm')\n    return 3 * x"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = run(double, learner(code))
    assert capsys.readouterr() == ("", "")
    assert outcome.printed.startswith("looking\naround")


def test_a_flood_of_prints_is_cut(double, learner):
    code = "def double(x):\n    print('y' * 1_000_000)\n    return 3 * x"
    outcome = run(double, learner(code))
    assert len(outcome.printed) < PRINT_LIMIT + 100
    assert "more characters" in outcome.printed


def test_objects_that_cannot_be_printed_do_no_harm(double, learner):
    code = "def double(x):\n    class E(Exception):\n        def __str__(self): 1 / 0\n    raise E"
    outcome = run(double, learner(code))
    assert outcome.state == "raised"
    assert outcome.message == "double raised E"


def test_a_check_leaves_the_session_as_it_was(double, learner):
    handler = signal.getsignal(signal.SIGALRM)
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    code = (
        "def double(x):\n    torch.manual_seed(1)\n    torch.set_default_dtype(torch.float64)\n"
        "    torch.set_grad_enabled(False)\n    return 2 * x"
    )
    run(double, learner(code))
    assert torch.equal(torch.rand(2), expected)
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_the_same_answer_always_gets_the_same_outcome(double, learner):
    answer = learner("def double(x):\n    return x")
    assert run(double, answer) == run(double, answer)


def test_every_seed_is_tried(double):
    seeds = []

    @double.stage("seeds")
    def _seeds(answer, seed):
        seeds.append(seed)
        require(seed != 7, "Seven is not liked.")

    assert run(double, solution, seeds=range(20)).message == "Seven is not liked."
    assert seeds == list(range(8))


def test_an_error_in_a_class_is_folded_to_the_learners_own_lines(double, learner):
    code = "class double:\n    def __init__(self, x):\n        self.twice = x.nonsense"
    assert run(double, learner(code)).trace == "line 3 in __init__: self.twice = x.nonsense"
