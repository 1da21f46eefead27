"""Qwen3-MoE (arXiv 2505.09388): softmax, the best k, renormalised or not; heads are normalised."""

from moe_teach.checkpoint.layouts.layout import Key, Layout, Rope
from moe_teach.checkpoint.layouts.shared import (
    DENSE_WIDTH,
    HEAD,
    SIZES,
    UNTIED,
    attention,
    experts,
    feed_forward,
    listed_dense_layers,
    read_listed_dense_layers,
    trunk,
)

QWEN3_MOE = Layout(
    name="qwen3_moe",
    title="Qwen3-MoE",
    architecture="Qwen3MoeForCausalLM",
    keys=(
        *SIZES,
        HEAD,
        UNTIED,
        DENSE_WIDTH,
        Key("rms_norm_eps", "norm_eps", 1e-6),
        Key("num_experts", "moe.router.n_experts", also="num_local_experts"),
        Key("moe_intermediate_size", "moe.d_ff"),
        Key("norm_topk_prob", "moe.router.normalize_gates", False),
        Key("attention_bias", "attention.bias", False),
    ),
    always={"attention.qk_norm": "head"},
    rope=Rope(theta=10_000.0),
    fixed={"hidden_act": "silu", "use_sliding_window": False},
    harmless=("sliding_window", "max_window_layers"),  # without use_sliding_window
    placing=("mlp_only_layers", "decoder_sparse_step"),
    dense=listed_dense_layers,
    sparse=read_listed_dense_layers,
    rules=(
        *trunk(),
        *attention(bias=True, qk_norm=True),
        *experts(),
        *feed_forward("", ""),
    ),
)
