"""What an answer holds on to and changes in a later call is changed where it came from."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from moe_teach.course.grading.host import Host
from moe_teach.course.grading.remote import Line
from tests.course.grading.lines import begin, line_to

SOURCE = """
import torch

class Expert:
    def __init__(self, state):
        self.state, self.words = state, []

    def replace(self, name, tensor):
        self.state[name] = tensor

    def add_to(self, name, number):
        self.state[name] += number

    def first(self, name):
        return self.state[name]

    def hold(self, words):
        self.words.append(words)
        return len(words)

    def say(self, word):
        for words in self.words:
            words.append(word)

    def look(self, words):
        return len(words)

    def draw(self, name):
        return torch.rand(2, generator=self.state[name])

    def pull(self, name):
        (2 * self.state[name]).sum().backward()
"""


@pytest.fixture(scope="module")
def line(host: Host) -> Iterator[Line]:
    with line_to(host, SOURCE) as line:
        yield line


@pytest.fixture(params=["here", "apart"])
def make(request: pytest.FixtureRequest, line: Line) -> Any:
    if request.param == "apart":
        begin(line)
        return line.answer()
    scope: dict[str, Any] = {}
    exec(SOURCE, scope)
    return scope["Expert"]


def state_of_two() -> dict[str, torch.Tensor]:
    return {"up": torch.ones(2), "down": torch.zeros(2)}


def test_a_later_call_changes_the_dictionary_that_was_kept(make: Any) -> None:
    state = state_of_two()
    up, down = state["up"], state["down"]
    expert = make(state)

    expert.replace("up", torch.tensor([5.0, 6.0]))
    expert.replace("new", torch.tensor([7.0]))

    assert {name: tensor.tolist() for name, tensor in state.items()} == {
        "up": [5.0, 6.0],
        "down": [0.0, 0.0],
        "new": [7.0],
    }
    assert state["down"] is down
    assert up.tolist() == [1.0, 1.0]


def test_a_later_call_changes_the_tensor_that_was_kept(make: Any) -> None:
    state = state_of_two()
    down = state["down"]
    expert = make(state)

    expert.add_to("down", 3)
    expert.add_to("down", 1)

    assert down.tolist() == [4.0, 4.0]
    assert state["down"] is down


def test_a_tensor_that_was_given_earlier_comes_back_as_itself(make: Any) -> None:
    state = state_of_two()

    assert make(state).first("down") is state["down"]


def test_a_later_call_leaves_a_gradient_at_what_was_kept(make: Any) -> None:
    weight = torch.ones(2, requires_grad=True)
    expert = make({"up": weight})

    expert.pull("up")
    expert.pull("up")

    assert weight.grad is not None
    assert weight.grad.tolist() == [4.0, 4.0]


def test_a_generator_that_was_kept_moves_on_with_each_draw(make: Any) -> None:
    drawn, same = (torch.Generator().manual_seed(5) for _ in range(2))
    expert = make({"drawn": drawn})

    got = torch.cat([expert.draw("drawn"), expert.draw("drawn"), torch.rand(2, generator=drawn)])

    assert torch.equal(got, torch.cat([torch.rand(2, generator=same) for _ in range(3)]))


def test_what_a_method_was_given_counts_as_well(make: Any) -> None:
    expert, words, others = make({}), ["a"], ["b"]
    expert.hold(words)
    expert.look(others)

    expert.say("c")

    assert (words, others) == (["a", "c"], ["b"])


def test_many_things_may_be_kept(make: Any) -> None:
    expert, all_words = make({}), [[str(i)] for i in range(80)]
    for words in all_words:
        expert.hold(words)

    expert.say("x")

    assert all_words[-1] == ["79", "x"]


def test_nothing_is_remembered_that_nobody_holds_or_of_an_earlier_stage(line: Line) -> None:
    begin(line)
    expert = line.answer()({"up": torch.ones(2)})
    expert.look(["a"])
    calls = line.things.remembered._calls
    assert len(calls) == 1

    begin(line)

    assert calls == {}
    assert expert.look(["a"]) == 1
