"""`backward()` reaches what an answer has of its own, as if the two were in one process."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from moe_teach.course.grading.host import Host
from tests.course.grading.lines import line_to

SOURCE = """
import torch

class Expert:
    def __init__(self):
        self.shift = torch.zeros(3, requires_grad=True)

    def see(self, x):
        return 2 * (x - self.shift)

    def bare(self):
        return self.shift

    def ask(self, function, x):
        return function(3 * self.shift + x)

    def pull(self, function, x):
        function(x).sum().backward()

    def arrived(self):
        return self.shift.grad
"""


@pytest.fixture(scope="module")
def make(host: Host) -> Iterator[Any]:
    with line_to(host, SOURCE) as line:
        yield line.answer()


@pytest.fixture(params=["here", "apart"])
def expert(request: pytest.FixtureRequest, make: Any) -> Any:
    if request.param == "apart":
        return make()
    scope: dict[str, Any] = {}
    exec(SOURCE, scope)
    return scope["Expert"]()


def of_arrived(expert: Any) -> Any:
    arrived = expert.arrived()
    return None if arrived is None else arrived.tolist()


def twice_backward(expert: Any) -> None:
    for _ in range(2):
        expert.see(torch.ones(3)).sum().backward()


def beside_a_result_of_the_same_question(expert: Any) -> None:
    x = torch.ones(3, requires_grad=True)
    (expert.see(x) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 4.0, 6.0]


def only_asked_for_others(expert: Any) -> None:
    x = torch.ones(3, requires_grad=True)
    (found,) = torch.autograd.grad(expert.see(x).sum(), x)
    assert found.tolist() == [2.0] * 3


@pytest.mark.parametrize(
    ("pull", "arrived"),
    [
        (twice_backward, [-4.0] * 3),
        (beside_a_result_of_the_same_question, [-2.0, -4.0, -6.0]),
        (only_asked_for_others, None),
        (lambda expert: expert.bare().sum().backward(), [1.0] * 3),
        (lambda expert: expert.ask(lambda x: 5 * x, torch.ones(3)).sum().backward(), [15.0] * 3),
    ],
)
def test_a_gradient_arrives_at_what_the_answer_has_of_its_own(
    expert: Any, pull: Callable[[Any], None], arrived: list[float] | None
) -> None:
    pull(expert)

    assert of_arrived(expert) == arrived


def test_a_gradient_arrives_at_what_a_lent_function_has_of_its_own(expert: Any) -> None:
    weight, x = torch.ones(3, requires_grad=True), torch.full((3,), 2.0)

    def lent(x: Tensor) -> Tensor:
        return weight * x

    expert.pull(lent, x)

    assert weight.grad is not None
    assert weight.grad.tolist() == [2.0] * 3


def test_a_gradient_through_both_arrives_once(expert: Any) -> None:
    weight = torch.ones(3, requires_grad=True)
    kept = SimpleNamespace(weight=weight)

    expert.ask(lambda x: kept.weight * x, torch.ones(3)).sum().backward()

    assert weight.grad is not None
    assert weight.grad.tolist() == [1.0] * 3
    assert of_arrived(expert) == [3.0] * 3
