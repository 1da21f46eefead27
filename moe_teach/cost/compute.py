"""Floating-point operations of one token; a FLOP is one multiplication or one addition."""

from moe_teach.config import ModelConfig
from moe_teach.cost.params import count_params, n_params_active


def forward_flops(config: ModelConfig, context: int = 0) -> int:
    """FLOPs of one token's forward pass when it attends to `context` positions.

    Two per active matrix entry, plus scores and mixing in every attention layer (the forward third
    of Chowdhery et al. 2022, arXiv 2204.02311, appendix B). A sliding window is not modelled, and
    latent attention is counted as published, with its keys and values expanded. Other mixers add
    what grows with the context, and nothing for a state, a window or a top-k of fixed size.
    """
    matrices = n_params_active(config, input_embedding=False) - count_params(config).vectors
    attention = config.attention
    d_score, d_value = attention.d_head, attention.d_head
    if attention.latent:
        d_score, d_value = d_score + attention.latent.d_rope, attention.latent.d_value
    n_attentions = config.n_attention_layers
    if config.n_encoder_layers:
        n_attentions += config.n_layers + config.n_encoder_layers
    each = 2 * n_attentions * attention.n_heads * (d_score + d_value)
    others = sum(n_layers * mixer.flops_per_position for mixer, n_layers in config.other_mixers)
    return round(2 * matrices + (each + others) * context)


def training_flops(config: ModelConfig, context: int = 0) -> int:
    """FLOPs of one token in training: forward, and a backward pass of twice its cost."""
    return 3 * forward_flops(config, context)
