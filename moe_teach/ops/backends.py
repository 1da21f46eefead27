"""Backends that are imported when they are first asked for.

Who never asks for Triton should never need it: `import moe_teach.ops.dispatch` brings torch and
nothing else.
"""

import functools
from collections.abc import Callable
from importlib import import_module
from typing import Any

from moe_teach.ops.triton_mode import mode


def kernel_of(module: str, name: str) -> Callable[..., Any]:
    """Return a function that imports `module` at its first call, and calls what is named there."""

    @functools.cache
    def found() -> Callable[..., Any]:
        demand_triton()
        return getattr(import_module(module), name)

    return lambda *args, **kwargs: found()(*args, **kwargs)


def backends_of(operation: str) -> tuple[str, ...]:
    """Name everything that `backend=` of an operation takes."""
    module = import_module(f"moe_teach.ops.{operation}")
    # The BACKENDS of `routed_ffn` are the five that chapter 04 builds.
    return getattr(module, "EVERY_BACKEND", module.BACKENDS)


def demand_triton() -> None:
    """Refuse to go on where Triton is not installed.

    Raises:
        ModuleNotFoundError: with what to install.
    """
    if mode() == "absent":
        raise ModuleNotFoundError(
            "The backend 'triton' needs the package triton, which exists for Linux: install it "
            "with pip install 'moe-teach[kernels]', or choose another backend."
        )
