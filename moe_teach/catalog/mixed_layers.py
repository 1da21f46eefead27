"""Models whose layers are not all alike: with other mixers beside attention, or in its place."""

from moe_teach.catalog.card import ModelCard
from moe_teach.catalog.mixers import compressed, gated_delta, mamba2, sparse_latent
from moe_teach.catalog.shapes import decoder, gqa, moe
from moe_teach.config import ModelConfig

_V4_ROUTER = (
    "square root of a softplus, bias for the choice only, top-6, renormalised, times {scale}; the "
    "first three layers take the experts from a table of token ids instead"
)
_V4_BALANCING = "the selection bias; what else is added to the loss was not checked here"


def _deepseek_v4(
    n_layers: int,
    d_model: int,
    sizes: tuple[int, int, int],
    experts: tuple[int, int, float],
    n_window: int,
) -> ModelConfig:
    """DeepSeek-V4: layers of 4-to-1 and of 128-to-1 compression take turns; four streams."""
    n_heads, q_rank, n_groups = sizes
    n_experts, d_ff, gate_scale = experts
    n_light = (n_layers - 1) // 2
    mixers = (
        (compressed(0, n_heads, q_rank, n_groups), n_window),
        (compressed(4, n_heads, q_rank, n_groups, indexer=True), n_light),
        (compressed(128, n_heads, q_rank, n_groups), n_layers - n_light - n_window),
    )
    router = {"score_fn": "sqrt_softplus", "gate_scale": gate_scale}
    return decoder(
        n_layers,
        d_model,
        129280,
        gqa(n_heads, 1, 512),
        moe(n_experts, 6, d_ff, 1, **router),
        1048576,
        other_mixers=mixers,
        n_streams=4,
    )


MIXED_LAYERS = (
    ModelCard(
        name="Qwen3-Next-80B",
        config=decoder(
            48,
            2048,
            151936,
            gqa(16, 2, 256, qk_norm="head", output_gate=True),
            moe(512, 10, 512, 1, shared_gate=True),
            262144,
            other_mixers=((gated_delta(16, 32, 128, kernel=4), 36),),
        ),
        published_total=80e9,
        published_active=3e9,
        active_leaves_out="both tables",
        source="Qwen/Qwen3-Next-80B-A3B-Instruct config.json; transformers 5.23 Qwen3NextConfig",
        router="softmax over all 512, top-10, gates divided by their sum; a gated shared expert",
        balancing="not checked here",
        note='The active number is rounded to one digit ("A3B"; 3.25 without the two tables).',
    ),
    ModelCard(
        name="Nemotron 3 Super",
        config=decoder(
            48,
            4096,
            131072,
            gqa(32, 2),
            moe(
                512,
                22,
                2688,
                1,
                d_ff_shared=5376,
                d_latent=1024,
                activation="relu2",
                score_fn="sigmoid",
                gate_scale=5.0,
            ),
            262144,
            n_dense_layers=8,
            d_ff_dense=0,
            other_mixers=((mamba2(128, 64, 128, n_groups=8, kernel=4), 40),),
        ),
        published_total=120.6e9,
        published_active=12.7e9,
        source="nvidia/NVIDIA-Nemotron-3-Super-120B-A12B config.json; arXiv 2604.12374",
        router="sigmoid, bias for the choice only, top-22 of 512, renormalised, times 5",
        balancing="the selection bias; what else is added to the loss was not checked here",
        note=(
            "LatentMoE: experts work at width 1,024 between two matrices that all share. Its 88 "
            "published layers are 40 Mamba, 8 attention and 40 MoE; here a Mamba and an MoE make "
            "one layer, and the order is not kept. Active: 12.77, printed as 12.7. The layer that "
            "predicts a second token is in neither count."
        ),
    ),
    ModelCard(
        name="GLM-5",
        config=decoder(
            78,
            6144,
            154880,
            gqa(64, 64, 192),
            moe(256, 8, 2048, 1, score_fn="sigmoid", gate_scale=2.5),
            202752,
            n_dense_layers=3,
            d_ff_dense=12288,
            other_mixers=((sparse_latent(64, 2048, 192, 256, n_index_heads=32), 78),),
        ),
        published_total=744e9,
        published_active=40e9,
        active_leaves_out="both tables",
        source="zai-org/GLM-5 config.json, as reproduced in public loaders; its technical report",
        router="sigmoid, bias for the choice only, top-8 of 256, renormalised, times 2.5",
        balancing="the selection bias; what else is added to the loss was not checked here",
        note="The layer that predicts a second token is in neither count.",
    ),
    ModelCard(
        name="DeepSeek-V4-Flash",
        config=_deepseek_v4(43, 4096, (64, 1024, 8), (256, 2048, 1.5), n_window=2),
        published_total=284e9,
        published_active=13e9,
        active_leaves_out="input table",
        source="deepseek-ai/DeepSeek-V4-Flash config.json; transformers 5.23 DeepseekV4Config",
        router=_V4_ROUTER.format(scale=1.5),
        balancing=_V4_BALANCING,
        note=(
            "The active number is rounded to whole billions (13.27 counted). The tables of token "
            "ids are no parameters. The layer that predicts a second token is in neither count."
        ),
    ),
    ModelCard(
        name="DeepSeek-V4-Pro",
        config=_deepseek_v4(61, 7168, (128, 1536, 16), (384, 3072, 2.5), n_window=0),
        published_total=1.6e12,
        published_active=49e9,
        active_leaves_out="input table",
        source="deepseek-ai/DeepSeek-V4-Pro config.json, as reproduced in public loaders",
        router=_V4_ROUTER.format(scale=2.5),
        balancing=_V4_BALANCING,
        note=(
            "The total is rounded to two digits (1.573 counted). The layer that predicts a second "
            "token is in neither count."
        ),
    ),
)
