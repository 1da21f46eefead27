"""Modules, parameters and optimisers are the same on both sides as long as a stage holds them.

A module's stand-in is watched over the begin of another stage.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from moe_teach.chapters.ch12_specialise_and_compose.tune_experts import PlainAdamW
from moe_teach.course.grading.host import Host
from moe_teach.course.grading.remote import Line
from tests.course.grading.lines import begin, line_to

SOURCE = """
import torch

class Expert(torch.nn.Module):
    made = []

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))
        Expert.made.append(self)

    def forward(self, x):
        self.eval()
        return x + self.weight

    def first(self):
        return [Expert.made[0].weight.detach().clone(), Expert.made[0].training]
"""


@pytest.fixture
def line(host: Host) -> Iterator[Line]:
    with line_to(host, SOURCE) as line:
        begin(line)
        yield line


def test_a_module_that_no_stage_holds_is_watched_no_longer(line: Line) -> None:
    make = line.answer()
    kept = make()
    make()

    assert list(line.things.mirrors.values()) == [kept]


def test_what_is_done_to_a_module_after_the_begin_of_a_stage_is_told_to_its_owner(
    line: Line,
) -> None:
    make = line.answer()
    kept = make()
    begin(line)

    other = make()
    with torch.no_grad():
        kept.weight += 1
    kept.eval()

    weight, is_training = other.first()
    assert weight.tolist() == [1, 1]
    assert is_training is False


def test_what_its_owner_does_to_a_module_after_the_begin_of_a_stage_is_told(line: Line) -> None:
    kept = line.answer()()
    begin(line)

    kept(torch.zeros(2))

    assert kept.training is False


OTHERS = """
import torch

def parameters(x):
    return torch.nn.Parameter(2 * x)

def steps(weights, optimizer):
    weights.grad = torch.ones(2)
    optimizer.step()
    return weights

def leaves_a_hook(weights, optimizer):
    optimizer.register_step_post_hook(lambda *_: None)
"""


def function(line: Line, name: str) -> Callable[..., Any]:
    assert line.ask("load", f"{OTHERS}\nExpert = {name}", "cell") is None
    return line.answer()


def test_a_parameter_that_was_made_there_may_be_changed_in_place_here(line: Line) -> None:
    made = function(line, "parameters")(torch.ones(2, 2))

    made.detach()[0] += 1

    assert made[1:].tolist() == [[2, 2]]
    assert made.tolist() == [[3, 3], [2, 2]]


@pytest.mark.parametrize("kind", [torch.optim.SGD, PlainAdamW])
def test_an_optimiser_steps_with_the_weights_that_went_along(line: Line, kind: Any) -> None:
    weights = torch.nn.Parameter(torch.ones(2))

    function(line, "steps")(weights, kind([weights], lr=0.5, weight_decay=0))

    assert weights.tolist() == pytest.approx([0.5, 0.5])


def test_a_hook_that_is_left_on_an_optimiser_is_seen(line: Line) -> None:
    weights = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weights], lr=0.5)

    function(line, "leaves_a_hook")(weights, optimizer)

    assert len(optimizer._optimizer_step_post_hooks) == 1
