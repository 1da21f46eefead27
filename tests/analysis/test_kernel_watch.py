"""The watcher of interpreted kernels: it stops a stray access and remembers the rest."""

import numpy as np
import pytest
import torch

from moe_teach.analysis.kernel_watch import KernelFault, watch

triton_host = pytest.importorskip("moe_teach.ops.triton_host")
tl, triton = triton_host.tl, triton_host.triton


@triton.jit
def copy(x, y, n_loads, n_stores, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    values = tl.load(x + offsets, mask=offsets < n_loads, other=0.0)
    tl.store(y + offsets, values, mask=offsets < n_stores)


def test_a_store_past_the_end_is_refused_before_memory_is_touched() -> None:
    memory = torch.full((32,), 7.0)
    x, y = torch.ones(13), memory[8:21]

    with watch(x=x, y=y), pytest.raises(KernelFault) as caught:
        copy[(2,)](x, y, 13, 14, BLOCK=8)

    assert "Program 1 stores to element 13 of y, which ends at element 12" in str(caught.value)
    assert (caught.value.program, caught.value.buffer) == ((1, 0, 0), "y")
    assert caught.value.elements.tolist() == [13]
    assert memory[21:].eq(7).all() and y[8:].eq(7).all()


def test_a_right_kernel_leaves_a_complete_record() -> None:
    x, y = torch.randn(13), torch.empty(13)

    with watch(x=x, y=y) as seen:
        copy[(2,)](x, y, 13, 13, BLOCK=8)

    assert torch.equal(x, y)
    assert seen.programs == [(0, 0, 0), (1, 0, 0)]
    assert seen.owner("y").tolist() == [0] * 8 + [1] * 5
    assert np.array_equal(seen.readers("x"), np.ones(13))
    assert seen.unwritten("y").size == 0 and not seen.races()
    assert seen.bytes_loaded == {"x": 52, "y": 0} and seen.bytes_stored == {"x": 0, "y": 52}
