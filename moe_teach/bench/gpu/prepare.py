"""Compile what will be timed before it is timed, in several processes at once.

The operations run on tensors without content, as in `moe_teach.bench.launches`; what they would
launch is compiled for the GPU that is there and lies in Triton's cache afterwards.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from moe_teach.bench.gpu.step import Row
from moe_teach.bench.kernel_cases import Case, run_case
from moe_teach.ops.tiles import Tiles, Work, as_on, forced
from moe_teach.ops.triton_mode import mode


def prepare(cases: Iterable[Case]) -> Iterator[Row]:
    """Compile what each case launches."""
    if mode() != "compiled":
        return  # the interpreter has nothing to prepare
    for case in cases:
        start = time.monotonic()
        compile_case(case)
        yield {"case": str(case), "seconds": time.monotonic() - start}


def prepare_tiles(case: Case, work: Work, choices: Iterable[Tiles]) -> Iterator[Row]:
    """Compile a case with other block sizes; which of them cannot be, tuning will tell."""
    if mode() != "compiled":
        return
    for tiles in choices:
        start, problem = time.monotonic(), ""
        try:
            with forced(tiles, work):
                compile_case(case)
        except Exception as refusal:  # whatever the compiler raises
            problem = type(refusal).__name__
        seconds = time.monotonic() - start
        yield {"case": f"{case} with {tiles}", "seconds": seconds, "refused": problem}


def compile_case(case: Case) -> None:
    """Compile what one case launches, for the GPU that is there."""
    from triton.runtime.jit import JITFunction

    from moe_teach.bench.launches import launching

    launch = JITFunction.run

    def only_compile(kernel: Any, *arguments: Any, **options: Any) -> Any:
        return launch(kernel, *arguments, **{**options, "warmup": True})

    generation = 90 if torch.cuda.get_device_capability() == (9, 0) else 80
    with as_on(generation), launching(only_compile):
        run_case(case, "meta")
