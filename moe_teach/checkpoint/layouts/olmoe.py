"""OLMoE (arXiv 2409.02060): softmax, the best k, not renormalised; queries are normalised whole."""

from moe_teach.checkpoint.layouts.layout import Key, Layout, Rope
from moe_teach.checkpoint.layouts.shared import SIZES, UNTIED, attention, experts, trunk
from moe_teach.config import ModelConfig


def _heads_fill_the_width(config: ModelConfig) -> str | None:
    width = config.attention.n_heads * config.attention.d_head
    if width == config.d_model:
        return None
    return (
        f"its heads are as wide as d_model together, which is {config.d_model}, and here they "
        f"are {width}"
    )


OLMOE = Layout(
    name="olmoe",
    title="OLMoE",
    architecture="OlmoeForCausalLM",
    keys=(
        *SIZES,
        UNTIED,
        Key("rms_norm_eps", "norm_eps", 1e-5),
        Key("num_experts", "moe.router.n_experts"),
        Key("intermediate_size", "moe.d_ff"),
        Key("norm_topk_prob", "moe.router.normalize_gates", False),
        Key("attention_bias", "attention.bias", False),
    ),
    always={
        "attention.qk_norm": "full",
        "attention.d_head": lambda said: said["hidden_size"] // said["num_attention_heads"],
    },
    rope=Rope(theta=10_000.0),
    fixed={"hidden_act": "silu", "clip_qkv": None},
    needs=(_heads_fill_the_width,),
    rules=(*trunk(), *attention(bias=True, qk_norm=True), *experts()),
)
