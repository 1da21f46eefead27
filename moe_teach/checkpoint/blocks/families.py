"""What each architecture's configuration and tensors mean: a rule and a table for each.

Sources: the block of that name in transformers 5.23, and the papers where a rule comes from one.
"""

from collections.abc import Callable
from typing import NamedTuple

from moe_teach.checkpoint.blocks.published import Published
from moe_teach.checkpoint.blocks.views import HALVES, SAME, Piece
from moe_teach.config import MoEConfig, RouterConfig


class Family(NamedTuple):
    """`moe` reads the configuration of a layer, `pieces` are the tensors of its block."""

    moe: Callable[[Published], MoEConfig]
    pieces: tuple[Piece, ...]


FUSED = (
    Piece("gate.weight", ("router.proj.weight",), SAME),
    Piece("experts.gate_up_proj", ("experts.w_gate", "experts.w_up"), HALVES),
    Piece("experts.down_proj", ("experts.w_down",), SAME),
)
"""What most blocks of transformers 5 have in common."""


def mixtral(c: Published) -> MoEConfig:
    """Softmax over all, top-k, gates divided by their sum."""
    router = RouterConfig(
        n_experts=c("num_local_experts"),
        top_k=c("num_experts_per_tok"),
        jitter=c("router_jitter_noise", 0.0),
    )
    return MoEConfig(router=router, d_ff=c("intermediate_size"), activation=c.activation())


def olmoe(c: Published) -> MoEConfig:
    """As Mixtral, but gates are divided by their sum only where the configuration says so."""
    router = RouterConfig(
        n_experts=c("num_experts"),
        top_k=c("num_experts_per_tok"),
        normalize_gates=c("norm_topk_prob", False),
    )
    return MoEConfig(router=router, d_ff=c("intermediate_size"), activation=c.activation())


def qwen3_moe(c: Published) -> MoEConfig:
    """OLMoE's rule; the width of an expert has a name of its own."""
    router = RouterConfig(
        n_experts=c("num_experts"),
        top_k=c("num_experts_per_tok"),
        normalize_gates=c("norm_topk_prob", False),
    )
    return MoEConfig(router=router, d_ff=c("moe_intermediate_size"), activation=c.activation())


FAMILIES: dict[str, Family] = {
    "mixtral": Family(mixtral, FUSED),
    "olmoe": Family(olmoe, FUSED),
    "qwen3_moe": Family(qwen3_moe, FUSED),
}
"""By `model_type`, the name that stands in a model's config.json."""
