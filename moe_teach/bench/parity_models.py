"""Tiny models of every published layout, with sizes that hide no mistake: no two are equal.

Weights, norms and biases are all random, so that none of them can be dropped or swapped unseen.
"""

from collections.abc import Callable
from dataclasses import replace

import torch

from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.nn.linear import Linear
from moe_teach.nn.model import Model
from moe_teach.nn.router import Router

_PLAIN = ModelConfig(
    n_layers=2,
    d_model=36,
    vocab_size=67,
    attention=AttentionConfig(n_heads=6, n_kv_heads=2, d_head=10, rope_theta=5000.0),
    moe=MoEConfig(router=RouterConfig(n_experts=5, top_k=2), d_ff=20),
    max_seq_len=80,
    norm_eps=1e-6,
)

TINY: dict[str, ModelConfig] = {
    "mixtral": _PLAIN,
    "qwen3_moe": replace(
        _PLAIN,
        n_layers=5,
        attention=AttentionConfig(
            n_heads=4, n_kv_heads=4, d_head=6, qk_norm="head", bias=True, rope_theta=1e6
        ),
        moe=MoEConfig(router=RouterConfig(n_experts=7, top_k=3, normalize_gates=False), d_ff=12),
        n_dense_layers=1,
        moe_every=2,
        d_ff_dense=28,
    ),
    "olmoe": replace(
        _PLAIN,
        d_model=40,
        attention=AttentionConfig(n_heads=4, n_kv_heads=2, d_head=10, qk_norm="full"),
        moe=MoEConfig(router=RouterConfig(n_experts=6, top_k=3, normalize_gates=False), d_ff=16),
        norm_eps=1e-5,
    ),
    "glm4_moe": replace(
        _PLAIN,
        n_layers=3,
        attention=AttentionConfig(
            n_heads=4, n_kv_heads=2, d_head=12, qk_norm="head", bias=True, qkv_bias_only=True
        ),
        moe=MoEConfig(
            router=RouterConfig(
                n_experts=12,
                top_k=4,
                score_fn="sigmoid",
                gate_scale=2.5,
                n_groups=3,
                top_groups=2,
            ),
            d_ff=8,
            n_shared_experts=2,
        ),
        n_dense_layers=1,
        d_ff_dense=24,
    ),
    "ernie4_5_moe": replace(
        _PLAIN,
        n_layers=6,
        attention=AttentionConfig(n_heads=4, n_kv_heads=2, d_head=8, rope_theta=5e5),
        moe=MoEConfig(router=RouterConfig(n_experts=9, top_k=3), d_ff=16, n_shared_experts=1),
        n_dense_layers=2,
        moe_every=2,
        d_ff_dense=32,
        tie_embeddings=True,
    ),
}
WITH_SELECTION_BIAS = ("glm4_moe", "ernie4_5_moe")


@torch.no_grad()
def tiny(layout: str, change: Callable[[ModelConfig], ModelConfig] = lambda same: same) -> Model:
    """Return the tiny model of a layout, drawn from a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Model(change(TINY[layout])).eval()
        for part in model.modules():
            if isinstance(part, torch.nn.RMSNorm):
                part.weight.add_(0.3 * torch.randn_like(part.weight))
            if isinstance(part, Linear) and part.bias is not None:
                part.bias.normal_(std=0.3)
            if isinstance(part, Router):
                part.proj.weight.normal_(std=part.proj.in_features**-0.5)
                if layout in WITH_SELECTION_BIAS:
                    # Larger than the differences of the scores: it decides.
                    part.expert_bias.normal_(std=0.2)
        model.embedding.weight.normal_()
        model.unembedding.weight.normal_(std=0.3)  # logits of a few nats
    return model
