"""Sort the choices by expert once; then three grouped matmuls serve all experts."""

from torch import Tensor

from moe_teach.config import Activation
from moe_teach.ops.combine import combine
from moe_teach.ops.dispatch import dispatch
from moe_teach.ops.grouped_ffn import Backend, grouped_ffn
from moe_teach.types import ExpertWeights, Routing


def routed_ffn_grouped(
    x: Tensor,
    routing: Routing,
    weights: ExpertWeights,
    activation: Activation,
    ffn: Backend | None = "composed",
) -> Tensor:
    """Dispatch, compute the experts on their slices, combine.

    With `ffn=None` this is what `moe_teach.nn.moe.MoE` does: the fastest way on the device.
    """
    rows, dispatched = dispatch(x, routing)
    y = grouped_ffn(rows, dispatched.expert_offsets, weights, activation, backend=ffn)
    return combine(y, routing.gates, dispatched).to(x.dtype)
