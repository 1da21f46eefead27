"""GLM-4-MoE (arXiv 2508.06471): DeepSeek-V3's router with ordinary grouped attention.

Sigmoid scores, a selection bias, groups, a scale, shared experts and dense layers at the bottom.
Released models turn half of each head (`partial_rotary_factor`), which is not built here; a file
may state that the whole head turns, and what is exported does.
"""

import re
from collections.abc import Mapping
from typing import Any

from moe_teach.checkpoint.layouts.layout import Key, Layout, Rope, Rule
from moe_teach.checkpoint.layouts.shared import (
    DENSE_WIDTH,
    HEAD,
    SIZES,
    UNTIED,
    attention,
    experts,
    feed_forward,
    trunk,
)
from moe_teach.config import ModelConfig


def _has_a_shared_expert(config: ModelConfig) -> str | None:
    if config.moe is None or config.moe.n_shared_experts:
        return None
    return "it always has a shared expert, and here is none (n_shared_experts is 0)"


def _groups_hold_two(config: ModelConfig) -> str | None:
    router = config.moe and config.moe.router
    if not router or router.n_experts // router.n_groups > 1:
        return None
    return "it adds up the two best experts of a group, and here a group holds one"


def _leading_dense_layers(config: ModelConfig) -> dict[str, Any]:
    return {"first_k_dense_replace": list(config.layer_has_experts).index(True)}


def _read_leading_dense_layers(said: Mapping[str, Any]) -> list[bool]:
    first = said.get("first_k_dense_replace", 1)
    return [layer >= first for layer in range(said["num_hidden_layers"])]


def _predicts_further(name: str, n_layers: int) -> bool:
    """Tell tensors of the layers past the last, which predict the next but one token."""
    found = re.match(r"model\.layers\.(\d+)\.", name)
    return found is not None and int(found[1]) >= n_layers


GLM4_MOE = Layout(
    name="glm4_moe",
    title="GLM-4-MoE",
    architecture="Glm4MoeForCausalLM",
    keys=(
        *SIZES,
        HEAD,
        UNTIED,
        DENSE_WIDTH,
        Key("rms_norm_eps", "norm_eps", 1e-5),
        Key("n_routed_experts", "moe.router.n_experts"),
        Key("moe_intermediate_size", "moe.d_ff"),
        Key("n_shared_experts", "moe.n_shared_experts", 1),
        Key("n_group", "moe.router.n_groups", 1),
        Key("topk_group", "moe.router.top_groups", 1),
        Key("routed_scaling_factor", "moe.router.gate_scale", 1.0),
        Key("norm_topk_prob", "moe.router.normalize_gates", True),
        Key("use_qk_norm", "attention.qk_norm", False, {"head": True, "none": False}),
        Key("attention_bias", "attention.bias", False),
        Key("attention_bias", "attention.qkv_bias_only", False),
    ),
    always={"moe.router.score_fn": "sigmoid"},
    rope=Rope(theta=10_000.0, turned=0.5),
    fixed={"hidden_act": "silu"},
    written={"num_nextn_predict_layers": 0},
    unread=_predicts_further,
    placing=("first_k_dense_replace",),
    dense=_leading_dense_layers,
    sparse=_read_leading_dense_layers,
    needs=(_has_a_shared_expert, _groups_hold_two),
    rules=(
        *trunk(),
        *attention(bias=True, qk_norm=True),
        *experts(),
        Rule(
            "blocks.{layer}.ffn.router.expert_bias",
            "model.layers.{layer}.mlp.gate.e_score_correction_bias",
        ),
        *feed_forward(".shared_expert", ".shared_experts"),
        *feed_forward("", ""),
    ),
)
