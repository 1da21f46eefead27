"""What a check can launch: an interpreted kernel with the parameters of its stub."""

import importlib.util
from typing import Any

from moe_teach.judging.exercise import Words, require


def demand_kernel(kernel: Any, names: tuple[str, ...]) -> None:
    """Reject what the watcher cannot launch, and a kernel with other parameters than `names`."""
    require(
        importlib.util.find_spec("triton") is not None,
        "Triton is not installed here, and it cannot be on macOS and Windows: open this exercise "
        "on Linux, on Colab or on Binder.",
    )
    kind = type(kernel).__name__
    require(
        hasattr(kernel, "fn") and hasattr(kernel, "arg_names"),
        "This is not a kernel.",
        cure="Keep the line `@triton.jit` above the function, and pass the function itself.",
        got=Words(f"a {kind}"),
    )
    require(
        kind == "InterpretedFunction",
        # No mistake of the answer, so nobody shall have to ask three times.
        "This kernel was compiled for a GPU, and the check cannot look over its shoulder there. "
        'Restart Python, set os.environ["TRITON_INTERPRET"] = "1" before Triton is imported (the '
        "import cell of the exercises does), and define the kernel again.",
        got=Words(f"a {kind}"),
    )
    require(
        tuple(kernel.arg_names) == names,
        "The check cannot launch the kernel as the stub was written: its parameters are others.",
        cure="Keep the stub's parameters, their names and their order.",
        expected=Words(", ".join(names)),
        got=Words(", ".join(kernel.arg_names)),
    )
