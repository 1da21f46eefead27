"""Send tokens to their experts and bring the answers back: two contracts, each in three ways.

    rows[slot[t, k]] = x[t]                               for every choice k that is carried out
    out[t] = sum over k of gates[t, k] * y[slot[t, k]]    without the dropped choices

The rows stand sorted by expert and, within an expert, by token, so that each expert reads one
contiguous slice. Nothing is computed on the way there: `dispatch` only copies. On the way back each
token gathers its own rows, so that no two tokens write the same address and the result does not
depend on the order of execution. The two are each other's transpose: what one does forward, the
other does backward.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from moe_teach.ops.demand import demand_routing_of, demand_rows
from moe_teach.ops.dispatch.reference import combine_reference, dispatch_reference
from moe_teach.ops.dispatch.torch_fast import combine_torch, dispatch_torch
from moe_teach.ops.operation import ON_GPU, Kernel, Operation, kernels_serve
from moe_teach.types import Dispatched, Routing

Backend = Literal["reference", "torch", "triton"]
MOST_COUNTED_EXPERTS = 4096
"""How many experts the kernel can count: a number for each has to fit in registers."""


def dispatch(
    x: Float[Tensor, "T D"], routing: Routing, *, backend: Backend | None = None
) -> tuple[Float[Tensor, "N D"], Dispatched]:
    """Copy each token once for every expert it goes to, and remember where the copies stand.

    Args:
        x: one row per token.
        routing: who goes where; choices with `kept` False are left out.
        backend: "reference" (the definition), "torch" or "triton" (kernels); by default kernels
            on a GPU and torch elsewhere.

    Returns:
        The N rows, differentiable in `x`, and the record that `combine` needs.

    Raises:
        ValueError: if `x` and `routing` disagree on the tokens, or an expert id is out of range.
    """
    demand_rows(x, "x")
    demand_routing_of(x, routing)
    return DISPATCH(x, routing, backend=backend)


def combine(
    y: Float[Tensor, "N D"],
    gates: Float[Tensor, "T K"],
    dispatched: Dispatched,
    *,
    backend: Backend | None = None,
) -> Float[Tensor, "T D"]:
    """Mix the answers of each token's experts with its gates.

    Args:
        y: the experts' answers, row by row as `dispatch` laid them out.
        gates: the mixing weights; they may be more precise than `y`, and the mixture is then
            computed in their precision and returned in that of `y`.
        dispatched: the record from `dispatch`.
        backend: "reference" (the definition), "torch" or "triton" (kernels); by default kernels
            on a GPU and torch elsewhere.

    Returns:
        One row per token, differentiable in `y` and `gates`.

    Raises:
        ValueError: if the shapes do not belong to one dispatch.
    """
    demand_rows(y, "y")
    n_rows, sizes = dispatched.token_idx.shape[0], dispatched.slot.shape
    if y.shape[0] != n_rows:
        raise ValueError(
            f"y has {y.shape[0]} rows, but {n_rows} were dispatched: an expert must return one row "
            "for each row it was given."
        )
    if gates.shape != sizes:
        raise ValueError(
            f"gates has shape {tuple(gates.shape)}, but the dispatch was of {tuple(sizes)} "
            "(tokens, choices): pass the gates of the same routing."
        )
    return COMBINE(y, gates, dispatched, backend=backend)


def kernels_lay_out(x: Tensor, routing: Routing) -> bool:
    """Tell whether the library's kernels are the default for sending these tokens out."""
    return kernels_serve(x) and routing.n_experts <= MOST_COUNTED_EXPERTS


def _fitting_dispatch(x: Tensor, routing: Routing) -> tuple[str, str]:
    if kernels_lay_out(x, routing):
        return "triton", ON_GPU
    return "torch", "one short sort places all rows at once"


def _fitting_combine(y: Tensor, *_: object) -> tuple[str, str]:
    if kernels_serve(y):
        return "triton", ON_GPU
    return "torch", "an embedding bag gathers and sums in one pass"


DISPATCH = Operation(
    "dispatch",
    {
        "reference": dispatch_reference,
        "torch": dispatch_torch,
        "triton": Kernel("moe_teach.ops.dispatch.fused:dispatch_triton"),
    },
    _fitting_dispatch,
)
COMBINE = Operation(
    "combine",
    {
        "reference": combine_reference,
        "torch": combine_torch,
        "triton": Kernel("moe_teach.ops.dispatch.fused:combine_triton"),
    },
    _fitting_combine,
)
