"""ERNIE-4.5-MoE: softmax, a selection bias, the best k, renormalised; neighbours turn together.

It is the published architecture whose router has both a softmax and a selection bias, as models
have that were balanced without a loss, or with both (arXiv 2408.15664).
"""

from collections.abc import Mapping
from typing import Any

from moe_teach.checkpoint.layouts.changes import INTERLEAVED, ONE_ROW
from moe_teach.checkpoint.layouts.layout import Key, Layout, Rope, Rule
from moe_teach.checkpoint.layouts.shared import (
    DENSE_WIDTH,
    HEAD,
    SIZES,
    attention,
    experts,
    feed_forward,
    trunk,
)
from moe_teach.config import ModelConfig


def _place_of_experts(config: ModelConfig) -> dict[str, Any]:
    numbered = enumerate(config.layer_has_experts)
    sparse = [layer for layer, has_experts in numbered if has_experts]
    is_one_stretch = sparse == list(range(sparse[0], sparse[-1] + 1))
    return {
        "moe_layer_start_index": sparse[0],
        "moe_layer_end_index": sparse[-1],
        "moe_layer_interval": 1 if is_one_stretch else config.moe_every,
    }


def _read_place_of_experts(said: Mapping[str, Any]) -> list[bool]:
    n_layers, step = said["num_hidden_layers"], said.get("moe_layer_interval", 1)
    start, end = said.get("moe_layer_start_index", 1), said.get("moe_layer_end_index", -1)
    last = n_layers - 1 if end == -1 else end
    return [start <= layer <= last and (layer + 1) % step == 0 for layer in range(n_layers)]


ERNIE4_5_MOE = Layout(
    name="ernie4_5_moe",
    title="ERNIE-4.5-MoE",
    architecture="Ernie4_5_MoeForCausalLM",
    keys=(
        *(key for key in SIZES if key.theirs != "num_experts_per_tok"),
        HEAD,
        DENSE_WIDTH,
        Key("tie_word_embeddings", "tie_embeddings", True),
        Key("rms_norm_eps", "norm_eps", 1e-5),
        Key("moe_num_experts", "moe.router.n_experts"),
        Key("moe_k", "moe.router.top_k"),
        Key("moe_intermediate_size", "moe.d_ff"),
        Key("moe_num_shared_experts", "moe.n_shared_experts", 2),
        Key("moe_norm_min", "moe.router.norm_floor", 1e-12),
    ),
    rope=Rope(theta=500_000.0),
    fixed={"hidden_act": "silu", "use_bias": False, "moe_gate_act": "softmax"},
    # How it was trained: a capacity that acts no more, and that the bias was moved.
    harmless=("moe_capacity", "moe_use_aux_free", "num_nextn_predict_layers"),
    unread=lambda name, n_layers: "mtp" in name,
    placing=("moe_layer_start_index", "moe_layer_end_index", "moe_layer_interval"),
    dense=_place_of_experts,
    sparse=_read_place_of_experts,
    rules=(
        *trunk(),
        *attention(order=INTERLEAVED),
        *experts(),
        Rule(
            "blocks.{layer}.ffn.router.expert_bias",
            "model.layers.{layer}.mlp.moe_statics.e_score_correction_bias",
            ONE_ROW,
            also="model.layers.{layer}.mlp.gate.moe_statics.e_score_correction_bias",
        ),
        *feed_forward(".shared_expert", ".shared_experts"),
        *feed_forward("", ""),
    ),
)
