"""What the library would launch, seen from the arguments: kernels, types, constants, options.

The operations run on tensors without content, and every launch is written down instead of done.
That a launcher gets through is a proof of its own: it never looks at a result to go on, so on a
GPU it never waits for one.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from triton.runtime.jit import JITFunction

from moe_teach.bench.compile_job import ALIGNED, compile_one, complaint
from moe_teach.bench.kernel_cases import Case, run_case
from moe_teach.ops.tiles import as_on

_TYPES = {
    torch.float64: "fp64",
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.int16: "i16",
    torch.uint8: "u8",
    torch.bool: "i1",
}


@dataclass(frozen=True)
class Launch:
    """One kernel as Triton would specialise it: two launches that are equal are one binary."""

    kernel: Any
    types: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Any], ...]
    options: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        """The kernel's name in its module."""
        return self.kernel.__name__

    @property
    def essence(self) -> tuple:
        """What makes the code different: everything but whether a count is a multiple of 16."""
        counted = [(n, t) for n, t in self.types if not n.startswith("n_") and n != "tiles"]
        constants = [(n, v) for n, v in self.constants if n.isupper() or not n.startswith("n_")]
        return (self.kernel, *counted, *constants, *self.options)

    @property
    def blocks(self) -> str:
        """The constants that are written in capitals, and the number of warps."""
        sizes = [f"{name}={value}" for name, value in self.constants if name.isupper()]
        return " ".join([*sizes, *(f"{name[4:]}={value}" for name, value in self.options)])


@contextmanager
def launching(instead: Callable[..., Any]) -> Iterator[None]:
    """Call `instead` for every launch inside the `with`, where tensors may be without content."""
    with (
        patch.object(JITFunction, "run", instead),
        # torch does not know the word for tensors without content, and raises.
        patch.object(torch, "is_autocast_enabled", lambda device: False),
    ):
        yield


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """Write down the launches inside the `with` instead of doing them, each kind once."""
    launches: dict[Launch, None] = {}
    heard: list[Launch] = []

    def write_down(kernel: Any, *arguments: Any, grid: Any, warmup: bool, **named: Any) -> None:
        launch = _specialised(kernel, arguments, named)
        if launch not in launches:
            launches[launch] = None
            heard.append(launch)

    with launching(write_down):
        yield heard


def _specialised(kernel: Any, arguments: tuple, named: dict[str, Any]) -> Launch:
    """Sort arguments into types and constants as Triton does: None and 1 become constants."""
    names = set(kernel.arg_names)
    bound = kernel.signature.bind(*arguments, **{k: v for k, v in named.items() if k in names})
    bound.apply_defaults()
    types, constants = [], []
    for parameter in kernel.params:
        value = bound.arguments[parameter.name]
        kind = "constexpr" if parameter.is_constexpr else _type_of(value, parameter)
        if kind == "constexpr":
            constants.append((parameter.name, getattr(value, "value", value)))
        else:
            types.append((parameter.name, kind))
    options = sorted((name, value) for name, value in named.items() if name not in names)
    return Launch(kernel, tuple(types), tuple(constants), tuple(options))


def _type_of(value: Any, parameter: Any) -> str:
    if value is None:
        return "constexpr"
    if isinstance(value, torch.Tensor):
        return "*" + _TYPES[value.dtype]
    if isinstance(value, bool):
        return "u1"
    if isinstance(value, float):
        return "fp32"
    if parameter.do_not_specialize:
        return "i32"
    if value == 1:
        return "constexpr"
    kind = "i32" if -(2**31) <= value < 2**31 else "i64"
    return kind + ALIGNED if value % 16 == 0 else kind


def run_library(cases: Iterable[Case], target: str) -> Iterator[dict[str, Any]]:
    """Compile what the cases launch on a target, each kind of code once."""
    generation = {"sm_90": 90, "gfx942": 942}.get(target, 80)
    seen: set[tuple] = set()
    for case in cases:
        with as_on(generation), recorded() as launches:
            run_case(case, "meta")
        for launch in launches:
            if launch.essence not in seen:
                seen.add(launch.essence)
                yield {"case": str(case), **_compiled(launch, target)}


def _compiled(launch: Launch, target: str) -> dict[str, Any]:
    what = {"kernel": launch.name, "target": target, "blocks": launch.blocks}
    types, constants, options = map(dict, (launch.types, launch.constants, launch.options))
    try:
        facts = compile_one(launch.kernel, types, constants, target, options)
    except Exception as problem:  # whatever the compiler raises is the answer
        return {**what, "problem": complaint(problem)}
    del facts["assembly"]
    return {**what, "dtype": _main_type(launch), **facts}


def _main_type(launch: Launch) -> str:
    """Name the type of the numbers that the kernel moves, or of the indices if it moves none."""
    pointers = [kind[1:] for _, kind in launch.types if kind.startswith("*")]
    floats = [kind for kind in pointers if "fp" in kind or "bf" in kind]
    return (floats or pointers)[0]
