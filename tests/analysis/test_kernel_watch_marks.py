"""Marks go with the lanes through every operation, and what a mask left open shows in any dtype."""

import pytest

pytest.importorskip("triton")

import torch

from moe_teach.analysis.kernel_watch import KernelFault, watch
from moe_teach.ops.triton_host import tl, triton


@triton.jit
def halved(index, x, out, n):
    lanes = tl.arange(0, 4)
    token = tl.load(index + lanes, mask=lanes < n) // 2
    tl.store(out + lanes, tl.load(x + token))


@triton.jit
def either_way(x, y, out, far, BOTH: tl.constexpr):
    lanes = tl.arange(0, 4)
    other = y if BOTH else x
    source = tl.where(lanes < 2, x + lanes, other + lanes + far)
    tl.store(out + lanes, tl.load(source))


@triton.jit
def copy_some(x, out, n):
    lanes = tl.arange(0, 4)
    tl.store(out + lanes, tl.load(x + lanes, mask=lanes < n))


@triton.jit
def add_past(x, lanes: tl.constexpr):
    tl.atomic_add(x + tl.arange(0, lanes), 1.0)


def test_a_division_hands_on_that_a_lane_is_open():
    index, x, out = torch.tensor([0, 2, 4], dtype=torch.int32), torch.ones(3), torch.zeros(4)

    with pytest.raises(KernelFault) as caught, watch(index=index, x=x, out=out):
        halved[(1,)](index, x, out, 3)

    assert caught.value.cause == "open lane"
    assert "In halved: `token = tl.load(index + lanes, mask=lanes < n) // 2`." in str(caught.value)


def test_a_pointer_chosen_between_two_tensors_may_reach_both_and_no_third():
    x, y, out = torch.arange(2.0), torch.arange(4.0) + 10, torch.zeros(4)

    with watch(x=x, y=y, out=out) as seen:
        either_way[(1,)](x, y, out, 0, BOTH=True)

    assert out.tolist() == [0, 1, 12, 13]
    assert [a.buffer for a in seen.accesses if a.kind == "load"] == ["x", "y"]
    memory = torch.arange(8.0)
    x, y, third = memory[:2], memory[2:4], memory[4:]
    with pytest.raises(KernelFault), watch(x=x, y=y, third=third, out=out):
        either_way[(1,)](x, y, out, 0, BOTH=True)


def test_a_pointer_chosen_between_two_places_of_one_tensor_stays_inside_it():
    x, y, out = torch.arange(3.0), torch.arange(4.0), torch.zeros(4)

    with pytest.raises(KernelFault) as caught, watch(x=x, y=y, out=out):
        either_way[(1,)](x, y, out, 100, BOTH=False)

    assert caught.value.buffer == "x" and caught.value.elements.tolist() == [102, 103]


@pytest.mark.parametrize(
    ("dtype", "left"), [(torch.bool, True), (torch.int8, 127), (torch.float32, None)]
)
def test_an_open_lane_holds_something_that_shows_in_its_dtype(dtype, left):
    x, out = torch.zeros(4, dtype=dtype), torch.zeros(4, dtype=dtype)

    with watch(x=x, out=out) as seen:
        copy_some[(1,)](x, out, 3)

    assert len(seen.open_loads) == 1
    assert out[3].isnan() if left is None else out[3].item() == left


def test_an_atomic_past_the_end_may_lack_a_mask_or_have_a_wrong_one():
    x = torch.zeros(5)

    with pytest.raises(KernelFault) as caught, watch(x=x):
        add_past[(1,)](x, lanes=8)

    told = caught.value.told
    assert (told.cause, told.cure) == (
        "A mask is missing, or its limit is too high.",
        "Pass mask=offsets < n.",
    )
    assert told.symptom.startswith("Program 0 updates element 5 of x") and not x.any()
