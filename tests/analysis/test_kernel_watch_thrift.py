"""What the watcher spares the interpreter changes no number: the bare interpreter is the oracle."""

import pytest

pytest.importorskip("triton")

import torch

from moe_teach.analysis.kernel_watch import watch
from moe_teach.ops.triton_host import tl, triton

DTYPES = (tl.float32, tl.int32, tl.float16, tl.pointer_type(tl.float32))
SHAPES = ([16], [1, 16], [16, 1], [4, 4])


@triton.jit
def scaled(block, factor):
    return block * factor + tl.max(block, axis=0)


@triton.jit
def of_many_types(x, whole, small, out, n, SIZE: tl.constexpr, WIDE: tl.constexpr):
    rows, columns = tl.arange(0, SIZE), tl.arange(0, WIDE)
    mask = rows < n
    numbers = tl.load(x + rows, mask=mask, other=-2.5)
    integers = tl.load(whole + rows, mask=mask, other=7)
    narrow = tl.load(small + rows, mask=mask, other=1).to(tl.float32)
    outer = scaled(numbers, 0.5)[:, None] * columns[None, :] + integers[:, None] // 3
    chosen = tl.where((outer > 1) & mask[:, None], outer, narrow[:, None])
    together = tl.sum(chosen, axis=1) + tl.cumsum(numbers, 0) + (integers % 4 == 1)
    square = tl.dot(tl.trans(chosen.to(tl.float16)), chosen.to(tl.float16))
    tl.store(out + rows, together.to(tl.float32), mask=mask)
    tl.store(out + SIZE + columns, tl.sum(square, axis=0) + tl.exp(columns / WIDE))


@pytest.mark.parametrize("n", [1, 5, 16])
@pytest.mark.parametrize("whole", [torch.int32, torch.int64, torch.int16])
@pytest.mark.parametrize("small", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("wide", [16, 32])
def test_a_spared_launch_stores_what_the_bare_interpreter_stores(n, whole, small, wide) -> None:
    draw = torch.Generator().manual_seed(n)
    x = torch.randn(16, generator=draw)
    integers = torch.randint(-9, 9, (16,), generator=draw).to(whole)
    narrow = torch.randn(16, generator=draw).to(small)
    bare, spared = torch.zeros(16 + wide), torch.zeros(16 + wide)

    of_many_types[(1,)](x, integers, narrow, bare, n, SIZE=16, WIDE=wide)
    with watch(x=x, whole=integers, small=narrow, out=spared):
        of_many_types[(1,)](x, integers, narrow, spared, n, SIZE=16, WIDE=wide)

    assert torch.equal(bare, spared)


def told_of(kind) -> dict:
    return {name: str(value) for name, value in vars(kind).items()}


def test_a_type_that_was_made_before_is_the_type_it_is_elsewhere() -> None:
    every = [(dtype, shape) for dtype in DTYPES for shape in SHAPES]
    bare = [told_of(tl.block_type(dtype, shape)) for dtype, shape in every]

    with watch(x=torch.zeros(1)):
        made = [told_of(tl.block_type(dtype, shape)) for dtype, shape in (*every, *every)]

    assert made == bare * 2


def test_a_size_that_is_no_integer_is_refused_after_the_integer_was_seen() -> None:
    with watch(x=torch.zeros(1)):
        tl.block_type(tl.float32, [16])
        with pytest.raises(TypeError):
            tl.block_type(tl.float32, [16.0])


def brought_together(one, other) -> list | str:
    from triton.runtime.interpreter import TensorHandle, interpreter_semantic

    def block(shape):
        numbers = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(shape)
        return tl.tensor(
            TensorHandle(numbers.numpy(), tl.float32), tl.block_type(tl.float32, shape)
        )

    try:
        both = interpreter_semantic.broadcast_impl_value(block(one), block(other))
    except ValueError as error:
        return str(error)
    return [(str(made.type), made.handle.data.tolist()) for made in both]


PAIRS = [
    ([16, 1], [1, 32]),
    ([16, 32], [1, 32]),
    ([16, 1], [16, 32]),
    ([32], [16, 32]),
    ([1, 1, 4], [2, 4]),
    ([16, 2], [4, 2]),
    ([4], [2]),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_blocks_of_other_shapes_are_still_brought_to_one_or_refused(one, other) -> None:
    bare = brought_together(one, other)

    with watch(x=torch.zeros(1)):
        spared = brought_together(one, other)

    assert spared == bare
