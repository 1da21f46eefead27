"""Bring the experts' answers back to their tokens: one contract, three implementations.

    out[t] = sum over k of gates[t, k] * y[slot[t, k]]        without the dropped choices

Each token gathers its own rows, so that no two tokens write the same address and the result does
not depend on the order of execution. A token whose choices were all dropped gets zeros.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from moe_teach.ops.backends import kernel_of
from moe_teach.ops.choice import ON_GPU, decide, kernels_serve
from moe_teach.ops.combine.reference import combine_reference
from moe_teach.ops.combine.torch_fast import combine_torch
from moe_teach.ops.demand import unknown_backend
from moe_teach.types import Dispatched

Backend = Literal["reference", "torch", "triton"]
_IMPLEMENTATIONS = {
    "reference": combine_reference,
    "torch": combine_torch,
    "triton": kernel_of("moe_teach.ops.combine.fused", "combine_triton"),
}
BACKENDS = tuple(_IMPLEMENTATIONS)


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
    backend = backend or decide("combine", _fitting, y)
    if backend not in _IMPLEMENTATIONS:
        raise unknown_backend(backend, BACKENDS)
    return _IMPLEMENTATIONS[backend](y, gates, dispatched)


def _fitting(y: Tensor) -> tuple[str, str]:
    """Choose a backend, and say why."""
    if kernels_serve(y):
        return "triton", ON_GPU
    return "torch", "an embedding bag gathers and sums in one pass"
