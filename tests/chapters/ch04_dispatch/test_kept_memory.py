"""What a function leaves in memory is found wherever it is kept, and nothing else is."""

import gc

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from moe_teach.chapters.ch04_dispatch.kept_memory import still_alive

SIZE = 2000 * 4  # the bytes of every tensor; a checkpoint keeps 5,056 for the random state
KEPT = []


class _InItsContext(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.inner = x.exp()
        return ctx.inner.sin()

    @staticmethod
    def backward(ctx, dy):
        return dy * ctx.inner.cos() * ctx.inner


def plainly(x):
    return x.exp().sin()  # exp saves its result, and sin its argument: one tensor


def in_a_list(x):
    KEPT.append(x.detach().exp())
    return x.sin()


def forgetfully(x):
    return checkpoint(plainly, x, use_reentrant=False)


def by_dropping_it(x):
    return x.sin() + 0 * x.detach().exp().sum()


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (plainly, [True]),
        (in_a_list, [False]),
        (lambda x: _InItsContext.apply(x), [False]),
        (forgetfully, []),
        (by_dropping_it, []),
    ],
)
def test_only_what_is_left_behind_is_counted(function, left) -> None:
    sparse = torch.eye(3).to_sparse()  # a tensor that has no storage to ask for
    for _ in range(5):  # addresses are used again
        found = still_alive(function, {"x": torch.rand(2000, requires_grad=True)}, at_least=SIZE)
        assert found == [(SIZE, "(2000,) float32", by_autograd) for by_autograd in left]
        KEPT.clear()
        gc.collect()
    assert sparse.is_sparse
