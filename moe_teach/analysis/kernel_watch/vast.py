"""Address space without memory: a tensor with more elements than fit into this machine."""

import gc
import mmap

import torch
from torch import Tensor

_NO_RESERVE = 0x4000  # Linux promises no memory for such a mapping, so it never refuses one


def vast(
    shape: tuple[int, ...], stride: tuple[int, ...] | None = None, *, dtype: torch.dtype
) -> Tensor:
    """Make a tensor of any size, all zeros, of which only the touched pages take memory.

    With it a kernel is launched at the size where an int32 offset wraps around: a few programs
    that work at the far end are enough. Do not copy, print or reduce such a tensor.

    Args:
        shape: its shape.
        stride: its strides, in elements; those of a contiguous tensor if None.
        dtype: its dtype.

    Raises:
        OSError: where even addresses are rationed (`ulimit -v`).
    """
    stride = torch.empty(shape, device="meta").stride() if stride is None else stride
    reach = sum(step * (size - 1) for step, size in zip(stride, shape, strict=True))
    n_bytes = (reach + 1) * dtype.itemsize
    try:
        space = _reserved(n_bytes)
    except OSError:
        gc.collect()  # a launch holds its tensors in a cycle: those of the last may still be there
        space = _reserved(n_bytes)
    return torch.frombuffer(space, dtype=dtype).as_strided(shape, stride)


def _reserved(n_bytes: int) -> mmap.mmap:
    # A private mapping would count in full where a process may hold so much data only.
    return mmap.mmap(-1, n_bytes, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | _NO_RESERVE)
