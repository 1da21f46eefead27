"""One MoE layer, forward and backward: ours, its rivals and the limit, with the same weights.

The limit is a dense chain of matmuls that does the same floating-point operations on the same
number of rows and nothing else: no routing, no gather, no activation.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moe_teach.bench.grid import Shape
from moe_teach.bench.rivals import transformers_blocks
from moe_teach.bench.timing import Timing, in_turn
from moe_teach.config import MoEConfig, RouterConfig
from moe_teach.nn.experts import Experts
from moe_teach.nn.moe import FusedMoE, MoE
from moe_teach.ops.backends import explain
from moe_teach.ops.five_ways import FIVE_WAYS
from moe_teach.ops.routed_ffn import routed_ffn
from moe_teach.types import ExpertWeights

LIMIT = "limit: dense matmuls"
OURS = "moe_teach"
VISITING = "moe_teach each"  # which with gradients is the default itself
MOST_VISITS = 64  # rows up to which the way that visits experts in Python is worth a look
SKEW = 4.0  # the heaviest expert's rows over the mean, in the skewed runs


@dataclass(frozen=True)
class Row:
    """One line of the table: how long one contender took at one shape."""

    shape: Shape
    dtype: str
    routing: str
    step: str
    contender: str
    timing: Timing


class DenseChain(nn.Module):
    """The limit: the experts' floating-point operations as three dense matmuls."""

    def __init__(self, shape: Shape, dtype: torch.dtype) -> None:
        super().__init__()
        d, f = shape.d_model, shape.d_ff
        self.w_up = nn.Parameter(torch.randn(2 * f, d, dtype=dtype) * d**-0.5)
        self.w_down = nn.Parameter(torch.randn(d, f, dtype=dtype) * f**-0.5)

    def forward(self, rows: Tensor) -> Tensor:
        """Multiply through; half of the inner columns feed the second matrix."""
        return (rows @ self.w_up.T)[:, : self.w_down.shape[1]] @ self.w_down.T


class WithBackend(nn.Module):
    """The library's layer with one named backend of `routed_ffn`."""

    def __init__(self, moe: MoE, backend: str) -> None:
        super().__init__()
        self.moe, self.backend = moe, backend

    def forward(self, x: Tensor) -> Tensor:
        """Route, then compute the experts with the named backend."""
        experts = self.moe.experts
        weights: ExpertWeights = experts.weights
        routing = self.moe.router(x)
        return routed_ffn(x, routing, weights, experts.activation, backend=self.backend)


class OutputOnly(nn.Module):
    """The layer as a user calls it, without the routing it also returns."""

    def __init__(self, moe: MoE) -> None:
        super().__init__()
        self.moe = moe

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the layer alone."""
        return self.moe(x)[0]


def build_layer(shape: Shape, dtype: torch.dtype) -> MoE:
    """Make the library's layer at a shape: SwiGLU, softmax over all experts, renormalised."""
    router = RouterConfig(n_experts=shape.n_experts, top_k=shape.top_k)
    layer = FusedMoE.build(shape.d_model, MoEConfig(router=router, d_ff=shape.d_ff))
    assert isinstance(layer.experts, Experts)
    return layer.to(dtype)


def skew_router(layer: MoE, x: Tensor, heaviest: float = SKEW) -> None:
    """Turn the router until the first expert gets `heaviest` times its fair share of rows.

    The first feature of `x` is set to one, so that its column of the router acts as a bias that
    every contender shares. Where k * heaviest exceeds E the first expert takes every token.
    """
    with torch.no_grad():
        x[:, 0] = 1.0
        column = layer.router.proj.weight[:, 0]
        low, high = 0.0, 16.0
        for _ in range(20):
            column[0] = (low + high) / 2
            chosen = layer.router(x).expert_ids
            share = (chosen == 0).float().mean() * layer.router.config.n_experts
            low, high = (column[0].item(), high) if share < heaviest else (low, column[0].item())


def contenders(
    shape: Shape, dtype: torch.dtype, skewed: bool, every_backend: bool
) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """Give each contender with its input: the limit, ours, our other backends, transformers'."""
    torch.manual_seed(0)
    x = torch.randn(shape.n_tokens, shape.d_model, dtype=dtype)
    layer = build_layer(shape, dtype)
    if skewed:
        skew_router(layer, x)
    rows = torch.randn(shape.n_rows, shape.d_model, dtype=dtype)
    yield LIMIT, DenseChain(shape, dtype), rows.requires_grad_()
    yield OURS, OutputOnly(layer), x.requires_grad_()
    for backend in _others(shape) if every_backend else ("padded", "loop"):
        yield f"moe_teach {backend}", WithBackend(layer, backend), x
    for name, block in transformers_blocks(shape, layer):
        yield f"transformers {name}", block, x


def _others(shape: Shape) -> tuple[str, ...]:
    return (*FIVE_WAYS, "each") if shape.n_rows <= MOST_VISITS else tuple(FIVE_WAYS)


def step_of(module: nn.Module, x: Tensor, backward: bool) -> Callable[[], object]:
    """Make the function that is timed: forward, or forward and every gradient."""
    if not backward:
        return torch.no_grad()(lambda: module(x))
    leaves = [x, *(p for p in module.parameters() if p.requires_grad)]
    grad = torch.randn(x.shape, dtype=x.dtype)
    return lambda: torch.autograd.grad(module(x), leaves, grad, allow_unused=True)


def time_shape(
    shape: Shape, dtype: torch.dtype, *, skewed: bool, budget_s: float, every_backend: bool = False
) -> Iterator[Row]:
    """Time all contenders at one shape, forward and forward+backward."""
    entries = list(contenders(shape, dtype, skewed, every_backend))
    for step, backward in (("forward", False), ("forward+backward", True)):
        runs = {
            name: step_of(module, x, backward)
            for name, module, x in entries
            if not (backward and name == VISITING)
        }
        times = in_turn(runs, LIMIT, budget_s=budget_s)
        routing = f"skewed {SKEW:.0f}x" if skewed else "balanced"
        for name, timing in times.items():
            if name == OURS:
                name = f"{OURS} ({chosen_in(runs[OURS])})"
            yield Row(shape, str(dtype).removeprefix("torch."), routing, step, name, timing)


def chosen_in(step: Callable[[], object]) -> str:
    """Name the backend that a layer took for its experts in one step."""
    chosen = {choice.operation: choice.backend for choice in explain(step)}
    whole_way = chosen.get("routed_ffn", "parts")
    return chosen["grouped_ffn"] if whole_way == "parts" else whole_way
