"""What the cost calculator starts from: the sparse decoders of the catalog, and some machines."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from moe_teach.catalog import CATALOG
from moe_teach.config import ModelConfig, is_gated
from moe_teach.cost import count_params, kv_cache_bytes_per_token

SIZES = ("n_experts", "top_k", "d_ff", "d_model", "n_layers")
# Memory, bandwidth and dense bfloat16 peak are those of the makers' data sheets, the laptop's are
# round guesses, and every price is an assumption that the reader should replace.
DEVICES: dict[str, dict[str, float]] = {
    name: {
        "memory_bytes": memory_gb * 1e9,
        "bandwidth_bytes_per_s": terabytes_per_s * 1e12,
        "peak_flops_per_s": teraflops * 1e12,
        "usd_per_hour": usd_per_hour,
    }
    for name, memory_gb, terabytes_per_s, teraflops, usd_per_hour in (
        ("H200, 141 GB", 141, 4.8, 989, 3.5),
        ("H100, 80 GB", 80, 3.35, 989, 2.5),
        ("A100, 80 GB", 80, 2.039, 312, 1.5),
        ("RTX 4090, 24 GB", 24, 1.008, 165, 0.5),
        ("Laptop, 32 GB", 32, 0.1, 1, 0.05),
    )
}


@cache
def presets() -> dict[str, dict[str, Any]]:
    """Describe every sparse decoder of the catalog by the numbers that its costs depend on.

    Dense models have nothing to choose, encoder-decoders decode differently, and where layers
    differ in kind a slider for their number or width would say nothing: all of them stay out.
    """
    return {
        name: _describe(card.config)
        for name, card in CATALOG.items()
        if card.config.moe is not None
        and not card.config.n_encoder_layers
        and not card.config.other_mixers
    }


def sizes_of(config: ModelConfig) -> dict[str, int]:
    """Give the five sizes that the calculator lets the reader change."""
    assert config.moe is not None
    sizes = (config.moe.router.n_experts, config.moe.router.top_k, config.moe.d_ff)
    return dict(zip(SIZES, (*sizes, config.d_model, config.n_layers), strict=True))


def resized(config: ModelConfig, sizes: dict[str, int]) -> ModelConfig:
    """Give `config` with other sizes; heads stay as they are and groups, which cost nothing, go."""
    assert config.moe is not None
    router = replace(
        config.moe.router,
        n_experts=sizes["n_experts"],
        top_k=min(sizes["top_k"], sizes["n_experts"]),
        n_groups=1,
        top_groups=1,
    )
    moe = replace(config.moe, router=router, d_ff=sizes["d_ff"])
    n_layers = sizes["n_layers"]
    n_dense = min(config.n_dense_layers, n_layers)
    return replace(
        config, moe=moe, d_model=sizes["d_model"], n_layers=n_layers, n_dense_layers=n_dense
    )


def _describe(config: ModelConfig) -> dict[str, Any]:
    """Reduce a configuration to what its counts are made of; pairs are [per unit of width, fixed].

    The pairs are read off `count_params`, so the browser repeats none of its formulas for
    attention, routers and norms.
    """
    moe, attention = config.moe, config.attention
    assert moe is not None
    latent, count = attention.latent, count_params(config)
    d_score = attention.d_head + (latent.d_rope if latent else 0)
    d_value = latent.d_value if latent else attention.d_head
    return sizes_of(config) | {
        "n_dense_layers": config.n_dense_layers,
        "moe_every": config.moe_every,
        "d_ff_dense": config.d_ff_dense or 0,
        "dense_matrices": 3 if is_gated(config.activation) else 2,
        "expert_matrices": 3 if is_gated(moe.activation) else 2,
        "expert_bias": moe.bias,
        "n_shared_experts": moe.n_shared_experts,
        "d_ff_shared": moe.d_ff_shared,
        "router": _line(config, _one_router_row),
        "attention": _line(config, lambda c: count_params(c).attention // c.n_layers),
        "vectors": _line(config, _vectors_of_one_layer),
        "last_vectors": _line(config, _vectors_after_the_layers),
        "input_rows": count.input_embedding // config.d_model,
        "output_rows": count.output_head // config.d_model,
        "flops_per_position": 2 * attention.n_heads * (d_score + d_value),
        "cache_bytes": kv_cache_bytes_per_token(config) / config.n_layers,
    }


def _line(config: ModelConfig, part: Callable[[ModelConfig], int]) -> list[int]:
    """Give slope and intercept of a part that grows linearly with d_model."""
    here, there = part(config), part(replace(config, d_model=2 * config.d_model))
    slope = (there - here) // config.d_model
    return [slope, here - slope * config.d_model]


def _one_router_row(config: ModelConfig) -> int:
    assert config.moe is not None
    return count_params(config).routers // (config.n_moe_layers * config.moe.router.n_experts)


def _vectors_of_one_layer(config: ModelConfig) -> int:
    deeper = replace(config, n_layers=config.n_layers + 1)
    return count_params(deeper).vectors - count_params(config).vectors


def _vectors_after_the_layers(config: ModelConfig) -> int:
    return count_params(config).vectors - config.n_layers * _vectors_of_one_layer(config)
