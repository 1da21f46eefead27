"""The one door through which the library's kernels import Triton.

`from moe_teach.ops.triton_host import tl, triton` switches the interpreter on first where there is
no GPU. `INTERPRETED` is a constant that kernels may read: the interpreter multiplies bfloat16
wrongly, so there operands are widened before `tl.dot`.
"""

from moe_teach.ops.triton_mode import choose_mode

_MODE = choose_mode()

import triton  # noqa: E402  (the line above must run first)
import triton.language as tl  # noqa: E402

from moe_teach.ops.triton_mend import mend_loops  # noqa: E402

if _MODE == "interpreted":
    mend_loops()

__all__ = ["INTERPRETED", "tl", "triton"]

INTERPRETED = tl.constexpr(_MODE == "interpreted")
