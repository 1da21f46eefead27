"""Shorthand for the configurations of the catalog: one function per family of models."""

from typing import Any

from moe_teach.config import (
    AttentionConfig,
    LatentConfig,
    ModelConfig,
    MoEConfig,
    RouterConfig,
)


def gqa(n_heads: int, n_kv_heads: int, d_head: int = 128, **more: Any) -> AttentionConfig:
    """Attention whose query heads share key and value heads."""
    return AttentionConfig(n_heads=n_heads, n_kv_heads=n_kv_heads, d_head=d_head, **more)


def mla(n_heads: int, q_rank: int | None) -> AttentionConfig:
    """DeepSeek's latent attention at the ranks that V2-Lite, V3 and Kimi K2 have in common."""
    latent = LatentConfig(kv_rank=512, d_rope=64, d_value=128, q_rank=q_rank)
    return gqa(n_heads, n_heads, latent=latent)


def moe(n_experts: int, top_k: int, d_ff: int, n_shared: int = 0, **more: Any) -> MoEConfig:
    """One MoE layer, SwiGLU unless said otherwise; `more` goes to the layer or to its router."""
    of_the_layer = MoEConfig.__dataclass_fields__.keys() & more.keys()
    layer = {name: more.pop(name) for name in of_the_layer}
    return MoEConfig(
        router=RouterConfig(n_experts=n_experts, top_k=top_k, **more),
        d_ff=d_ff,
        n_shared_experts=n_shared,
        **layer,
    )


def decoder(
    n_layers: int,
    d_model: int,
    vocab_size: int,
    attention: AttentionConfig,
    experts: MoEConfig | None,
    max_seq_len: int,
    **more: Any,
) -> ModelConfig:
    """A decoder-only model with its own output matrix unless `tie_embeddings` is given."""
    return ModelConfig(
        n_layers=n_layers,
        d_model=d_model,
        vocab_size=vocab_size,
        attention=attention,
        moe=experts,
        max_seq_len=max_seq_len,
        **more,
    )


def switch(
    n_layers: int, d_model: int, n_heads: int, n_experts: int, d_ff: int, moe_every: int
) -> ModelConfig:
    """A Switch Transformer: T5's encoder and decoder of `n_layers` each, ReLU experts, top-1."""
    router = RouterConfig(n_experts=n_experts, top_k=1, normalize_gates=False, jitter=0.01)
    return ModelConfig(
        n_layers=n_layers,
        n_encoder_layers=n_layers,
        d_model=d_model,
        vocab_size=32128,
        attention=gqa(n_heads, n_heads, 64, relative_buckets=32),
        moe=MoEConfig(router=router, d_ff=d_ff, activation="relu", capacity_factor=1.25),
        moe_every=moe_every,
        d_ff_dense=d_ff,
        activation="relu",
        tie_embeddings=True,
        max_seq_len=512,
    )


def llama4(n_experts: int) -> MoEConfig:
    """The experts of Llama-4: one chosen, whose gate scales what it reads, and a shared one."""
    rule = {"score_fn": "sigmoid", "normalize_gates": False, "gates_on": "input"}
    return moe(n_experts, 1, 8192, 1, **rule)


def gpt_oss(n_layers: int, n_experts: int) -> ModelConfig:
    """The gpt-oss shape: narrow square experts, biases everywhere, a sink logit in each head."""
    router = RouterConfig(n_experts=n_experts, top_k=4, topk_first=True, bias=True)
    attention = gqa(64, 8, 64, bias=True, sinks=True)
    swiglu = {"swiglu_limit": 7.0, "swiglu_alpha": 1.702, "swiglu_shift": 1.0}
    experts = MoEConfig(router=router, d_ff=2880, bias=True, **swiglu)
    return decoder(n_layers, 2880, 201088, attention, experts, 131072)


def ling(
    n_layers: int,
    d_model: int,
    *,
    n_heads: int,
    n_kv_heads: int,
    d_ff: int,
    n_dense: int,
    d_ff_dense: int,
) -> ModelConfig:
    """The Ling 2.0 shape: 256 experts and a shared one at every size, normalised heads."""
    attention = gqa(n_heads, n_kv_heads, qk_norm="head")
    groups = {"n_groups": 8, "top_groups": 4}
    experts = moe(256, 8, d_ff, 1, score_fn="sigmoid", gate_scale=2.5, **groups)
    return decoder(
        n_layers,
        d_model,
        157184,
        attention,
        experts,
        32768,
        n_dense_layers=n_dense,
        d_ff_dense=d_ff_dense,
    )
