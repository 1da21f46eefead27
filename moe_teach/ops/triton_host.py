"""The one door through which the library's kernels import Triton.

`from moe_teach.ops.triton_host import tl, triton` switches the interpreter on first where there is
no GPU. `INTERPRETED` is a constant that kernels may read: the interpreter multiplies bfloat16
wrongly, so there operands are widened before `tl.dot`.
"""

from moe_teach.ops.triton_mode import choose_mode

_MODE = choose_mode()
if _MODE == "absent":
    raise ModuleNotFoundError(
        "The kernels of this course are written in Triton, which is not installed here. On Linux: "
        "type `make setup` in the clone, or `pip install triton`, and restart the kernel. For "
        "other systems there is no Triton: open this chapter on Colab or Binder; all other "
        "chapters work without it.",
        name="triton",
    )

import triton  # noqa: E402  (the line above must run first)
import triton.language as tl  # noqa: E402

from moe_teach.ops.triton_mend import mend_loops  # noqa: E402

if _MODE == "interpreted":
    mend_loops()

__all__ = ["INTERPRETED", "tl", "triton"]

INTERPRETED = tl.constexpr(_MODE == "interpreted")
