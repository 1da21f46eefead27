"""The plain router without waiting: one launch, or two where the weights need many readers."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from moe_teach.config import RouterConfig
from moe_teach.ops.demand import demand_operands
from moe_teach.ops.operation import KERNEL_DTYPES
from moe_teach.ops.registered import registered
from moe_teach.ops.route import MOST_ROUTED_EXPERTS, demand_decidable, precise_logits, score_of
from moe_teach.ops.route.kernels import decide_kernel, partial_logits_kernel, route_kernel
from moe_teach.ops.triton_host import INTERPRETED, triton
from moe_teach.types import Routing

_READERS = 132  # processors of an H200: as many programs read the weights fastest
# Up to so many numbers, one program has read all weights before a second launch would begin.
_ONE_READER = 2**17


class RouteTiles(NamedTuple):
    """What one program owns: tokens, columns at a time, and parts of the width (1: all of it)."""

    tokens: int
    columns: int
    n_parts: int = 1


class Plan(NamedTuple):
    """What a configuration means for the kernel.

    `gates` says what gates are: "plain" probabilities of the chosen, those with a "sum" of one, or
    a softmax over the "chosen" logits alone.
    """

    top_k: int
    score_fn: str
    gates: str
    scale: float

    @classmethod
    def of(cls, config: RouterConfig) -> "Plan":
        """Read the plan off a configuration."""
        gates = "sum" if config.normalize_gates else "plain"
        gates = "chosen" if config.topk_first else gates
        return cls(config.top_k, config.score_fn, gates, config.gate_scale)


def route_triton(
    x: Tensor,
    weight: Tensor,
    expert_bias: Tensor | None,
    config: RouterConfig,
    tiles: RouteTiles | None = None,
) -> Routing:
    """Decide in one or two kernels.

    Raises:
        ValueError: if the kernel does not know the dtype or there are too many experts; where
            kernels are interpreted, also for broken logits.
    """
    if len(weight) > MOST_ROUTED_EXPERTS:
        raise ValueError(
            f"The kernel chooses from at most {MOST_ROUTED_EXPERTS} experts, not {len(weight)}: "
            "use the backend 'reference'."
        )
    demand_operands(KERNEL_DTYPES, x=x, weight=weight, expert_bias=expert_bias)
    return Routing(*_route(x, weight, expert_bias, *Plan.of(config), tiles))


def route_tiles(n_tokens: int, width: int, n_experts: int, itemsize: int) -> RouteTiles:
    """Choose what one program owns; not tuned on a GPU.

    Many tokens fill the machine by themselves. With few, programs share the width, unless there
    is so little weight that one reader is enough. What is in flight stays under 64 KB of shared
    memory, which is all that AMD has.
    """
    experts = max(16, triton.next_power_of_2(n_experts))
    tokens = max(16, min(64, 2**12 // experts, triton.next_power_of_2(n_tokens)))
    # Float32 is multiplied without tensor cores: more columns would not fit in registers.
    most = min(256 // itemsize, 2**15 // itemsize**2 // experts)
    columns = max(16, min(most, triton.next_power_of_2(width)))
    n_programs = triton.cdiv(n_tokens, tokens)
    if INTERPRETED.value or n_programs >= _READERS // 2 or n_experts * width <= _ONE_READER:
        return RouteTiles(tokens, 256 if INTERPRETED.value else columns)
    slices = triton.cdiv(n_experts, min(64, experts)) * n_programs
    part_width = max(128, triton.cdiv(width, triton.cdiv(_READERS, slices)))
    return RouteTiles(16, 256 // itemsize, triton.cdiv(width, part_width))


def _decided(
    x: Tensor,
    weight: Tensor,
    expert_bias: Tensor | None,
    top_k: int,
    score_fn: str,
    gates: str,
    scale: float,
    tiles: Sequence[int] | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    plan = Plan(top_k, score_fn, gates, scale)
    outputs = _empty(x, weight, expert_bias, *plan, tiles)
    if INTERPRETED.value:  # here somebody can look
        logits = precise_logits(x, weight)
        probs = score_of(logits, score_fn)
        demand_decidable(logits, probs if expert_bias is None else probs + expert_bias, score_fn)
    if len(x):
        found = route_tiles(*x.shape, len(weight), weight.element_size())
        launch(x, weight, expert_bias, outputs, plan, RouteTiles(*tiles) if tiles else found)
    return outputs


def _empty(x, weight, expert_bias, top_k, score_fn, gates, scale, tiles) -> tuple[Tensor, ...]:
    shape = x.shape[0], weight.shape[0]
    logits, probs = (x.new_empty(shape, dtype=torch.float32) for _ in range(2))
    gates = x.new_empty(x.shape[0], top_k, dtype=torch.float32)
    return logits, probs, gates, x.new_empty(x.shape[0], top_k, dtype=torch.int64)


def _save(ctx, inputs, output) -> None:
    x, weight, _, _, ctx.score_fn, ctx.gates, ctx.scale, _ = inputs
    logits, probs, _, expert_ids = output
    ctx.save_for_backward(x, weight, logits, probs, expert_ids)
    ctx.mark_non_differentiable(expert_ids)
    ctx.set_materialize_grads(False)


def _backward(ctx, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
    x, weight, logits, probs, expert_ids = ctx.saved_tensors
    dlogits, dprobs, dgates = gradients[:3]
    dlogits = torch.zeros_like(logits) if dlogits is None else dlogits.clone()
    dprobs = torch.zeros_like(probs) if dprobs is None else dprobs.clone()
    if dgates is not None:
        dgates = dgates * ctx.scale
        source, target = (logits, dlogits) if ctx.gates == "chosen" else (probs, dprobs)
        target.scatter_add_(
            -1, expert_ids, _through_gates(ctx, source.gather(-1, expert_ids), dgates)
        )
    if ctx.score_fn == "softmax":
        dlogits += probs * (dprobs - (dprobs * probs).sum(dim=-1, keepdim=True))
    else:
        dlogits += dprobs * probs * (1 - probs)
    dx = dw = None
    if ctx.needs_input_grad[0]:
        dx = (dlogits @ weight.to(dlogits.dtype)).to(x.dtype)
    if ctx.needs_input_grad[1]:
        dw = (dlogits.T @ x.to(dlogits.dtype)).to(weight.dtype)
    return dx, dw, *[None] * 6


def _through_gates(ctx, chosen: Tensor, dgates: Tensor) -> Tensor:
    """Bring the gradient of the gates back to the probabilities, or logits, of the chosen."""
    if ctx.gates == "plain":
        return dgates
    if ctx.gates == "chosen":
        gates = chosen.softmax(dim=-1)
        return gates * (dgates - (dgates * gates).sum(dim=-1, keepdim=True))
    total, tiny = chosen.sum(dim=-1, keepdim=True), torch.finfo(chosen.dtype).tiny
    safe = total.clamp_min(tiny)
    # Where the sum underflows, it is a constant that nothing moves.
    pull = (dgates * chosen / safe).sum(dim=-1, keepdim=True).where(total >= tiny, 0.0)
    return (dgates - pull) / safe


_route = registered("route", _decided, _empty, _save, _backward)


def launch(
    x: Tensor,
    weight: Tensor,
    expert_bias: Tensor | None,
    outputs: tuple[Tensor, ...],
    plan: Plan,
    tiles: RouteTiles,
    parts: Tensor | None = None,
) -> None:
    """Let the kernels fill logits, probs, gates and expert_ids, for at least one token.

    `parts`, (n_parts, T, E) in float32, is where the parts of the logits wait for each other.
    """
    (n_tokens, width), n_experts = x.shape, len(weight)
    n_parts = tiles.n_parts
    bias = None if expert_bias is None else expert_bias.contiguous()
    strides = (*x.stride(), *weight.stride())
    decision = _constants(plan, weight)
    own = {"TOKENS": tiles.tokens, "EXPERTS": decision["EXPERTS"], "COLUMNS": tiles.columns}
    own |= _widths(x.dtype, weight.dtype)
    n_blocks = triton.cdiv(n_tokens, tiles.tokens)
    if n_parts == 1:
        sizes = (n_tokens, n_experts, width, plan.scale)
        route_kernel[(n_blocks,)](x, weight, bias, *outputs, *strides, *sizes, **own | decision)
        return
    if parts is None:
        parts = x.new_empty(n_parts, n_tokens, n_experts, dtype=torch.float32)
    part_width = triton.cdiv(triton.cdiv(width, n_parts), tiles.columns) * tiles.columns
    own["EXPERTS"] = min(64, own["EXPERTS"])
    grid = (n_blocks, triton.cdiv(n_experts, own["EXPERTS"]), n_parts)
    sizes = (n_tokens, n_experts, width, part_width)
    partial_logits_kernel[grid](x, weight, parts, *strides, *sizes, **own)
    tokens = 16 if INTERPRETED.value else 1
    sizes = (n_tokens, n_experts, n_parts, plan.scale)
    grid = (triton.cdiv(n_tokens, tokens),)
    decide_kernel[grid](parts, bias, *outputs, *sizes, TOKENS=tokens, **decision)


def _widths(x: torch.dtype, weight: torch.dtype) -> dict[str, int | bool]:
    """Say how numbers of these dtypes are multiplied without rounding either."""
    is_split = (x, weight) == (torch.bfloat16, torch.float32)
    return {"WIDEN": x != weight and not is_split, "PIECES": 3 if is_split else 1}


def _constants(plan: Plan, weight: Tensor) -> dict[str, int | bool | str]:
    experts = max(16, triton.next_power_of_2(len(weight)))
    return {
        "TOP_K": plan.top_k,
        "SOFTMAX": plan.score_fn == "softmax",
        "GATES": plan.gates,
        "EXPERTS": experts,
        "CHOSEN": triton.next_power_of_2(plan.top_k),
        "num_warps": 8 if experts >= 128 else 4,
        "num_stages": 3 if experts * weight.element_size() <= 1024 else 2,
    }
