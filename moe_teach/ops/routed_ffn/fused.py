"""The whole work of the routed experts without a sorted copy of the tokens.

    lay out       which row every choice gets, and how many rows each expert has
    map           which expert owns which tile
    up            inner[n] = activation of expert e on x[token of row n]     gathered while loading
    down          y[n] = gates[t, k] * w_down[e] @ inner[n]                  weighed before storing
    collect       out[t] = sum over k of y[slot[t, k]]                       each token reads K rows

Five launches (six for many choices), and the host waits for none: grids are upper bounds, and the
number of rows is only known on the device, also where choices are dropped.

Saved for the backward pass besides what the caller holds anyway (x, gates, matrices): the inner
rows before the activation, 2 * T * K * F numbers for SwiGLU and T * K * F for the others, and 12
bytes per choice for its slot and its way back. Not saved: sorted copies of x or of its gradient,
the activation, the answers. That is the bound the papers on memory-saving backward passes reach
without computing the first half again.
"""

from collections.abc import Sequence

from torch import Tensor

from moe_teach.config import Nonlinearity
from moe_teach.ops.demand import (
    demand_expert_ids_in_sight,
    demand_kernel_activation,
    demand_no_biases,
    demand_operands,
    in_one_precision,
)
from moe_teach.ops.dispatch.layout import lay_out
from moe_teach.ops.fused_rows import collect
from moe_teach.ops.grouped_ffn.fused import (
    gradient_shapes,
    matrix_gradients,
    shapes_kept,
)
from moe_teach.ops.grouped_ffn.kernels_backward import inner_gradients, rows_gradient
from moe_teach.ops.grouped_ffn.kernels_forward import answers, inner_rows
from moe_teach.ops.operation import KERNEL_DTYPES
from moe_teach.ops.registered import nothing, or_none, registered, somebody_differentiates
from moe_teach.ops.routed_ffn.gate_gradient import gate_gradient
from moe_teach.ops.tile_product import Ragged, with_whole_rows
from moe_teach.types import ExpertWeights, Routing


def routed_ffn_triton(
    x: Tensor, routing: Routing, weights: ExpertWeights, activation: Nonlinearity
) -> Tensor:
    """Run every token through its experts, from its own row to its own row; differentiable once.

    On the CPU ids out of range are refused, as by the other backends. On a GPU they count as
    dropped, because looking for them would mean waiting.

    Raises:
        ValueError: for dtypes and activations the kernels do not compute, biases of experts, or
            tensors on the wrong device.
    """
    ids, gates, n_experts = routing.expert_ids, routing.gates, len(weights.w_up)
    demand_expert_ids_in_sight(ids, n_experts)
    tokens, *matrices = in_one_precision(x, weights.w_up, weights.w_down, weights.w_gate)
    demand_kernel_activation(activation, weights.w_gate is not None)
    demand_no_biases(weights)
    given = dict(zip(("w_up", "w_down", "w_gate"), matrices, strict=True))
    others = {"gates": gates, "expert_ids": ids, "kept": routing.kept}
    demand_operands(KERNEL_DTYPES, x=tokens, **given, **others)
    layout = lay_out(ids, n_experts, routing.kept)
    ends, slot = layout.dispatched.expert_offsets, layout.dispatched.slot
    keep = somebody_differentiates(tokens, gates, *matrices)
    out = _routed_ffn(tokens, gates, *matrices, ends, slot, layout.pair_idx, activation, keep)[0]
    return out.to(x.dtype)


def _forward(
    x: Tensor,
    gates: Tensor,
    w_up: Tensor,
    w_down: Tensor,
    w_gate: Tensor | None,
    ends: Tensor,
    slot: Tensor,
    pair: Tensor,
    activation: str,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    ragged = Ragged.cut(ends, len(pair), w_up, pair, gates)
    inner, up, gate = inner_rows(x, w_up, w_gate, ragged, activation, keep=keep)
    out = collect(answers(inner, w_down, ragged), slot)
    return out, nothing(x) if up is None else up, nothing(x) if gate is None else gate


def _shapes(x, gates, w_up, w_down, w_gate, ends, slot, pair, activation, keep):
    out = x.new_empty(x.shape[0], w_down.shape[1])
    return out, *shapes_kept(x, pair.shape[0], w_up, w_gate, keep)


def _save(ctx, inputs, output) -> None:
    *tensors, ctx.activation, _ = inputs
    ctx.save_for_backward(*tensors, *output[1:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _backward(ctx, dout: Tensor, *_: None) -> tuple[Tensor | None, ...]:
    wanted = list(ctx.needs_input_grad[:5])
    found = _gradients(dout, *ctx.saved_tensors, ctx.activation, wanted)
    return *map(or_none, found, wanted), *[None] * 5


def _computed(
    dout: Tensor,
    x: Tensor,
    gates: Tensor,
    w_up: Tensor,
    w_down: Tensor,
    w_gate: Tensor | None,
    ends: Tensor,
    slot: Tensor,
    pair: Tensor,
    up: Tensor,
    gate: Tensor,
    activation: str,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    dout = with_whole_rows(dout)  # once for both kernels that read it
    ragged = Ragged.cut(ends, len(pair), w_up, pair, gates)
    kept_gate = None if w_gate is None else gate
    inner = inner_gradients(dout, w_down, up, kept_gate, ragged, activation, wants_gates=wanted[1])
    dx, dgates = nothing(x), nothing(x)
    if wanted[0]:
        dx = collect(rows_gradient(inner.dup, inner.dgate, w_up, w_gate, ragged), slot)
    if wanted[1]:
        dgates = gate_gradient(inner.parts, slot, gates.dtype)
    return dx, dgates, *matrix_gradients(x, dout, inner, ragged, wanted[2:])


_routed_ffn = registered("routed_ffn", _forward, _shapes, _save, _backward)
_gradients = registered(
    "routed_ffn_backward",
    _computed,
    lambda dout, *others: gradient_shapes(others[:5], others[-1]),
)
