"""Mixtral (arXiv 2401.04088): softmax, the best k, renormalised; every layer has experts."""

from moe_teach.checkpoint.layouts.layout import Key, Layout, Rope
from moe_teach.checkpoint.layouts.shared import HEAD, SIZES, UNTIED, attention, experts, trunk

MIXTRAL = Layout(
    name="mixtral",
    title="Mixtral",
    architecture="MixtralForCausalLM",
    keys=(
        *SIZES,
        HEAD,
        UNTIED,
        Key("rms_norm_eps", "norm_eps", 1e-5),
        Key("num_local_experts", "moe.router.n_experts"),
        Key("intermediate_size", "moe.d_ff"),
    ),
    rope=Rope(theta=1e6),
    fixed={"hidden_act": "silu", "sliding_window": None},
    rules=(*trunk(), *attention(), *experts("block_sparse_moe", ("w1", "w3", "w2"))),
)
