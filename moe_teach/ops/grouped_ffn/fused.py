"""The feed-forward of all experts in two kernels: up with the activation, and down.

Saved for the backward pass: the rows, the matrices, and the inner rows before the activation.
Only the last is new memory: 2 * N * F numbers for SwiGLU (up and gate), N * F for the others. The
activation is computed again. Without gradients nothing is kept but N * F inner rows between the
two kernels.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from moe_teach.config import Activation
from moe_teach.ops.activation import demand_activation
from moe_teach.ops.grouped_ffn.down import answers
from moe_teach.ops.grouped_ffn.down_backward import InnerGradients, inner_gradients
from moe_teach.ops.grouped_ffn.ragged import Ragged
from moe_teach.ops.grouped_ffn.up import inner_rows
from moe_teach.ops.grouped_ffn.up_backward import rows_gradient
from moe_teach.ops.grouped_mm.fused import demand_operands
from moe_teach.ops.grouped_mm.weight_gradient import weight_gradient
from moe_teach.ops.tile_product import with_whole_rows
from moe_teach.types import ExpertWeights


def grouped_ffn_triton(
    rows: Tensor, expert_offsets: Tensor, weights: ExpertWeights, activation: Activation
) -> Tensor:
    """Run every row through its expert in Triton; differentiable once.

    Raises:
        ValueError: for dtypes the kernels do not multiply, or tensors on the wrong device.
    """
    matrices = (weights.w_up, weights.w_down, weights.w_gate)
    demand_matrices(*matrices, activation)
    demand_operands(rows=rows, w_up=weights.w_up, expert_offsets=expert_offsets)
    keep = somebody_differentiates(rows, *matrices)
    return _GroupedFFN.apply(rows, *matrices, expert_offsets, activation, keep)


def somebody_differentiates(*tensors: Tensor | None) -> bool:
    """Tell whether a backward pass can follow: inside a function of autograd it cannot be seen."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def demand_matrices(
    w_up: Tensor, w_down: Tensor, w_gate: Tensor | None, activation: Activation
) -> None:
    """Refuse an activation that does not exist or does not fit the matrices."""
    demand_activation(activation, w_gate is not None)
    demand_operands(w_up=w_up, w_down=w_down, w_gate=w_gate)


class _GroupedFFN(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, w_up, w_down, w_gate, expert_offsets, activation, keep) -> Tensor:
        ragged = Ragged(expert_offsets, len(rows))
        inner, up, gate = inner_rows(rows, w_up, w_gate, ragged, activation, keep=keep)
        ctx.save_for_backward(rows, w_up, w_down, w_gate, up, gate, expert_offsets)
        ctx.activation = activation
        return answers(inner, w_down, ragged)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
        rows, w_up, w_down, w_gate, up, gate, expert_offsets = ctx.saved_tensors
        dy = with_whole_rows(dy)  # once for both kernels that read it
        ragged = Ragged(expert_offsets, len(rows))
        inner = inner_gradients(dy, w_down, up, gate, ragged, ctx.activation)
        wants_rows, *wants_matrices = ctx.needs_input_grad[:4]
        drows = rows_gradient(inner.dup, inner.dgate, w_up, w_gate, ragged) if wants_rows else None
        return drows, *matrix_gradients(rows, dy, inner, ragged, wants_matrices), *[None] * 3


def matrix_gradients(
    x: Tensor, dout: Tensor, inner: InnerGradients, ragged: Ragged, wanted: list[bool]
) -> list[Tensor | None]:
    """Give the gradients of w_up, w_down and w_gate, those that are wanted."""
    ends, choice, top_k = ragged.expert_offsets, ragged.choice, ragged.top_k
    sides = (
        (inner.dup, x, {"right_choice": choice}),
        (dout, inner.inner, {"left_choice": choice}),
        (inner.dgate, x, {"right_choice": choice}),
    )
    return [
        weight_gradient(left, right, ends, top_k=top_k, **where) if want else None
        for (left, right, where), want in zip(sides, wanted, strict=True)
    ]
