"""What goes wrong between a check and the learner's function is said as what it is."""

import pytest
import torch

from moe_teach.judging.engine import run_exercise
from moe_teach.judging.exercise import Exercise, Words, require


def solution(x):
    return x + x


def run(exercise, answer):
    return run_exercise(exercise, answer, reference=lambda _: solution)


@pytest.fixture
def totals():
    """An exercise over plain containers, to be left as they are."""
    exercise = Exercise(id="9.3", name="total", title="Total", hints=(), explanation="")

    @exercise.stage("values")
    def _values(answer, seed):
        for numbers, names in (([1, 2], {"a": [1.0]}), ([3], {"a": [float("nan")]})):
            expected = sum(numbers)
            require(answer(numbers, names) == expected, "The sum is off.")

    return exercise


def test_an_input_changed_in_place_is_named_and_shown_as_it_was(double, learner):
    outcome = run(double, learner("def double(x):\n    x *= 2\n    return x"))
    assert (outcome.state, outcome.stage) == ("wrong", "shape")
    assert "changed its input `x` in place" in outcome.message
    before = torch.randn(1, 2, generator=torch.Generator().manual_seed(0))
    assert f"{before[0, 0]:.4g}" in outcome.example[0][1]


@pytest.mark.parametrize(
    ("line", "culprit"),
    [("numbers.pop()", "numbers"), ("numbers[0] = 9", "numbers"), ("names['a'][0] = 2", "names")],
)
def test_lists_and_dictionaries_are_watched_to_their_depth(totals, learner, line, culprit):
    code = f"def total(numbers, names):\n    s = sum(numbers)\n    {line}\n    return s"
    assert f"its input `{culprit}`" in run(totals, learner(code)).message


@pytest.mark.parametrize(
    "line",
    ["log[0] = ('hit', (1, 3))", "log[0] = [*log[0]]", "log.reverse()", "kinds[0] = True",
     "kinds[1] = 2.0", "kinds[0] = Equal()", "log[:] = [Equal()]"],
)  # fmt: skip
def test_a_log_of_tuples_is_watched_like_everything_else(learner, line):
    exercise = Exercise(id="9.3", name="total", title="Total", hints=(), explanation="")

    @exercise.stage("values")
    def _values(answer, seed):
        require(answer([("hit", (1, 2)), ("miss", (3, 4))], [1, 2]) == 3, "The sum is off.")

    equal = "class Equal:\n    def __eq__(self, other):\n        return True\n\n\n"
    code = f"{equal}def total(log, kinds):\n    s = sum(kinds)\n    {line}\n    return s"
    assert "changed its input" in run_exercise(exercise, learner(code)).message


def test_inputs_left_alone_are_no_complaint_even_with_nan(totals, learner):
    code = "def total(numbers, names):\n    return sum(list(numbers))"
    assert run(totals, learner(code)).state == "passed"


def test_an_exercise_may_ask_for_a_change(totals, learner):
    totals.changes_inputs = True
    code = "def total(numbers, names):\n    s = sum(numbers)\n    numbers.clear()\n    return s"
    assert run(totals, learner(code)).state == "passed"


@pytest.mark.parametrize("head", ["double()", "double(x, y)", "double(*, x)"])
def test_other_parameters_than_the_stubs_are_shown_beside_them(double, learner, head):
    outcome = run(double, learner(f"def {head}:\n    return 1"))
    assert outcome.state == "wrong"
    assert "Keep the stub's parameters" in outcome.cure
    assert outcome.expected == "double(x)"
    assert outcome.got.startswith("double(")


@pytest.mark.parametrize("head", ["f(rows, many=1)", "f(rows, many, /)", "f(*both)"])
def test_parameters_of_other_names_are_called_by_their_place(learner, head):
    exercise = Exercise(id="9.7", name="f", title="F", hints=(), explanation="")

    @exercise.stage("values")
    def _values(answer, seed):
        require(answer(x=[1], n=2) == answer([1], n=2) == [1, 1], "Not twice.")

    def stub(x, n=1):
        return x * n

    body = "both[0] * both[1]" if "both" in head else "rows * many"
    mine = learner(f"def {head}:\n    return {body}")
    assert run_exercise(exercise, mine, reference=lambda _: stub).state == "passed"


def test_an_instance_instead_of_the_class_is_explained():
    exercise = Exercise(id="9.4", name="Layer", title="Layer", hints=(), explanation="")
    layer = type("Layer", (torch.nn.Module,), {})()
    assert "without calling it" in run(exercise, layer).message


def test_an_error_comes_with_the_input_it_happened_on(double, learner):
    outcome = run(double, learner("def double(x):\n    return x.reshape(7)"))
    assert outcome.state == "raised"
    assert outcome.example[0][0] == "x"
    assert outcome.example[0][1].startswith("tensor (1, 2) float32")


@pytest.mark.parametrize(
    ("code", "meant"),
    [
        ("def double(tokens):\n    return token", "tokens"),
        ("def double(x):\n    return torch.soft_max(x)", "softmax"),
        ("def double(x):\n    return lenn(x)", "len"),
    ],
)
def test_a_mistyped_name_earns_the_likely_one(double, learner, code, meant):
    assert run(double, learner(code)).cure == f"Did you mean `{meant}`?"


def test_a_name_near_to_nothing_earns_no_guess(double, learner):
    outcome = run(double, learner("def double(x):\n    return qqqqqqq"))
    assert "Did you mean" not in outcome.cure


def test_printing_instead_of_returning_is_named(double, learner):
    outcome = run(double, learner("def double(x):\n    print(2 * x)"))
    assert "returned None" in outcome.message
    assert "not what is printed" in outcome.cause


@pytest.mark.parametrize(
    ("got", "is_rounded"),
    [(0.31, True), (29622, True), (29623, True), (0.3, True), (0.32, False), (29620, False)],
)
def test_a_right_number_that_was_rounded_is_asked_about(got, is_rounded):
    expected = 29622.4 if got > 1 else 0.307692
    exercise = Exercise(id="9.5", name="f", title="F", hints=(), explanation="")

    @exercise.stage("value")
    def _value(answer, seed):
        require(answer(seed) == expected, "It is off.", expected=expected, got=answer(seed))

    assert ("rounded" in run(exercise, lambda seed: got).cause) is is_rounded


def test_kinds_of_numbers_and_words_can_be_told_apart(double):
    @double.stage("words")
    def _words(answer, seed):
        require(False, "Never.", expected=Words("a float"), got=0.0, example={"n": 0})

    outcome = run(double, solution)
    assert (outcome.expected, outcome.got, outcome.example) == ("a float", "0.0", (("n", "0"),))


def test_of_two_results_the_one_that_parts_is_pointed_at(double):
    same, other = torch.zeros(2), torch.tensor([True, False])

    @double.stage("pair")
    def _pair(answer, seed):
        require(False, "Never.", expected=(same, other), got=(same, ~other))

    assert run(double, solution).difference.startswith("in [1], 2 of 2 entries differ")
    assert "expected True, got False" in run(double, solution).difference
