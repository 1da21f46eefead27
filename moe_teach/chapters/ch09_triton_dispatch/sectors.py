"""What launches ask of memory, in the pieces in which a GPU moves it.

A GPU loads and stores whole sectors of 32 bytes (NVIDIA, "CUDA C++ Best Practices Guide", section
on coalesced access): a single float costs as much as eight neighbours. Each load and each store
pays for every sector it touches, and nothing is forgiven for what a cache may still hold.
"""

from collections.abc import Iterable

import numpy as np
from torch import Tensor

from moe_teach.analysis.kernel_watch import Seen

SECTOR = 32  # bytes


def sectors(seen: Seen) -> int:
    """Count the sectors that all loads and stores of a watch touched.

    The watched tensors must be contiguous, and begin at a multiple of 32 bytes, as new ones do.
    """
    total = 0
    for access in seen.accesses:
        if access.elements.size:
            width = access.n_bytes // access.elements.size
            total += len(np.unique(access.elements * width // SECTOR))
    return total


def sectors_of(tensors: Iterable[Tensor]) -> int:
    """Count the sectors that whole tensors lie in."""
    return sum(-(-tensor.numel() * tensor.element_size() // SECTOR) for tensor in tensors)
