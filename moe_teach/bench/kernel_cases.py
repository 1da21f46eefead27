"""The operations that have kernels, at the sizes of published models, with inputs on any device."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from moe_teach.bench.grid import Shape
from moe_teach.catalog import CATALOG
from moe_teach.config import RouterConfig
from moe_teach.ops.backends import OPERATIONS
from moe_teach.ops.dispatch import combine, dispatch
from moe_teach.ops.grouped_ffn import grouped_ffn
from moe_teach.ops.grouped_mm import grouped_mm
from moe_teach.ops.route import route
from moe_teach.ops.routed_ffn import routed_ffn
from moe_teach.types import Dispatched, ExpertWeights, Routing

NAMES = {
    "Mixtral": "Mixtral 8x7B",
    "Qwen3": "Qwen3-30B-A3B",
    "DeepSeek-V3": "DeepSeek-V3",
    "OLMoE": "OLMoE-1B-7B",
}


def shape_of(model: str, n_tokens: int) -> Shape:
    """Give the routed part of one layer of a published model, for so many tokens."""
    config = CATALOG[NAMES[model]].config
    assert config.moe is not None
    router = config.moe.router
    return Shape(n_tokens, config.d_model, config.moe.d_ff, router.n_experts, router.top_k)


TOY = Shape(12, 16, 24, 3, 2)
TOKENS = (1, 4, 16, 64, 4096, 16384, 32768)


def kernel_grid(name: str) -> Iterator[tuple[str, Shape]]:
    """Give names and shapes to time: every model in decoding and training, or one small enough to
    interpret.
    """
    if name == "toy":
        yield "toy", TOY
        return
    for model in NAMES:
        for n_tokens in TOKENS:
            yield model, shape_of(model, n_tokens)


@dataclass(frozen=True)
class Case:
    """One operation with kernels of its own, at one size."""

    operation: str
    shape: Shape
    dtype: torch.dtype = torch.bfloat16
    backward: bool = True

    def __str__(self) -> str:
        step = "forward+backward" if self.backward else "forward"
        return f"{self.operation} {self.shape} {str(self.dtype).removeprefix('torch.')} {step}"


@dataclass(frozen=True)
class Inputs:
    """What the operations take: tokens, the decision about them, and the experts' matrices."""

    x: Tensor
    routing: Routing
    weights: ExpertWeights
    proj: Tensor  # (E, D), the router's matrix

    @property
    def leaves(self) -> list[Tensor]:
        """Everything that a gradient may be asked for."""
        return [self.x, self.routing.gates, *_of(self.weights)]

    @property
    def rows(self) -> Tensor:
        """As many rows as choices, for operations that begin after dispatch."""
        return self.x.repeat_interleave(self.routing.top_k, dim=0)


def draw_inputs(shape: Shape, dtype: torch.dtype, device: str, seed: int = 0) -> Inputs:
    """Draw random inputs; on the device "meta" they have a shape and no content."""
    on = {"device": device}
    if device != "meta":
        on["generator"] = torch.Generator(device).manual_seed(seed)
    d, f, n_experts = shape.d_model, shape.d_ff, shape.n_experts

    def normal(*sizes: int) -> Tensor:
        drawn = torch.randn(sizes, dtype=dtype, **on)
        return drawn.mul_(sizes[-1] ** -0.5 if len(sizes) == 3 else 1).requires_grad_()

    x, proj = normal(shape.n_tokens, d), torch.randn(n_experts, d, dtype=dtype, **on) * d**-0.5
    logits = (x.detach() @ proj.T).float()
    gates, expert_ids = logits.softmax(-1).topk(shape.top_k, dim=-1)
    gates = (gates / gates.sum(-1, keepdim=True)).requires_grad_()
    routing = Routing(logits, logits.softmax(-1), gates, expert_ids)
    weights = ExpertWeights(
        w_up=normal(n_experts, f, d), w_down=normal(n_experts, d, f), w_gate=normal(n_experts, f, d)
    )
    return Inputs(x, routing, weights, proj)


def run_case(case: Case, device: str, backend: str = "triton") -> None:
    """Run an operation once, and its backward pass if the case wants it."""
    inputs = draw_inputs(case.shape, case.dtype, device)
    with torch.set_grad_enabled(case.backward):
        out, leaves = call(case.operation, inputs, backend)
    if case.backward:
        torch.autograd.grad(out, leaves, torch.ones_like(out))


def call(operation: str, inputs: Inputs, backend: str) -> tuple[Tensor, list[Tensor]]:
    """Call an operation; give its output and the tensors that it is differentiated by."""
    return _OPERATION[operation](inputs, backend)


def _route(inputs: Inputs, backend: str) -> tuple[Tensor, list[Tensor]]:
    x, proj = inputs.x, inputs.proj.detach().requires_grad_()
    config = RouterConfig(n_experts=len(proj), top_k=inputs.routing.top_k)
    bias = torch.zeros(len(proj), device=x.device)
    return route(x, proj, bias, config, backend=backend).gates, [x, proj]


def _dispatch(inputs: Inputs, backend: str) -> tuple[Tensor, list[Tensor]]:
    return dispatch(inputs.x, inputs.routing, backend=backend)[0], [inputs.x]


def _combine(inputs: Inputs, backend: str) -> tuple[Tensor, list[Tensor]]:
    y = inputs.rows.detach().requires_grad_()
    gates = inputs.routing.gates
    return combine(y, gates, _dispatched(inputs), backend=backend), [y, gates]


def _grouped_mm(inputs: Inputs, backend: str) -> tuple[Tensor, list[Tensor]]:
    rows, w = inputs.rows.detach().requires_grad_(), inputs.weights.w_up
    ends = _dispatched(inputs).expert_offsets
    return grouped_mm(rows, w, ends, backend=backend), [rows, w]


def _grouped_ffn(inputs: Inputs, backend: str) -> tuple[Tensor, list[Tensor]]:
    rows = inputs.rows.detach().requires_grad_()
    ends, weights = _dispatched(inputs).expert_offsets, inputs.weights
    return grouped_ffn(rows, ends, weights, "swiglu", backend=backend), [rows, *_of(weights)]


def _routed_ffn(inputs: Inputs, backend: str) -> tuple[Tensor, list[Tensor]]:
    x, routing, weights = inputs.x, inputs.routing, inputs.weights
    out = routed_ffn(x, routing, weights, "swiglu", backend=backend)
    return out, [x, routing.gates, *_of(weights)]


_OPERATION: dict[str, Callable[[Inputs, str], tuple[Tensor, list[Tensor]]]] = {
    "route": _route,
    "dispatch": _dispatch,
    "grouped_mm": _grouped_mm,
    "grouped_ffn": _grouped_ffn,
    "combine": _combine,
    "routed_ffn": _routed_ffn,
}


def _of(weights: ExpertWeights) -> list[Tensor]:
    return [w for w in (weights.w_up, weights.w_down, weights.w_gate) if w is not None]


def _dispatched(inputs: Inputs) -> Dispatched:
    """Make the record of the dispatch; without content it is only as large as the real one."""
    ids = inputs.routing.expert_ids
    if ids.device.type == "meta":
        n_experts = inputs.routing.n_experts
        count = torch.empty(n_experts, dtype=torch.int64, device="meta")
        return Dispatched(ids.new_empty(ids.numel()), ids, count, count.int())
    return dispatch(inputs.x.detach(), inputs.routing, backend="torch")[1]


def with_kernels() -> tuple[str, ...]:
    """Name the operations that have kernels."""
    return tuple(
        name
        for name, operation in OPERATIONS.items()
        if name in _OPERATION and "triton" in operation.backends
    )


def every_case() -> Iterator[Case]:
    """Give every operation at every model: training, prefill of a few tokens, and decoding."""
    for operation in with_kernels():
        for model in NAMES:
            for n_tokens, backward in ((16384, True), (512, True), (64, False), (1, False)):
                yield Case(operation, shape_of(model, n_tokens), backward=backward)
        for dtype in (torch.float16, torch.float32):
            yield Case(operation, shape_of("OLMoE", 4096), dtype)
        # Widths that no block divides and no 16 bytes align.
        yield Case(operation, replace(TOY, d_model=33, d_ff=50, n_tokens=300))


def few_cases(target: str) -> Iterator[Case]:
    """Give enough cases to meet every kernel where tiles are largest, and the important ones on
    the other targets.
    """
    model = shape_of("Qwen3", 16384)
    if target != "sm_90":
        yield Case("routed_ffn", model, backward=target == "sm_80")
        return
    for operation in with_kernels():
        # Backwards it launches what `routed_ffn` launches too.
        yield Case(operation, model, backward=operation != "grouped_ffn")
    yield Case("routed_ffn", shape_of("Mixtral", 4), backward=False)
