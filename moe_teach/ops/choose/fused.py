"""The plain router without waiting: one launch, or two where the weights need many readers."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from moe_teach.config import RouterConfig, refuse
from moe_teach.ops.choose import MOST_EXPERTS
from moe_teach.ops.choose.kernels import choose_kernel, decide_kernel, partial_logits_kernel
from moe_teach.ops.choose.reference import precise_logits
from moe_teach.ops.route import gates_for, score
from moe_teach.ops.triton_host import INTERPRETED, demand_launchable, triton
from moe_teach.types import Routing

_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_READERS = 132  # processors of an H200: as many programs read the weights fastest
_ONE_READER = 2**17  # weights that one program reads sooner than a second launch begins


@dataclass(frozen=True)
class Tiles:
    """What one program owns: tokens, columns at a time, and parts of the width (1: all of it)."""

    tokens: int
    columns: int
    n_parts: int = 1


def choose_triton(
    x: Tensor,
    weight: Tensor,
    expert_bias: Tensor | None,
    config: RouterConfig,
    tiles: Tiles | None = None,
) -> Routing:
    """Decide in one or two kernels; the backward pass is that of the reference.

    Raises:
        ValueError: if the kernel does not know the dtype or there are too many experts; where
            kernels are interpreted, also for broken logits.
    """
    for name, tensor in {"x": x, "weight": weight}.items():
        refuse(
            tensor.dtype not in _FLOATS,
            f"{name} holds {tensor.dtype}, but the router's kernel computes in float32: use "
            "bfloat16, float16 or float32, or the backend 'reference'.",
        )
    refuse(
        len(weight) > MOST_EXPERTS,
        f"The kernel chooses from at most {MOST_EXPERTS} experts, not {len(weight)}: use the "
        "backend 'reference'.",
    )
    demand_launchable(x=x, weight=weight, expert_bias=expert_bias)
    if INTERPRETED.value:
        score(
            precise_logits(x.detach(), weight.detach()), config.score_fn
        )  # refuses what is broken
    tiles = tiles or choose_tiles(*x.shape, len(weight), weight.element_size())
    return Routing(*_Choose.apply(x, weight, expert_bias, config, tiles))


def choose_tiles(n_tokens: int, width: int, n_experts: int, itemsize: int) -> Tiles:
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
        return Tiles(tokens, 256 if INTERPRETED.value else columns)
    slices = triton.cdiv(n_experts, min(64, experts)) * n_programs
    part_width = max(128, triton.cdiv(width, triton.cdiv(_READERS, slices)))
    return Tiles(16, 256 // itemsize, triton.cdiv(width, part_width))


class _Choose(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        weight: Tensor,
        expert_bias: Tensor | None,
        config: RouterConfig,
        tiles: Tiles,
    ) -> tuple[Tensor, ...]:
        shape = len(x), len(weight)
        logits, probs = (x.new_empty(shape, dtype=torch.float32) for _ in range(2))
        gates = x.new_empty(len(x), config.top_k, dtype=torch.float32)
        expert_ids = x.new_empty(len(x), config.top_k, dtype=torch.int64)
        outputs = logits, probs, gates, expert_ids
        if len(x):
            launch(x, weight, expert_bias, outputs, config, tiles)
        ctx.save_for_backward(x, weight, logits, expert_ids)
        ctx.config = config
        ctx.mark_non_differentiable(expert_ids)
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight, logits, expert_ids = ctx.saved_tensors
        dx = dw = None
        dlogits = _through_choice(logits, expert_ids, gradients[:3], ctx.config)
        if ctx.needs_input_grad[0]:
            dx = (dlogits @ weight.to(dlogits.dtype)).to(x.dtype)
        if ctx.needs_input_grad[1]:
            dw = (dlogits.T @ x.to(dlogits.dtype)).to(weight.dtype)
        return dx, dw, None, None, None


def _through_choice(
    logits: Tensor, expert_ids: Tensor, gradients: tuple[Tensor | None, ...], config: RouterConfig
) -> Tensor:
    """Bring the gradients of logits, probabilities and gates back to the logits."""
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        probs = leaf.softmax(dim=-1) if config.score_fn == "softmax" else leaf.sigmoid()
        gates = gates_for(config, leaf, probs, expert_ids)
        outputs = (leaf * 1.0, probs, gates)
    arrived = [i for i, gradient in enumerate(gradients) if gradient is not None]
    if not arrived:
        return torch.zeros_like(logits)
    (dlogits,) = torch.autograd.grad(
        [outputs[i] for i in arrived], leaf, [gradients[i] for i in arrived]
    )
    return dlogits


def _normalizes(config: RouterConfig) -> bool:
    # A softmax over the chosen logits is the softmax over all, renormalised.
    return config.normalize_gates or config.topk_first


def launch(
    x: Tensor,
    weight: Tensor,
    expert_bias: Tensor | None,
    outputs: tuple[Tensor, ...],
    config: RouterConfig,
    tiles: Tiles,
    parts: Tensor | None = None,
) -> None:
    """Let the kernels fill logits, probs, gates and expert_ids, for at least one token.

    `parts`, (n_parts, T, E) in float32, is where the parts of the logits wait for each other.
    """
    (n_tokens, width), n_experts = x.shape, len(weight)
    n_parts = tiles.n_parts
    bias = None if expert_bias is None else expert_bias.contiguous()
    strides = (*x.stride(), *weight.stride())
    decision = _decision(config, weight)
    own = {"TOKENS": tiles.tokens, "EXPERTS": decision["EXPERTS"], "COLUMNS": tiles.columns}
    own |= _widths(x.dtype, weight.dtype)
    n_blocks = triton.cdiv(n_tokens, tiles.tokens)
    if n_parts == 1:
        sizes = (n_tokens, n_experts, width, config.gate_scale)
        choose_kernel[(n_blocks,)](x, weight, bias, *outputs, *strides, *sizes, **own | decision)
        return
    if parts is None:
        parts = x.new_empty(n_parts, n_tokens, n_experts, dtype=torch.float32)
    part_width = triton.cdiv(triton.cdiv(width, n_parts), tiles.columns) * tiles.columns
    own["EXPERTS"] = min(64, own["EXPERTS"])
    grid = (n_blocks, triton.cdiv(n_experts, own["EXPERTS"]), n_parts)
    sizes = (n_tokens, n_experts, width, part_width)
    partial_logits_kernel[grid](x, weight, parts, *strides, *sizes, **own)
    tokens = 16 if INTERPRETED.value else 1
    sizes = (n_tokens, n_experts, n_parts, config.gate_scale)
    grid = (triton.cdiv(n_tokens, tokens),)
    decide_kernel[grid](parts, bias, *outputs, *sizes, TOKENS=tokens, **decision)


def _widths(x: torch.dtype, weight: torch.dtype) -> dict[str, int | bool]:
    """Say how numbers of these dtypes are multiplied without rounding either."""
    is_split = (x, weight) == (torch.bfloat16, torch.float32)
    return {"WIDEN": x != weight and not is_split, "PIECES": 3 if is_split else 1}


def _decision(config: RouterConfig, weight: Tensor) -> dict[str, int | bool]:
    experts = max(16, triton.next_power_of_2(len(weight)))
    return {
        "TOP_K": config.top_k,
        "SOFTMAX": config.score_fn == "softmax",
        "NORMALIZE": _normalizes(config),
        "EXPERTS": experts,
        "CHOICES": triton.next_power_of_2(config.top_k),
        "num_warps": 8 if experts >= 128 else 4,
        "num_stages": 3 if experts * weight.element_size() <= 1024 else 2,
    }
