"""Bring the parts of the gates' gradients together and back to their choices.

    dgates[t, k] = sum over the blocks b of parts[b, slot[t, k]]        0 for a dropped choice

One program owns some choices. It adds their parts in the order of the blocks.
"""

import torch
from torch import Tensor

from moe_teach.ops.triton_host import tl, triton


def gate_gradient(parts: Tensor, slot: Tensor, dtype: torch.dtype) -> Tensor:
    """Sum parts (blocks, N) into one number for each choice, (T, K) in `dtype`."""
    n_blocks, n_rows = parts.shape
    dgates = torch.empty(slot.shape, dtype=dtype, device=slot.device)
    if not dgates.numel():
        return dgates
    block = min(256, triton.next_power_of_2(dgates.numel()))
    gate_gradient_kernel[(triton.cdiv(dgates.numel(), block),)](
        parts, slot, dgates, dgates.numel(), n_blocks, n_rows, BLOCK=block
    )
    return dgates


@triton.jit(do_not_specialize=["n_pairs", "n_rows"])
def gate_gradient_kernel(parts, slot, dgates, n_pairs, n_blocks, n_rows, BLOCK: tl.constexpr):
    """Compute BLOCK gradients."""
    pair = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row = tl.load(slot + pair, mask=pair < n_pairs, other=-1).to(tl.int64)
    total = tl.zeros((BLOCK,), tl.float32)
    for _block in range(n_blocks):
        total += tl.load(parts + row, mask=row >= 0, other=0.0)
        parts += n_rows
    tl.store(dgates + pair, total.to(dgates.dtype.element_ty), mask=pair < n_pairs)
