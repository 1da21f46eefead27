"""Bytes: what must be resident, what the cache takes, what one decoding step reads."""

from moe_teach.config import ModelConfig, refuse
from moe_teach.cost.params import count_params, n_params_total

BITS_PER_PARAMETER = {
    "float32": 32.0,
    "bfloat16": 16.0,
    "float16": 16.0,
    "float8": 8.0,
    "int8": 8.0,
    "mxfp4": 4.25,  # 32 values of 4 bits share one 8-bit scale
    "int4": 4.0,
}


def bytes_per_parameter(dtype: str) -> float:
    """Bytes one number takes in `dtype`; `ValueError` for an unknown one.

    Scales are included for mxfp4 only, whose format fixes them. For int4, int8 and float8 they
    depend on the recipe and are left out: a 16-bit scale for every 128 numbers adds 0.125 bits.
    """
    refuse(
        dtype not in BITS_PER_PARAMETER,
        f"{dtype!r} is not a number format known here: choose one of "
        f"{', '.join(BITS_PER_PARAMETER)}.",
    )
    return BITS_PER_PARAMETER[dtype] / 8


def weight_bytes(config: ModelConfig, dtype: str = "bfloat16") -> float:
    """Bytes that must be resident: *all* parameters, whichever experts a token uses."""
    return n_params_total(config) * bytes_per_parameter(dtype)


def kv_cache_bytes_per_token(config: ModelConfig, dtype: str = "bfloat16") -> float:
    """Bytes one cached position takes in the decoder's self-attention, over all layers.

    Latent attention stores the compressed vector and the rotary key instead of keys and values
    (DeepSeek-V2, arXiv 2405.04434, section 2.1). Other mixers add what grows with the text. A
    sliding window (gpt-oss, Mistral 7B) is not modelled: their cache stops growing where this
    count goes on.
    """
    attention = config.attention
    width = 2 * attention.n_kv_heads * attention.d_head
    if attention.latent:
        width = attention.latent.kv_rank + attention.latent.d_rope
    others = sum(n_layers * mixer.cached_per_position for mixer, n_layers in config.other_mixers)
    return (config.n_attention_layers * width + others) * bytes_per_parameter(dtype)


def expected_distinct_experts(n_experts: int, top_k: int, n_tokens: int) -> float:
    """Experts of one layer that `n_tokens` tokens touch when routing is uniform and independent.

    A token misses a given expert with probability 1 - K/E, so E (1 - (1 - K/E)^n_tokens) are hit.
    Skewed routing touches fewer.
    """
    refuse(
        not 1 <= top_k <= n_experts,
        f"top_k must lie between 1 and n_experts = {n_experts}, but it is {top_k}.",
    )
    refuse(n_tokens < 0, f"n_tokens must not be negative, but it is {n_tokens}.")
    return n_experts * (1.0 - (1.0 - top_k / n_experts) ** n_tokens)


def bytes_per_decode_step(
    config: ModelConfig,
    batch: int,
    *,
    context: int = 0,
    dtype: str = "bfloat16",
    kv_dtype: str = "bfloat16",
) -> float:
    """Bytes one step reads to give each of `batch` sequences its next token.

    Shared weights once, the experts that uniform routing touches once, and each sequence's cache.
    Of the input table only a row a token is read, which is left out.
    """
    refuse(batch < 1, f"A step decodes at least one sequence, but batch is {batch}.")
    count = count_params(config)
    touched = count.shared - count.input_embedding
    if config.moe is not None:
        router = config.moe.router
        hit = expected_distinct_experts(router.n_experts, router.top_k, batch)
        touched += count.routed_experts * hit / router.n_experts
    cache = batch * context * kv_cache_bytes_per_token(config, kv_dtype)
    return touched * bytes_per_parameter(dtype) + cache
