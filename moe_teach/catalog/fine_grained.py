"""Models with many small experts: what most releases since 2024 look like."""

from moe_teach.catalog.card import ModelCard
from moe_teach.catalog.shapes import decoder, gpt_oss, gqa, ling, mla, moe

_QWEN3_ROUTER = "softmax over all 128, top-8, gates divided by their sum; no shared expert"
_QWEN3_BALANCING = "auxiliary loss on the global batch, coefficient 0.001"
_GPT_OSS_ROUTER = "top-4 of the logits (with a bias), then softmax over the four"
_LING_ROUTER = "sigmoid, bias for the choice only, 4 of 8 groups, top-8 of 256, renormalised"
_LING_SOURCE = "arXiv 2510.22115; inclusionAI/{name} config.json, as reproduced in public loaders"
_BIAS_ONLY = "the selection bias; what else is added to the loss was not checked here"
_ROUNDED = "The active number is rounded to {digits}, so it cannot match to 0.5 %."


def _sigmoid_with_bias(n_experts: int, gate_scale: float, **groups: int):
    return moe(n_experts, 8, 2048, 1, score_fn="sigmoid", gate_scale=gate_scale, **groups)


FINE_GRAINED = (
    ModelCard(
        name="OLMoE-1B-7B",
        config=decoder(
            16,
            2048,
            50304,
            gqa(16, 16, qk_norm="full"),
            moe(64, 8, 1024, normalize_gates=False),
            4096,
        ),
        published_total=6.9e9,
        published_active=1.3e9,
        source="arXiv 2409.02060; allenai/OLMoE-1B-7B-0924 config.json",
        router="softmax over all 64, top-8, gates not renormalised",
        balancing="auxiliary loss, coefficient 0.01, and router z-loss",
        note=_ROUNDED.format(digits="two digits"),
    ),
    ModelCard(
        name="Qwen3-30B-A3B",
        config=decoder(48, 2048, 151936, gqa(32, 4, qk_norm="head"), moe(128, 8, 768), 40960),
        published_total=30.5e9,
        published_active=3.3e9,
        source="arXiv 2505.09388; Qwen/Qwen3-30B-A3B config.json",
        router=_QWEN3_ROUTER,
        balancing=_QWEN3_BALANCING,
        note=_ROUNDED.format(digits="two digits (3.35 printed as 3.3)"),
    ),
    ModelCard(
        name="Qwen3-235B-A22B",
        config=decoder(94, 4096, 151936, gqa(64, 4, qk_norm="head"), moe(128, 8, 1536), 40960),
        published_total=235e9,
        published_active=22e9,
        source="arXiv 2505.09388; Qwen/Qwen3-235B-A22B config.json",
        router=_QWEN3_ROUTER,
        balancing=_QWEN3_BALANCING,
        note=_ROUNDED.format(digits="whole billions"),
    ),
    ModelCard(
        name="gpt-oss-20b",
        config=gpt_oss(24, 32),
        published_total=20.9e9,
        published_active=3.6e9,
        active_leaves_out="input table",
        source="arXiv 2508.10925; openai/gpt-oss-20b config.json",
        router=_GPT_OSS_ROUTER,
        balancing="not published",
    ),
    ModelCard(
        name="gpt-oss-120b",
        config=gpt_oss(36, 128),
        published_total=116.8e9,
        published_active=5.1e9,
        active_leaves_out="input table",
        source="arXiv 2508.10925; openai/gpt-oss-120b config.json",
        router=_GPT_OSS_ROUTER,
        balancing="not published",
        note=_ROUNDED.format(digits="two digits (5.13 printed as 5.1)"),
    ),
    ModelCard(
        name="DeepSeek-V2-Lite",
        config=decoder(
            27,
            2048,
            102400,
            mla(16, q_rank=None),
            moe(64, 6, 1408, 2, normalize_gates=False),
            163840,
            n_dense_layers=1,
            d_ff_dense=10944,
        ),
        published_total=15.7e9,
        published_active=2.4e9,
        active_leaves_out="input table",
        source="arXiv 2405.04434; deepseek-ai/DeepSeek-V2-Lite config.json",
        router="softmax over all 64, top-6, not renormalised; two shared experts",
        balancing="sequence-level auxiliary loss, alpha 0.001",
        note=_ROUNDED.format(digits="two digits (2.45 printed as 2.4)"),
    ),
    ModelCard(
        name="DeepSeek-V3",
        config=decoder(
            61,
            7168,
            129280,
            mla(128, q_rank=1536),
            _sigmoid_with_bias(256, 2.5, n_groups=8, top_groups=4),
            163840,
            n_dense_layers=3,
            d_ff_dense=18432,
        ),
        published_total=671e9,
        published_active=37e9,
        active_leaves_out="input table",
        source="arXiv 2412.19437; deepseek-ai/DeepSeek-V3 config.json",
        router="sigmoid, bias for the choice only, 4 of 8 groups, top-8, renormalised, times 2.5",
        balancing="bias updates instead of a loss, plus a very small sequence-level loss",
        note=(
            _ROUNDED.format(digits="whole billions")
            + " The extra module that predicts a second token is in neither count."
        ),
    ),
    ModelCard(
        name="Kimi K2",
        config=decoder(
            61,
            7168,
            163840,
            mla(64, q_rank=1536),
            _sigmoid_with_bias(384, 2.827),
            131072,
            n_dense_layers=1,
            d_ff_dense=18432,
        ),
        published_total=1.04e12,
        published_active=32.6e9,
        source="arXiv 2507.20534; NVIDIA Megatron-Bridge's Kimi K2 provider",
        router="sigmoid, bias for the choice only, top-8 of 384, renormalised, times 2.827",
        balancing="bias updates as in DeepSeek-V3",
        note=(
            "The report prints 1.04T and 32.6B, the model card 1T and 32B. The released shapes "
            "count to 1.026T, 1.3 % below, and to 32.9B active (31.7 without the input table, "
            "30.5 without both): what the report counts is not said, and no convention meets it."
        ),
    ),
    ModelCard(
        name="GLM-4.5",
        config=decoder(
            92,
            5120,
            151552,
            gqa(96, 8, qk_norm="head", bias=True, qkv_bias_only=True),
            moe(160, 8, 1536, 1, score_fn="sigmoid", gate_scale=2.5),
            131072,
            n_dense_layers=3,
            d_ff_dense=12288,
        ),
        published_total=355e9,
        published_active=32e9,
        active_leaves_out="both tables",
        source="arXiv 2508.06471; zai-org/GLM-4.5 config.json, as reproduced in public loaders",
        router="sigmoid, bias for the choice only, top-8 of 160, renormalised (and, from memory, "
        "times 2.5)",
        balancing=_BIAS_ONLY,
        note=(
            "352.8B counted. The layer that predicts a second token is left out; with it the "
            "count is about 356.8B, so the published 355B lies between the two."
        ),
    ),
    ModelCard(
        name="MiniMax-M2",
        config=decoder(
            62,
            3072,
            200064,
            gqa(48, 8, qk_norm="full"),
            moe(256, 8, 1536, score_fn="sigmoid"),
            196608,
        ),
        published_total=230e9,
        published_active=10e9,
        active_leaves_out="both tables",
        source="MiniMaxAI/MiniMax-M2 config.json; transformers 5.23 MiniMaxM2Config",
        router="sigmoid, bias for the choice only, top-8 of 256, renormalised; no shared expert",
        balancing=_BIAS_ONLY,
        note="Both published numbers are rounded (228.7 and 9.80 counted).",
    ),
    ModelCard(
        name="Ling-mini-2.0",
        config=ling(20, 2048, n_heads=16, n_kv_heads=4, d_ff=512, n_dense=1, d_ff_dense=5120),
        published_total=16.26e9,
        published_active=1.43e9,
        source=_LING_SOURCE.format(name="Ling-mini-2.0"),
        router=_LING_ROUTER,
        balancing=_BIAS_ONLY,
        note="The model card also gives 789M without both tables, which this count meets, too.",
    ),
    ModelCard(
        name="Ling-1T",
        config=ling(80, 8192, n_heads=64, n_kv_heads=8, d_ff=2048, n_dense=4, d_ff_dense=18432),
        published_total=1e12,
        published_active=50e9,
        active_leaves_out="input table",
        source=_LING_SOURCE.format(name="Ling-1T"),
        router=_LING_ROUTER,
        balancing=_BIAS_ONLY,
    ),
)
