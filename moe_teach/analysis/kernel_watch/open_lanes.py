"""What a lane holds that a mask without `other` switched off: nothing anybody may rely on.

Triton leaves it open. The interpreter puts a zero there, and so do the compilers that the project
has looked at, which makes a kernel that relies on it right by luck. The watcher puts something
there that shows: NaN, or an integer far outside every tensor.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# 2^32 times 1 minus the golden section: of all numbers the one whose multiples stay farthest from
# multiples of 2^32. So it stays far outside a tensor even where it is multiplied and wraps around.
FAR_OFF = 0x61C88647
# The interpreter keeps short floats as unsigned integers. All bits set are NaN in most of them; of
# those without a negative zero, the bits of that are the NaN.
_NAN_BITS = {"fp8e5b16": 0x80, "fp8e4b8": 0x80}


def switched_off(result: Any, mask: Any) -> NDArray[np.bool_]:
    """Give the lanes of a loaded value that its mask switched off."""
    on = np.asarray(mask.data, dtype=bool)  # some masks come as integers, some without a handle
    return ~np.broadcast_to(on, result.data.shape)


def poison(result: Any, lanes: NDArray[np.bool_]) -> None:
    """Put something into open lanes that shows wherever it is used."""
    data = result.data.copy()
    data[lanes] = _poison(result.dtype.name, data.dtype)
    result.data = data


def _poison(name: str, dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "f":
        return np.nan
    if name in _NAN_BITS:
        return _NAN_BITS[name]
    if dtype.kind == "b":
        return True
    return min(FAR_OFF, np.iinfo(dtype).max)
