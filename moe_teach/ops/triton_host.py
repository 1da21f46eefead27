"""The one door through which the library's kernels import Triton.

`from moe_teach.ops.triton_host import tl, triton` switches the interpreter on first where there is
no GPU. `INTERPRETED` is a constant that kernels may read: the interpreter multiplies bfloat16
wrongly, so there operands are widened before `tl.dot`.
"""

from torch import Tensor

from moe_teach.config import refuse
from moe_teach.ops.triton_mode import VARIABLE, choose_mode

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

__all__ = ["INTERPRETED", "demand_launchable", "tl", "triton"]

INTERPRETED = tl.constexpr(_MODE == "interpreted")


def demand_launchable(**tensors: Tensor | None) -> None:
    """Refuse tensors that a kernel could not read where it runs.

    Raises:
        ValueError: if they stand on several devices, or not on the one where kernels run.
    """
    places = {name: tensor.device for name, tensor in tensors.items() if tensor is not None}
    refuse(
        len(set(places.values())) > 1,
        "All tensors of one kernel must stand on one device, but here "
        + ", ".join(f"{name} is on {place}" for name, place in places.items())
        + ": move them with .to(device).",
    )
    refuse(
        not INTERPRETED.value and any(place.type == "cpu" for place in places.values()),
        f"{next(iter(places), 'The input')} is on the CPU, but Triton compiles for a GPU in this "
        f"process: move the tensors to the GPU, choose another backend, or set {VARIABLE}=1 and "
        "restart Python to interpret the kernel.",
    )
