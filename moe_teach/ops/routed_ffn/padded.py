"""Give every expert a block of equal size, so that one batched matmul serves them all."""

from torch import Tensor

from moe_teach.config import Activation
from moe_teach.ops.routed_ffn.grouped import routed_ffn_grouped
from moe_teach.types import ExpertWeights, Routing


def routed_ffn_padded(
    x: Tensor, routing: Routing, weights: ExpertWeights, activation: Activation
) -> Tensor:
    """Pad every expert's rows with zeros up to the busiest expert's count."""
    return routed_ffn_grouped(x, routing, weights, activation, ffn="padded")
