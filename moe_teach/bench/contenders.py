"""Everybody who computes the routed experts from the same tokens, routing and matrices.

Each is a function without arguments that returns the output, and the tensors whose gradients it
can give (none: it is for inference only). Packages that are not installed are left out. Their
interfaces were read from their sources and could not be tried here; `moe_teach.bench.kernels`
compares everybody's answers before it times anybody.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_teach.bench.grid import Shape
from moe_teach.bench.kernel_cases import Inputs
from moe_teach.bench.rivals import mixtral_configs
from moe_teach.ops.backends import using
from moe_teach.ops.routed_ffn import routed_ffn

FUSED = "moe_teach fused"
BY_PARTS = "moe_teach kernel by kernel"
TORCH = "torch grouped_mm"
_OURS: dict[str, tuple[str, Mapping[str, str]]] = {
    FUSED: ("triton", {}),
    BY_PARTS: ("parts", {"dispatch": "triton", "grouped_ffn": "triton", "combine": "triton"}),
    TORCH: (
        "parts",
        {"dispatch": "torch", "grouped_ffn": "composed", "grouped_mm": "torch", "combine": "torch"},
    ),
}


@dataclass(frozen=True)
class Contender:
    """One way to compute the experts: what to call, and what it can be differentiated by."""

    name: str
    forward: Callable[[], Tensor]
    leaves: list[Tensor] = field(default_factory=list)


def contenders(
    inputs: Inputs, shape: Shape, packages: Collection[str] | None = None
) -> Iterator[Contender]:
    """Give everybody who is there: ours first, then torch, transformers, and the specialists.

    Only some of the packages are asked if `packages` names them.
    """
    for name, (backend, wishes) in _OURS.items():
        yield Contender(name, _ours(inputs, backend, wishes), inputs.leaves)
    rivals = {
        "transformers": _transformers,
        "scattermoe": _scattermoe,
        "megablocks": _megablocks,
        "vllm": _vllm,
        "sonicmoe": _sonicmoe,
    }
    for package, build in rivals.items():
        if find_spec(package) is not None and (packages is None or package in packages):
            yield from _built(package, lambda build=build: list(build(inputs, shape)))


def _built(package: str, build: Callable[[], list[Contender]]) -> list[Contender]:
    """Build a package's contenders; where that fails, one that fails again when it is tried."""
    try:
        return build()
    except Exception as problem:  # another release of it, or too little memory
        # The name above ends with its block; the frames of its traceback hold the matrices.
        reason = problem.with_traceback(None)

    def fail() -> Tensor:
        raise reason

    return [Contender(package, fail)]


def reference(inputs: Inputs) -> Tensor:
    """Compute the answer that everybody's is compared with: one matmul per expert and matrix."""
    return routed_ffn(inputs.x, inputs.routing, inputs.weights, "swiglu", backend="sorted")


def _ours(inputs: Inputs, backend: str, wishes: Mapping[str, str]) -> Callable[[], Tensor]:
    def run() -> Tensor:
        with using(**wishes):
            return routed_ffn(inputs.x, inputs.routing, inputs.weights, "swiglu", backend=backend)

    return run


@torch.no_grad()
def _parameter(*matrices: Tensor) -> nn.Parameter:
    """Lay matrices side by side along their rows; a single one is shared, for it may be large."""
    return nn.Parameter(torch.cat(matrices, dim=1) if len(matrices) > 1 else matrices[0].detach())


def _transformers(inputs: Inputs, shape: Shape) -> Iterator[Contender]:
    from transformers.models.mixtral.modeling_mixtral import MixtralExperts

    weights = inputs.weights
    gate_up, down = _parameter(weights.w_gate, weights.w_up), _parameter(weights.w_down)
    for backend, config in mixtral_configs(shape):
        with torch.device("meta"):
            experts = MixtralExperts(config)
        experts.gate_up_proj, experts.down_proj = gate_up, down
        yield _called(f"transformers {backend}", experts, inputs, [gate_up, down])


def _called(name: str, experts: nn.Module, inputs: Inputs, matrices: list[Any]) -> Contender:
    """Make a contender of a module that takes tokens, ids and gates."""
    x, routing = inputs.x, inputs.routing

    def run() -> Tensor:
        return experts(x, routing.expert_ids, routing.gates.to(x.dtype))

    return Contender(name, run, [x, routing.gates, *matrices])


def _scattermoe(inputs: Inputs, shape: Shape) -> Iterator[Contender]:
    from scattermoe.mlp import GLUMLP

    weights, x, routing = inputs.weights, inputs.x, inputs.routing
    with torch.device("meta"):
        mlp = GLUMLP(shape.d_model, shape.d_ff, shape.n_experts, shape.top_k, activation=nn.SiLU())
    mlp.experts.weight = _parameter(weights.w_up, weights.w_gate)
    mlp.output_experts.weight = _parameter(weights.w_down)
    leaves = [x, routing.gates, mlp.experts.weight, mlp.output_experts.weight]
    yield Contender(
        "scattermoe", lambda: mlp(x, routing.gates.to(x.dtype), routing.expert_ids), leaves
    )


def _megablocks(inputs: Inputs, shape: Shape) -> Iterator[Contender]:
    from megablocks.layers.arguments import Arguments
    from megablocks.layers.dmoe import ParallelDroplessMLP

    weights, x, routing = inputs.weights, inputs.x, inputs.routing
    arguments = Arguments(
        hidden_size=shape.d_model,
        ffn_hidden_size=shape.d_ff,
        bias=False,
        return_bias=False,
        activation_fn=F.silu,
        moe_num_experts=shape.n_experts,
        moe_top_k=shape.top_k,
        mlp_type="glu",
        mlp_impl="grouped",
        fp16=x.dtype == torch.float16,
        bf16=x.dtype == torch.bfloat16,
        device=x.device,
    )
    experts = ParallelDroplessMLP(arguments)
    with torch.no_grad():
        experts.mlp.w1.copy_(weights.w_gate.flatten(0, 1))
        experts.mlp.v1.copy_(weights.w_up.flatten(0, 1))
        experts.mlp.w2.copy_(weights.w_down.mT.flatten(0, 1))
    leaves = [x, routing.gates, experts.mlp.w1, experts.mlp.v1, experts.mlp.w2]

    def run() -> Tensor:
        return experts.forward_once(x, routing.gates.to(x.dtype), routing.expert_ids)[0]

    yield Contender("megablocks", run, leaves)


def _vllm(inputs: Inputs, shape: Shape) -> Iterator[Contender]:
    from vllm.model_executor.layers.fused_moe import fused_experts

    weights, x, routing = inputs.weights, inputs.x.detach(), inputs.routing
    gate_up = _parameter(weights.w_gate, weights.w_up).detach()
    down, gates, ids = weights.w_down.detach(), routing.gates.detach(), routing.expert_ids.int()
    yield Contender("vllm", lambda: fused_experts(x, gate_up, down, gates, ids))


def _sonicmoe(inputs: Inputs, shape: Shape) -> Iterator[Contender]:
    """Its layer routes by itself, so its time includes the router: the same choice as ours."""
    from sonicmoe import MoE
    from sonicmoe.enums import ActivationType

    weights, x = inputs.weights, inputs.x
    layer = MoE(
        num_experts=shape.n_experts,
        num_experts_per_tok=shape.top_k,
        hidden_size=shape.d_model,
        intermediate_size=shape.d_ff,
        activation_function=ActivationType.SWIGLU,
        add_bias=False,
        std=0.02,
    ).to(x.device, x.dtype)
    with torch.no_grad():
        layer.router.weight.copy_(inputs.proj)
        # Rows of gate and up take turns.
        layer.c_fc.weight.copy_(torch.stack([weights.w_gate, weights.w_up], 2).flatten(1, 2))
        layer.c_proj.weight.copy_(weights.w_down)
    leaves = [x, layer.c_fc.weight, layer.c_proj.weight]
    yield Contender("sonicmoe with its router", lambda: layer(x)[0], leaves)
