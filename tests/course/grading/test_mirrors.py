"""A module's stand-in is watched as long as a stage holds it, over the begin of another stage."""

from collections.abc import Iterator

import pytest
import torch

from moe_teach.course import registry
from moe_teach.course.grading.host import Host
from moe_teach.course.grading.record import Limits
from moe_teach.course.grading.remote import Line

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
    worker = host.start(Limits(seconds=60), 600, walls=False)
    line = Line(worker, registry.find_exercise("2.1"), None)
    worker.wait_at_most(60)
    assert line.ask("load", SOURCE, "cell") is None
    begin(line)
    yield line
    worker.end()


def begin(line: Line) -> None:
    line.things.begin()
    line.ask("begin")


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
