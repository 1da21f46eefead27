"""Calls that need nothing of each other are made in one message, and are otherwise as any."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from moe_teach.course.grading.host import Host
from moe_teach.course.grading.remote import Line
from moe_teach.course.grading.worker import graphs
from moe_teach.course.grading.worker.wire import Nonsense
from moe_teach.judging.elsewhere import in_turn, repeated, told_of
from moe_teach.judging.engine import run_exercise
from moe_teach.judging.exercise import Exercise
from moe_teach.judging.filing import file_source
from tests.course.grading.lines import line_to

SOURCE = """
import torch

class Expert:
    def __init__(self):
        self.said, self.own = [], torch.ones(2, requires_grad=True)

    def note(self, word):
        self.said.append(word)
        return list(self.said)

    def loss(self, x):
        self.said.append("loss")
        return (x * x).sum()

    def with_own(self, x):
        return (x * self.own).sum()

    def arrived(self):
        return self.own.grad

    def breaks(self, number):
        return 1 // number
"""


@pytest.fixture(scope="module")
def line(host: Host) -> Iterator[Line]:
    with line_to(host, SOURCE) as line:
        yield line


@pytest.fixture
def make(line: Line) -> Any:
    return line.answer()


def here() -> Any:
    scope: dict[str, Any] = {}
    exec(compile(SOURCE, file_source(SOURCE, "cell"), "exec"), scope)
    return scope["Expert"]


@pytest.fixture
def asked(line: Line, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the questions."""
    count: Counter[str] = Counter()
    send = line.worker.channel.send

    def counted(message: Any, blobs: Any) -> None:
        count[message.get("ask", "reply")] += 1
        send(message, blobs)

    monkeypatch.setattr(line.worker.channel, "send", counted)
    return count


def test_several_objects_are_called_in_one_message_in_their_order(
    make: Any, asked: Counter[str]
) -> None:
    first, second = make(), make()
    asked.clear()

    found = in_turn([(first, "note", "a"), (second, "note", "b"), (first, "note", "c")])

    assert found == [["a"], ["b"], ["a", "c"]]
    assert asked == {"part": 1}
    plain = here()()
    assert in_turn([(plain, "note", "a"), (plain, "note", "c")]) == [["a"], ["a", "c"]]


@pytest.mark.parametrize(("factor", "questions"), [(1, 0), (3, 1)])
def test_a_gradient_for_one_came_along_and_another_is_asked_for(
    make: Any, asked: Counter[str], factor: int, questions: int
) -> None:
    x, y = torch.tensor([1.0, 2.0]).requires_grad_(), torch.tensor([5.0]).requires_grad_()
    one, other = in_turn([(make(), "loss", x), (make(), "loss", y)])
    asked.clear()

    (factor * one).backward()

    assert x.grad is not None
    assert x.grad.tolist() == [2.0 * factor, 4.0 * factor]
    assert y.grad is None
    assert asked["grad"] == questions
    assert not other.is_leaf


def test_a_gradient_that_is_to_reach_the_answers_own_is_asked_for(make: Any) -> None:
    expert, x = make(), torch.tensor([1.0, 2.0]).requires_grad_()
    (loss,) = in_turn([(expert, "with_own", x)])

    loss.backward()

    assert x.grad is not None
    assert (x.grad.tolist(), expert.arrived().tolist()) == ([1.0, 1.0], [1.0, 2.0])


def test_no_calls_are_no_message() -> None:
    assert in_turn([]) == []


def test_a_function_is_called_again_and_again_in_one_message(host: Host) -> None:
    source = """
import torch

def swiglu_expert(x, drawn):
    return x.add_(torch.rand(2, generator=drawn))
"""
    scope: dict[str, Any] = {}
    exec(source, scope)
    x, drawn = torch.zeros(2), (torch.Generator().manual_seed(3), torch.Generator().manual_seed(3))

    with line_to(host, source, "4.1") as line:
        there = repeated(line.answer(), 40, x, drawn[0])
    rows = repeated(scope["swiglu_expert"], 40, x, drawn[1])

    assert torch.equal(torch.stack(there), torch.stack(rows))
    assert len(torch.stack(rows).unique(dim=0)) == 40
    assert x.tolist() == [0.0, 0.0]
    assert torch.equal(drawn[0].get_state(), drawn[1].get_state())


def test_an_error_says_which_call_it_was(make: Any) -> None:
    expert = make()

    with pytest.raises(ZeroDivisionError) as caught:
        in_turn([(expert, "note", "a"), (expert, "breaks", 0), (expert, "note", "b")])

    told = told_of(caught.value)
    assert told is not None
    assert told.given == {"number": 0}
    assert expert.note("c") == ["a", "c"]


@pytest.mark.parametrize("is_apart", [True, False])
def test_the_example_of_an_error_is_what_was_given_to_the_call(make: Any, is_apart: bool) -> None:
    task = Exercise(
        id="2.1",
        name="Expert",
        title="",
        points=1,
        difficulty=1,
        importance=1,
        minutes=1,
        hints=(),
        explanation="",
    )

    @task.stage("in turn")
    def _stage(answer: Any, seed: int) -> None:
        one = answer()
        in_turn([(one, "note", "a"), (one, "breaks", seed), (one, "note", "b")])

    outcome = run_exercise(task, make if is_apart else here())

    assert (outcome.state, outcome.example) == ("raised", (("number", "0"),))


@pytest.mark.parametrize(
    "in_advance",
    [[[torch.ones(3)]], [[torch.ones(2, dtype=torch.float64)]], [[None, None]], [None, None]],
)
def test_gradients_in_advance_of_something_else_are_nonsense(in_advance: list[Any]) -> None:
    with pytest.raises((Nonsense, ValueError)):
        graphs._demand_gradients_of([torch.ones(2)], in_advance, 1)
