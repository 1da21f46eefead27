"""Tensors cross the line between grader and worker with what belongs to them, and not more."""

import weakref
from fractions import Fraction
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from moe_teach.analysis.kernel_watch import vast
from moe_teach.chapters.ch14_memory.asking import unwatched
from moe_teach.chapters.ch14_memory.inputs import some_trace
from moe_teach.chapters.ch14_memory.side_by_side import found_in_memory, requests_of
from moe_teach.course.grading.lending import Lending
from moe_teach.course.grading.worker import after, lives, objects, sparse, tensors
from moe_teach.course.grading.worker.values import Reader, Writer
from moe_teach.course.grading.worker.wire import Nonsense
from moe_teach.deploy.store.policies import LFU
from moe_teach.deploy.store.simulator import simulate

pytestmark = pytest.mark.skipif(not sparse.can_be_read(), reason="the system tells no pages")


def sent(*given: Tensor, takes_grads: bool = True, is_trusted: bool = True) -> tensors.Given:
    """Send tensors from a grader to a worker."""
    packing = tensors.Packing(takes_grads=takes_grads)
    for one in given:
        packing.tensor(one)
    return tensors.opened(
        packing.entries,
        packing.memory,
        [bytearray(blob) for blob in packing.blobs],
        None,
        is_trusted=is_trusted,
        takes_gradients=True,
    )


def test_of_vast_memory_the_touched_pages_travel() -> None:
    far = vast((2, 3), (2**33, 1), dtype=torch.int16)
    far.copy_(torch.arange(6).reshape(2, 3) + 1)

    (there,) = sent(far).tensors

    assert there.stride() == far.stride()
    assert there.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert not there.as_strided((4,), (1,), 2**32).any()


def test_untouched_vast_memory_is_sent_as_its_size() -> None:
    storage = vast((2**33,), dtype=torch.uint8).untyped_storage()

    assert sparse.touched(storage) == []
    assert sent(vast((2**32,), dtype=torch.int32)).storages[0].nbytes() == 2**34


def test_ordinary_memory_that_is_too_much_is_refused() -> None:
    with pytest.raises(Nonsense):
        sent(torch.empty(sparse.VAST + 4096, dtype=torch.uint8).fill_(1))


def test_a_worker_cannot_make_the_grader_reserve_vast_memory() -> None:
    with pytest.raises(Nonsense):
        sent(vast((2**33,), dtype=torch.uint8), is_trusted=False)


def a_matrix(grad: float | None) -> Tensor:
    matrix = torch.ones(2, 3, requires_grad=True)
    matrix.grad = None if grad is None else torch.full((2, 3), grad)
    return matrix


@pytest.mark.parametrize(
    ("before", "change", "now"),
    [
        (2.0, lambda m: None, 2.0),
        (2.0, lambda m: (3 * m).sum().backward(), 5.0),
        (None, lambda m: (3 * m).sum().backward(), 3.0),
        (2.0, lambda m: m.grad.zero_(), 0.0),
        (2.0, lambda m: setattr(m, "grad", None), None),
    ],
)
def test_a_gradient_from_before_is_there_and_comes_back_as_it_was_left(before, change, now) -> None:
    here = a_matrix(before)
    question = tensors.Packing(takes_grads=True)
    question.tensor(here)
    given = sent(here)
    then = after.Before([], given)
    (there,) = (one for one in given.tensors if one.requires_grad)

    change(there)

    packing = tensors.Packing(given)
    changed = then.changes(Writer(packing, lambda *_: None))
    answer = tensors.opened(
        packing.entries,
        packing.memory,
        [bytearray(blob) for blob in packing.blobs],
        question.given,
        is_trusted=False,
        takes_gradients=False,
    )
    blobs = [bytearray(blob) for blob in packing.blobs]
    reader = Reader(answer, question.given, blobs, lambda *_: None)
    after.apply(changed, reader, question.given, [], None)
    assert (None if here.grad is None else here.grad.unique().tolist()) == (
        None if now is None else [now]
    )


def test_a_gradient_stays_where_it_was_not_asked_for() -> None:
    (there,) = sent(a_matrix(2.0), takes_grads=False).tensors

    assert there.grad is None


def test_the_grader_holds_what_it_gave_until_the_worker_lets_go() -> None:
    held, taken = lives.Held(), lives.Taken()
    given = [torch.ones(2), torch.ones(3)]
    alive = [weakref.ref(one) for one in given]
    twins = [one.clone() for one in given]
    held.give(given)
    taken.take(twins)
    del given

    assert taken.gone() == []
    del twins[0]
    held.drop(taken.gone())

    assert [one() is None for one in alive] == [True, False]
    assert taken.gone() == []


class Apart(LFU):
    """A policy with the door that its stand-in has, and the messages that went through."""

    there = Lending()
    sent: ClassVar[list] = []

    @classmethod
    def elsewhere_together(cls, questions, *names):
        cls.sent.append(questions)
        number = cls.there.lend(questions[0][0])
        return objects.do(cls.there, "together", number, questions, *names)


def test_a_policy_that_is_asked_all_at_once_decides_as_the_policy_itself() -> None:
    trace = some_trace(3, n_tokens=40)

    for room in (2, 5):
        plain = simulate(trace, LFU(), room, 1)
        apart = simulate(trace, unwatched(Apart)(), room, 1)
        assert torch.equal(plain.hits, apart.hits)


def test_policies_side_by_side_are_asked_in_one_message_and_decide_as_each_by_itself() -> None:
    requests, rooms = requests_of(some_trace(4, n_tokens=40)), (2, 3, 5)
    Apart.sent.clear()

    apart = found_in_memory([unwatched(Apart)() for _ in rooms], [requests] * 3, rooms)

    assert apart == found_in_memory([LFU() for _ in rooms], [requests] * 3, rooms)
    assert len(Apart.sent) <= len(requests)
    assert max(map(len, Apart.sent)) == 3


def test_fractions_travel_and_impossible_ones_are_nonsense() -> None:
    packing = tensors.Packing()
    tree = Writer(packing, lambda *_: None).put([Fraction(-3, 7)])

    assert Reader(packing.given, None, [], lambda *_: None).get(tree) == [Fraction(-3, 7)]
    with pytest.raises(Nonsense, match="ZeroDivisionError"):
        Reader(packing.given, None, [], lambda *_: None).get(["q", 1, 0])
