"""Is every kernel right where it is compiled: forward and backward, against float64.

The same numbers, as the narrow dtype holds them, go through the operation's definition in float64.
The error of a result is its largest difference, in parts of the largest number that was expected.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pkgutil import walk_packages
from typing import Any, Literal
from unittest.mock import patch

import torch
from torch import Tensor

from moe_teach.bench.gpu.step import Row
from moe_teach.bench.grid import Shape
from moe_teach.bench.kernel_cases import NAMES, TOY, Case, Inputs, call, draw_inputs, shape_of
from moe_teach.ops.dispatch import combine, dispatch
from moe_teach.types import ExpertWeights, Routing

Crowd = Literal["balanced", "crowded", "dropped"]

# The definition of each operation, and what it is differentiated by.
DEFINITION = {
    "route": ("reference", ("x", "proj")),
    "dispatch": ("reference", ("x",)),
    "combine": ("reference", ("y", "gates")),
    "grouped_mm": ("reference", ("rows", "w")),
    "grouped_ffn": ("composed", ("rows", "w_up", "w_down", "w_gate")),
    "routed_ffn": ("sorted", ("x", "gates", "w_up", "w_down", "w_gate")),
}
# In parts of the largest number: a few roundings of the dtype, the first one being of the operands.
ALLOWED = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
_NO_MATRICES = ("route", "dispatch", "combine")
_MOST_NUMBERS = 7 * 10**8  # of all matrices: in float64, with gradients, beside other steps
_ODD = Shape(300, 33, 50, 3, 2)  # no block divides it, and no 16 bytes align its rows
_SMALL = Shape(65, 96, 64, 8, 3)


@dataclass(frozen=True)
class Trial:
    """One operation on one set of inputs."""

    case: Case
    crowd: Crowd = "balanced"


def trials(operation: str, toy: bool) -> Iterator[Trial]:
    """Give what an operation is tried on: odd sizes in every dtype, then published models."""
    dtypes = (torch.bfloat16,) if toy else (torch.bfloat16, torch.float16, torch.float32)
    for dtype in dtypes:
        yield Trial(Case(operation, TOY if toy else _ODD, dtype))
    if toy:
        return
    yield Trial(Case(operation, replace(_SMALL, n_tokens=1)))
    yield Trial(Case(operation, _SMALL), "crowded")
    if operation == "routed_ffn":
        yield Trial(Case(operation, _SMALL), "dropped")
    for model in NAMES:
        for n_tokens, backward in ((4, False), (512, True)):
            yield Trial(Case(operation, _affordable(operation, model, n_tokens), backward=backward))
    # Among so many tokens a tie, which float64 decides otherwise, would spoil a router's gradient.
    many = _affordable(operation, "OLMoE", 16384)
    yield Trial(Case(operation, many, backward=operation != "route"))


def _affordable(operation: str, model: str, n_tokens: int) -> Shape:
    """Take a published shape; fewer experts where their matrices are needed in float64."""
    shape = shape_of(model, n_tokens)
    if operation in _NO_MATRICES:
        return replace(shape, d_ff=16)
    most = max(2 * shape.top_k, _MOST_NUMBERS // (3 * shape.d_model * shape.d_ff))
    return replace(shape, n_experts=min(shape.n_experts, most))


def check(operation: str, device: str, toy: bool) -> Iterator[Row]:
    """Try an operation on everything, and last tell which kernels were launched for it."""
    with launches() as launched:
        for trial in trials(operation, toy):
            yield from compare(trial, device)
    yield {"operation": operation, "launched": sorted(launched)}


def compare(trial: Trial, device: str) -> Iterator[Row]:
    """Compare the kernels' output and gradients with the definition in float64."""
    case = trial.case
    definition, names = DEFINITION[case.operation]
    inputs = _crowd(draw_inputs(case.shape, case.dtype, device), trial.crowd)
    got = results(case, inputs, "triton")
    true = results(case, _in_double(inputs), definition)
    what = ("output", *(f"gradient of {name}" for name in names))
    for name, one, other in zip(what, got, true, strict=False):
        yield compared(case, trial.crowd, name, one, other)


def results(case: Case, inputs: Inputs, backend: str) -> list[Tensor]:
    """Give the output and, if the case wants them, the gradients for one drawn direction."""
    with torch.set_grad_enabled(case.backward):
        out, leaves = call(case.operation, inputs, backend)
    if not case.backward:
        return [out]
    generator = torch.Generator(out.device).manual_seed(1)
    dout = torch.randn(out.shape, generator=generator, dtype=case.dtype, device=out.device)
    return [out.detach(), *torch.autograd.grad(out, leaves, dout.to(out.dtype))]


def _error(one: Tensor, other: Tensor) -> float:
    """Measure the largest difference in parts of the largest number; nan if there is one."""
    if one.shape != other.shape:
        return float("inf")
    if not other.numel():
        return 0.0
    size = other.abs().max().clamp_min(torch.finfo(other.dtype).tiny)
    return ((one.to(other.dtype) - other).abs().max() / size).item()


def _crowd(inputs: Inputs, crowd: Crowd) -> Inputs:
    """Send everybody to the first experts, or let a fifth of the choices fall away."""
    routing = inputs.routing
    ids = routing.expert_ids
    if crowd == "crowded":
        first = torch.arange(routing.top_k, device=ids.device).expand_as(ids).contiguous()
        return replace(inputs, routing=replace(routing, expert_ids=first))
    if crowd == "dropped":
        kept = torch.arange(ids.numel(), device=ids.device).view_as(ids) % 5 != 0
        return replace(inputs, routing=replace(routing, kept=kept))
    return inputs


def _in_double(inputs: Inputs) -> Inputs:
    """Give the same numbers in float64."""

    def wide(tensor: Tensor) -> Tensor:
        return tensor.detach().double().requires_grad_(tensor.requires_grad)

    routing, weights = inputs.routing, inputs.weights
    decided = Routing(
        routing.logits.double(),
        routing.probs.double(),
        wide(routing.gates),
        routing.expert_ids,
        routing.kept,
    )
    matrices = {name: wide(getattr(weights, name)) for name in ("w_up", "w_down", "w_gate")}
    return Inputs(wide(inputs.x), decided, ExpertWeights(**matrices), inputs.proj.double())


@contextmanager
def launches() -> Iterator[set[str]]:
    """Collect the names of the kernels that are launched inside the `with`."""
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    names: set[str] = set()

    def heard(launch: Any) -> Any:
        def run(kernel: Any, *arguments: Any, **options: Any) -> Any:
            names.add(kernel.fn.__name__)
            return launch(kernel, *arguments, **options)

        return run

    with ExitStack() as stack:
        for kind in (JITFunction, InterpretedFunction):
            stack.enter_context(patch.object(kind, "run", heard(kind.run)))
        yield names


def list_kernels() -> Iterator[Row]:
    """Name every kernel of the library that is launched, and not only called by another."""
    import moe_teach.ops

    found, called = set(), set()
    for module in walk_packages(moe_teach.ops.__path__, "moe_teach.ops."):
        for name, value in vars(import_module(module.name)).items():
            function = getattr(value, "fn", None)
            if type(value).__module__.startswith("triton.runtime") and function is not None:
                found.add(name)
                called.update(function.__code__.co_names)
    yield {"kernels": sorted(found - called)}


def check_large(device: str, toy: bool) -> Iterator[Row]:
    """Move rows whose places pass 2^31 elements, and compare those of the last tokens."""
    shape = TOY if toy else replace(shape_of("DeepSeek-V3", 40960), d_ff=16)
    inputs = draw_inputs(shape, torch.bfloat16, device)
    gates, last = inputs.routing.gates, slice(max(0, shape.n_tokens - 64), None)
    few = gates.detach()[last, :, None].double()
    case = Case("dispatch", shape)
    rows, dispatched = dispatch(inputs.x, inputs.routing, backend="triton")
    slot, x = dispatched.slot[last], inputs.x.detach()[last]
    copies = x[:, None].expand(-1, shape.top_k, -1)
    yield compared(case, "large", "output", rows.detach()[slot], copies.double())
    y = torch.randn_like(rows)
    (dx,) = torch.autograd.grad(rows, inputs.x, y)
    yield compared(case, "large", "gradient of x", dx[last], y[slot].double().sum(1))
    del rows, dx

    case = replace(case, operation="combine")
    out = combine(y.requires_grad_(), gates, dispatched, backend="triton")
    mixed = (few * y.detach()[slot].double()).sum(1)
    yield compared(case, "large", "output", out.detach()[last], mixed)
    dout = torch.randn_like(out)
    (dy,) = torch.autograd.grad(out, y, dout)
    yield compared(case, "large", "gradient of y", dy[slot], few * dout[last, None].double())


def compared(case: Case, routing: str, of: str, got: Tensor, true: Tensor) -> Row:
    """Make a row of what was computed and what is true."""
    error, allowed = _error(got, true), ALLOWED[case.dtype]
    return {
        "operation": case.operation,
        "shape": str(case.shape),
        "dtype": str(case.dtype).removeprefix("torch."),
        "routing": routing,
        "of": of,
        "error": error,
        "allowed": allowed,
        "verdict": "right" if error <= allowed else "wrong",
    }
