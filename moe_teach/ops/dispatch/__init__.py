"""Send tokens to their experts: one contract, three implementations.

    rows[slot[t, k]] = x[t]        for every choice k of token t that is carried out

The rows stand sorted by expert and, within an expert, by token, so that each expert reads one
contiguous slice. Nothing is computed here: `dispatch` only copies, `combine` brings back.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from moe_teach.ops.backends import kernel_of
from moe_teach.ops.choice import ON_GPU, decide, kernels_serve
from moe_teach.ops.demand import demand_routing_of, demand_rows, unknown_backend
from moe_teach.ops.dispatch.reference import dispatch_reference
from moe_teach.ops.dispatch.torch_fast import dispatch_torch
from moe_teach.types import Dispatched, Routing

Backend = Literal["reference", "torch", "triton"]
_IMPLEMENTATIONS = {
    "reference": dispatch_reference,
    "torch": dispatch_torch,
    "triton": kernel_of("moe_teach.ops.dispatch.fused", "dispatch_triton"),
}
BACKENDS = tuple(_IMPLEMENTATIONS)
MOST_EXPERTS = 4096
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
    backend = backend or decide("dispatch", _fitting, x, routing)
    if backend not in _IMPLEMENTATIONS:
        raise unknown_backend(backend, BACKENDS)
    return _IMPLEMENTATIONS[backend](x, routing)


def _fitting(x: Tensor, routing: Routing) -> tuple[str, str]:
    """Choose a backend, and say why."""
    if kernels_serve(x) and routing.n_experts <= MOST_EXPERTS:
        return "triton", ON_GPU
    return "torch", "one short sort places all rows at once"
