"""The definition of the grouped matrix multiplication: a loop over experts."""

import torch
from torch import Tensor


def grouped_mm_reference(rows: Tensor, w: Tensor, expert_offsets: Tensor) -> Tensor:
    """Multiply slice by slice, and put the results one after the other."""
    ends = expert_offsets.tolist()
    starts = [0, *ends[:-1]]
    slices = [rows[start:end] for start, end in zip(starts, ends, strict=True)]
    return torch.cat([own @ matrix.T for own, matrix in zip(slices, w.unbind(), strict=True)])
