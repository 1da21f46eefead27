"""Kernels loop up to numbers they are given, in every release of Triton."""

import pytest
import torch

pytest.importorskip("triton", reason="Triton has packages for Linux only")

from moe_teach.ops.triton_host import tl, triton
from moe_teach.ops.triton_mode import mode

pytestmark = pytest.mark.skipif(mode() != "interpreted", reason="kernels are compiled here")


@triton.jit
def count(out, given, loaded):
    total = 0
    for _ in range(given):
        total += 1
    for _ in range(tl.load(loaded)):
        total += 100
    tl.store(out, total)


def test_a_loop_ends_at_a_number_that_was_given_or_loaded() -> None:
    out = torch.zeros(1, dtype=torch.int32)

    count[(1,)](out, 3, torch.tensor([4], dtype=torch.int32))

    assert out.item() == 403
