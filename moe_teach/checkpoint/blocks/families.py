"""For each architecture its rule and its table: which tensor of theirs is which of ours."""

from collections.abc import Callable
from typing import NamedTuple

from moe_teach.checkpoint.blocks import rules
from moe_teach.checkpoint.blocks.published import Published
from moe_teach.checkpoint.blocks.views import (
    FLAT,
    FLAT_TURNED,
    HALVES,
    INTERLEAVED,
    ROW,
    SAME,
    Piece,
    computing_alone,
    transposed,
)
from moe_teach.config import MoEConfig


class Family(NamedTuple):
    """`moe` reads the configuration of a layer, `pieces` are the tensors of its block."""

    moe: Callable[[Published], MoEConfig]
    pieces: tuple[Piece, ...]


GATE_AND_UP = ("experts.w_gate", "experts.w_up")
FUSED = (
    Piece("experts.gate_up_proj", GATE_AND_UP, HALVES),
    Piece("experts.down_proj", ("experts.w_down",), SAME),
)
"""The experts of most blocks in transformers 5."""


def router(theirs: str) -> tuple[Piece, ...]:
    """Name the router's matrix."""
    return (Piece(theirs, ("router.proj.weight",), SAME),)


def selection_bias(theirs: str) -> tuple[Piece, ...]:
    """Name the bias that steers the choice and never the mixture."""
    return (Piece(theirs, ("router.expert_bias",), SAME, lambda moe: moe.router.choice == "token"),)


def shared(theirs: str) -> tuple[Piece, ...]:
    """Name the matrices of a shared expert, where there is one."""
    names = {"gate_proj": "w_gate", "up_proj": "w_up", "down_proj": "w_down"}
    return tuple(
        Piece(
            f"{theirs}.{name}.weight",
            (f"shared_expert.{matrix}.weight",),
            SAME,
            lambda moe: moe.shared_width,
        )
        for name, matrix in names.items()
    )


MIXTRAL = router("gate.weight") + FUSED
GATED_SHARED = (
    *MIXTRAL,
    *shared("shared_expert"),
    Piece("shared_expert_gate.weight", ("shared_expert.w_token.weight",), SAME),
)
DEEPSEEK = MIXTRAL + shared("shared_experts")
DEEPSEEK_V3 = DEEPSEEK + selection_bias("gate.e_score_correction_bias")
DEEPSEEK_V4 = (
    *DEEPSEEK_V3,
    Piece("gate.tid2eid", ("router.table",), SAME, lambda moe: moe.router.choice == "table"),
)
ERNIE = (
    *DEEPSEEK,
    Piece("gate.moe_statics.e_score_correction_bias", ("router.expert_bias",), ROW),
)
DBRX = (
    *router("router.layer.weight"),
    Piece("experts.mlp.w1", ("experts.w_gate",), FLAT),
    Piece("experts.mlp.v1", ("experts.w_up",), FLAT),
    Piece("experts.mlp.w2", ("experts.w_down",), FLAT_TURNED),
)
GPT_OSS = (
    *router("router.weight"),
    Piece("router.bias", ("router.proj.bias",), SAME),
    Piece("experts.gate_up_proj", GATE_AND_UP, transposed(INTERLEAVED)),
    Piece("experts.gate_up_proj_bias", ("experts.b_gate", "experts.b_up"), INTERLEAVED),
    Piece("experts.down_proj", ("experts.w_down",), transposed(SAME)),
    Piece("experts.down_proj_bias", ("experts.b_down",), SAME),
)
LLAMA4 = (
    *router("router.weight"),
    Piece("experts.gate_up_proj", GATE_AND_UP, transposed(HALVES)),
    Piece("experts.down_proj", ("experts.w_down",), transposed(SAME)),
    *shared("shared_expert"),
)
SWITCH = (
    *router("router.classifier.weight"),
    Piece("router.classifier.bias", ("router.proj.bias",), SAME, lambda moe: moe.router.bias),
    Piece("experts.expert_{e}.wi.weight", ("experts.w_up",), SAME),
    Piece("experts.expert_{e}.wo.weight", ("experts.w_down",), SAME),
)
GROK = (
    Piece("router.w", ("router.proj.weight",), transposed(SAME)),
    Piece("moe.linear.w", ("experts.w_gate",), transposed(SAME)),
    Piece("moe.linear_v.w", ("experts.w_up",), transposed(SAME)),
    Piece("moe.linear_1.w", ("experts.w_down",), transposed(SAME)),
)
MINIMAX_M2 = MIXTRAL + selection_bias("e_score_correction_bias")
LONGCAT_FLASH = (
    *router("router.classifier.weight"),
    *selection_bias("router.e_score_correction_bias"),
    Piece("experts.gate_up_proj", GATE_AND_UP, computing_alone(HALVES)),
    Piece("experts.down_proj", ("experts.w_down",), SAME),
)

FAMILIES: dict[str, Family] = {
    "mixtral": Family(rules.mixtral, MIXTRAL),
    "olmoe": Family(rules.olmoe, MIXTRAL),
    "flex_olmo": Family(rules.olmoe, MIXTRAL),
    "qwen2_moe": Family(rules.qwen2_moe, GATED_SHARED),
    "qwen3_moe": Family(rules.qwen3_moe, MIXTRAL),
    "qwen3_next": Family(rules.qwen2_moe, GATED_SHARED),
    "deepseek_v2": Family(rules.deepseek_v2, DEEPSEEK),
    "deepseek_v3": Family(rules.deepseek_v3, DEEPSEEK_V3),
    "deepseek_v4": Family(rules.deepseek_v4, DEEPSEEK_V4),
    "glm4_moe": Family(rules.deepseek_v3, DEEPSEEK_V3),
    "ernie4_5_moe": Family(rules.ernie, ERNIE),
    "dbrx": Family(rules.dbrx, DBRX),
    "grok-1": Family(rules.grok, GROK),
    "gpt_oss": Family(rules.gpt_oss, GPT_OSS),
    "llama4_text": Family(rules.llama4, LLAMA4),
    "switch_transformers": Family(rules.switch, SWITCH),
    "minimax_m2": Family(rules.minimax_m2, MINIMAX_M2),
    "longcat_flash": Family(rules.longcat_flash, LONGCAT_FLASH),
}
"""By `model_type`, the name that stands in a model's config.json."""
