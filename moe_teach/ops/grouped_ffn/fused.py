"""The feed-forward of all experts in two kernels: up with the activation, and down.

Saved for the backward pass: the rows, the matrices, and the inner rows before the activation.
Only the last is new memory: 2 * N * F numbers for SwiGLU (up and gate), N * F for the others. The
activation is computed again. Without gradients nothing is kept but N * F inner rows between the
two kernels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from moe_teach.config import Nonlinearity
from moe_teach.ops.demand import (
    demand_kernel_activation,
    demand_no_biases,
    demand_operands,
)
from moe_teach.ops.grouped_ffn.kernels_backward import (
    InnerGradients,
    inner_gradients,
    rows_gradient,
)
from moe_teach.ops.grouped_ffn.kernels_forward import answers, inner_rows
from moe_teach.ops.grouped_mm.weight_gradient import weight_gradient
from moe_teach.ops.operation import KERNEL_DTYPES
from moe_teach.ops.registered import nothing, or_none, registered, somebody_differentiates
from moe_teach.ops.tile_product import Ragged, with_whole_rows
from moe_teach.types import ExpertWeights

Gradients = tuple[Tensor, Tensor, Tensor, Tensor]


def grouped_ffn_triton(
    rows: Tensor, expert_offsets: Tensor, weights: ExpertWeights, activation: Nonlinearity
) -> Tensor:
    """Run every row through its expert in Triton; differentiable once.

    Raises:
        ValueError: for dtypes and activations the kernels do not compute, biases of experts, or
            tensors on the wrong device.
    """
    demand_kernel_activation(activation, weights.w_gate is not None)
    demand_no_biases(weights)
    given = {"w_up": weights.w_up, "w_down": weights.w_down, "w_gate": weights.w_gate}
    demand_operands(KERNEL_DTYPES, rows=rows, expert_offsets=expert_offsets, **given)
    keep = somebody_differentiates(rows, *given.values())
    return _grouped_ffn(rows, *given.values(), expert_offsets, activation, keep)[0]


def matrix_gradients(
    x: Tensor, dout: Tensor, inner: InnerGradients, ragged: Ragged, wanted: Sequence[bool]
) -> list[Tensor]:
    """Give the gradients of w_up, w_down and w_gate: `nothing` for those that are not wanted."""
    ends, pair, top_k = ragged.tiles.ends, ragged.pair, ragged.top_k
    sides = (
        (inner.dup, x, {"right_pair": pair}),
        (dout, inner.inner, {"left_pair": pair}),
        (inner.dgate, x, {"right_pair": pair}),
    )
    return [
        weight_gradient(left, right, ends, top_k=top_k, **where) if want else nothing(x)
        for (left, right, where), want in zip(sides, wanted, strict=True)
    ]


def _forward(
    rows: Tensor,
    w_up: Tensor,
    w_down: Tensor,
    w_gate: Tensor | None,
    expert_offsets: Tensor,
    activation: str,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    ragged = Ragged.cut(expert_offsets, rows.shape[0], w_up)
    inner, up, gate = inner_rows(rows, w_up, w_gate, ragged, activation, keep=keep)
    y = answers(inner, w_down, ragged)
    return y, nothing(rows) if up is None else up, nothing(rows) if gate is None else gate


def _shapes(rows, w_up, w_down, w_gate, expert_offsets, activation, keep) -> tuple[Tensor, ...]:
    y = rows.new_empty(rows.shape[0], w_down.shape[1])
    return y, *shapes_kept(rows, rows.shape[0], w_up, w_gate, keep)


def shapes_kept(
    x: Tensor, n_rows: int, w_up: Tensor, w_gate: Tensor | None, keep: bool
) -> tuple[Tensor, Tensor]:
    """Give the shapes of what a forward pass keeps: the inner rows before the activation."""
    up = x.new_empty(n_rows, w_up.shape[1]) if keep else nothing(x)
    return up, nothing(x) if w_gate is None else torch.empty_like(up)


def _save(ctx, inputs, output) -> None:
    *tensors, ctx.activation, _ = inputs
    ctx.save_for_backward(*tensors, *output[1:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _backward(ctx, dy: Tensor, *_: None) -> tuple[Tensor | None, ...]:
    wanted = list(ctx.needs_input_grad[:4])
    found = _gradients(dy, *ctx.saved_tensors, ctx.activation, wanted)
    return *map(or_none, found, wanted), None, None, None


def _computed(
    dy: Tensor,
    rows: Tensor,
    w_up: Tensor,
    w_down: Tensor,
    w_gate: Tensor | None,
    expert_offsets: Tensor,
    up: Tensor,
    gate: Tensor,
    activation: str,
    wanted: Sequence[bool],
) -> Gradients:
    dy = with_whole_rows(dy)  # once for both kernels that read it
    ragged = Ragged.cut(expert_offsets, rows.shape[0], w_up)
    kept_gate = None if w_gate is None else gate
    inner = inner_gradients(dy, w_down, up, kept_gate, ragged, activation)
    drows = nothing(rows)
    if wanted[0]:
        drows = rows_gradient(inner.dup, inner.dgate, w_up, w_gate, ragged)
    return drows, *matrix_gradients(rows, dy, inner, ragged, wanted[1:])


def gradient_shapes(tensors: Sequence[Tensor | None], wanted: Sequence[bool]) -> tuple[Tensor, ...]:
    """Give the shapes of the wanted gradients of these tensors; the first one is there."""
    return tuple(
        like.new_empty(like.shape) if like is not None and want else nothing(tensors[0])
        for like, want in zip(tensors, wanted, strict=True)
    )


_grouped_ffn = registered("grouped_ffn", _forward, _shapes, _save, _backward)
_gradients = registered(
    "grouped_ffn_backward",
    _computed,
    lambda dy, *others: gradient_shapes(others[:4], others[-1]),
)
