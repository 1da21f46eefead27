"""Where Triton's kernels run: compiled on a GPU, or one program after another on the CPU.

Triton decides this once, when it is imported, by an environment variable. So the variable has to
be set before anybody imports Triton, and this module does not import it.
"""

import importlib.util
import os
import sys
from typing import Literal

import torch

VARIABLE = "TRITON_INTERPRET"
Mode = Literal["compiled", "interpreted", "absent"]


def choose_mode() -> Mode:
    """Switch Triton's interpreter on where there is no GPU, and say how kernels will run.

    A value the user has set stays: TRITON_INTERPRET=1 interprets on a machine with a GPU too, and
    TRITON_INTERPRET=0 compiles without one, for the compile-only check of `moe_teach.bench`.

    Raises:
        RuntimeError: if there is no GPU and Triton was imported before it could be switched.
    """
    if importlib.util.find_spec("triton") is None:
        return "absent"
    if not torch.cuda.is_available() and not os.environ.get(VARIABLE):
        if "triton" in sys.modules:
            raise RuntimeError(
                "There is no GPU, and Triton was imported before its interpreter was switched "
                f"on: set the environment variable {VARIABLE}=1, or import moe_teach's kernels "
                "first, and restart Python (in a notebook: restart the kernel)."
            )
        os.environ[VARIABLE] = "1"
    return mode()


def mode() -> Mode:
    """Say how kernels run in this process."""
    if importlib.util.find_spec("triton") is None:
        return "absent"
    return "interpreted" if _is_on() else "compiled"


def _is_on() -> bool:
    return os.environ.get(VARIABLE, "").lower() in ("1", "true", "on")
