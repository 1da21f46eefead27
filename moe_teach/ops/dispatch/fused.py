"""Dispatch and combine as kernels, without a sort and without waiting.

Dispatch is two kernels: one finds the rows of all choices, one copies the tokens there (many
choices cost one more for counting). The host waits for the device only when choices were dropped,
because then it has to know the number of rows; in a graph that is a size to be known later.
Combine is one kernel forward, in which a program owns some tokens and columns and collects their
rows, and one backward, in which a program owns some pairs of token and choice: it reads the
gradient of their tokens once and finishes both

    dy[slot[t, k]]  = gates[t, k] * dout[t]
    dgates[t, k]    = dout[t] . y[slot[t, k]]

The K programs of one token run side by side, so that its gradient comes from memory once.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from moe_teach.ops.demand import demand_expert_ids_in_sight, demand_operands
from moe_teach.ops.dispatch.layout import lay_out
from moe_teach.ops.fused_rows import FLOATS, collect, row_tile, spread, sum_dtype
from moe_teach.ops.registered import nothing, or_none, registered
from moe_teach.ops.triton_host import tl, triton
from moe_teach.types import Dispatched, Routing


def dispatch_triton(x: Tensor, routing: Routing) -> tuple[Tensor, Dispatched]:
    """Lay the choices out and copy every token to its rows.

    On the CPU ids out of range are refused, as by the other backends. On a GPU they count as
    dropped, because looking for them would mean waiting.
    """
    ids, kept = routing.expert_ids, routing.kept
    demand_operands(FLOATS, x=x, expert_ids=ids, kept=kept)
    demand_expert_ids_in_sight(ids, routing.n_experts)
    record = lay_out(ids, routing.n_experts, kept).dispatched
    if kept is not None:
        record = replace(record, token_idx=_kept_rows(record.token_idx, record.expert_offsets))
    return _spread(x, record.slot, record.token_idx.shape[0]), record


def combine_triton(y: Tensor, gates: Tensor, dispatched: Dispatched) -> Tensor:
    """Each token collects its rows, weighted, in the precision of the gates."""
    demand_operands(FLOATS, y=y, gates=gates, slot=dispatched.slot)
    return _collect(y, dispatched.slot, gates)


def _of_kept(token_idx: Tensor, expert_offsets: Tensor) -> Tensor:
    # A copy, because no operator may return a part of its arguments.
    return token_idx[: int(expert_offsets[-1])].clone()


def _some(token_idx: Tensor, expert_offsets: Tensor) -> Tensor:
    return token_idx.new_empty(torch.library.get_ctx().new_dynamic_size())


def _copies(x: Tensor, slot: Tensor, n_rows: int) -> Tensor:
    return spread(x, slot, n_rows)


def _save_slot(ctx, inputs, output) -> None:
    ctx.save_for_backward(inputs[1])


def _sum_copies(ctx, drows: Tensor) -> tuple[Tensor, None, None]:
    (slot,) = ctx.saved_tensors
    return _collect(drows, slot, None), None, None


def _mixture(rows: Tensor, slot: Tensor, gates: Tensor | None) -> Tensor:
    return collect(rows, slot, gates)


def _save_mixture(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _split_mixture(ctx, dout: Tensor) -> tuple[Tensor | None, ...]:
    rows, slot, gates = ctx.saved_tensors
    if gates is None:
        return _spread(dout, slot, rows.shape[0]), None, None
    wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[2]]
    dy, dgates = _combine_gradients(dout, rows, gates, slot, wanted)
    return or_none(dy, wanted[0]), None, or_none(dgates, wanted[1])


def _both_gradients(
    dout: Tensor, y: Tensor, gates: Tensor, slot: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    dy, dgates = combine_backward(dout, y, gates, slot, tuple(wanted))
    return nothing(y) if dy is None else dy, nothing(gates) if dgates is None else dgates


_kept_rows = registered("kept_rows", _of_kept, _some)
_spread = registered(
    "spread",
    _copies,
    lambda x, slot, n_rows: x.new_empty(n_rows, x.shape[1]),
    _save_slot,
    _sum_copies,
)
_collect = registered(
    "collect",
    _mixture,
    lambda rows, slot, gates: rows.new_empty(slot.shape[0], rows.shape[1]),
    _save_mixture,
    _split_mixture,
)
_combine_gradients = registered(
    "combine_backward",
    _both_gradients,
    lambda dout, y, gates, slot, wanted: tuple(
        like.new_empty(like.shape) if is_wanted else nothing(like)
        for like, is_wanted in zip((y, gates), wanted, strict=True)
    ),
)


def combine_backward(
    dout: Tensor,
    y: Tensor,
    gates: Tensor,
    slot: Tensor,
    wanted: tuple[bool, bool] = (True, True),
) -> tuple[Tensor | None, Tensor | None]:
    """Give the gradients of the answers (N, D) and of the gates (T, K), those that are wanted.

    A dropped gate has gradient 0. Rows of `y` that no slot names get no gradient: what stands in
    memory there.
    """
    dy, dgates = (
        torch.empty_like(tensor, memory_format=torch.contiguous_format) if is_wanted else None
        for tensor, is_wanted in zip((y, gates), wanted, strict=True)
    )
    if y.numel() and slot.numel():
        _launch(dout, y, gates, slot, dy, dgates)
    elif dgates is not None:
        dgates.zero_()
    return dy, dgates


def _launch(
    dout: Tensor,
    y: Tensor,
    gates: Tensor,
    slot: Tensor,
    dy: Tensor | None,
    dgates: Tensor | None,
    pairs: int | None = None,
    columns: int | None = None,
) -> None:
    n_pairs, width = slot.numel(), y.shape[-1]
    tile = row_tile(n_pairs, width)
    pairs, columns = pairs or tile[0], columns or tile[1]
    _combine_backward[(triton.cdiv(n_pairs, pairs),)](
        dout,
        y,
        gates.contiguous(),
        slot.contiguous(),
        dy,
        dgates,
        *dout.stride(),
        *y.stride(),
        n_pairs,
        width,
        TOP_K=slot.shape[-1],
        SUM=sum_dtype(dout, y, gates),
        PAIRS=pairs,
        COLUMNS=columns,
        num_warps=4,
    )


@triton.jit
def _combine_backward(
    dout, y, gates, slot, dy, dgates, dout_row, dout_column, y_row, y_column, n_pairs, width,
    TOP_K: tl.constexpr, SUM: tl.constexpr, PAIRS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A program owns some pairs: their rows of `dy`, all columns, and their `dgates`."""
    pair = tl.program_id(0) * PAIRS + tl.arange(0, PAIRS)
    row = tl.load(slot + pair, pair < n_pairs, other=-1).to(tl.int64)[:, None]
    gate = tl.load(gates + pair, pair < n_pairs, other=0.0).to(SUM)[:, None]
    token = (pair // TOP_K).to(tl.int64)[:, None]
    products = tl.zeros((PAIRS, COLUMNS), SUM)
    for begin in range(0, width, COLUMNS):
        column = (begin + tl.arange(0, COLUMNS)).to(tl.int64)[None, :]
        is_read = (row >= 0) & (column < width)
        arriving = tl.load(dout + token * dout_row + column * dout_column, is_read, other=0.0)
        arriving = arriving.to(SUM)
        if dgates is not None:
            answer = tl.load(y + row * y_row + column * y_column, is_read, other=0.0)
            products += arriving * answer.to(SUM)
        if dy is not None:
            leaving = (gate * arriving).to(dy.dtype.element_ty)
            tl.store(dy + row * width + column, leaving, is_read)
    if dgates is not None:
        dgate = tl.sum(products, axis=1).to(dgates.dtype.element_ty)
        tl.store(dgates + pair, dgate, pair < n_pairs)
