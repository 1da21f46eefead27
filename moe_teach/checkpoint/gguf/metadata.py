"""What a GGUF file says about a model besides its tensors: sizes, and what its routers do."""

from moe_teach.checkpoint.gguf.architectures import Architecture
from moe_teach.config import ModelConfig, MoEConfig

Value = int | float | bool | str | list[str] | list[int]
GATING = {"softmax": 1, "sigmoid": 2}
"""llama.cpp's numbers for the functions that make scores of logits."""


def of_model(config: ModelConfig, architecture: Architecture) -> dict[str, Value]:
    """Return the keys that describe the model, with the architecture as their prefix."""
    attention, moe = config.attention, config.moe
    said: dict[str, Value] = {
        "context_length": config.max_seq_len,
        "embedding_length": config.d_model,
        "block_count": config.n_layers,
        "vocab_size": config.vocab_size,
        "attention.head_count": attention.n_heads,
        "attention.head_count_kv": attention.n_kv_heads,
        "attention.key_length": attention.d_head,
        "attention.value_length": attention.d_head,
        "attention.layer_norm_rms_epsilon": float(config.norm_eps),
        "rope.dimension_count": attention.d_head,
        "rope.freq_base": float(attention.rope_theta),
        "feed_forward_length": config.d_ff_dense or (moe.d_ff if moe else 0),
    }
    if moe is not None:
        said |= _of_experts(config, moe, architecture)
    return {f"{architecture.name}.{key}": value for key, value in said.items()}


def _of_experts(
    config: ModelConfig, moe: MoEConfig, architecture: Architecture
) -> dict[str, Value]:
    router = moe.router
    said: dict[str, Value] = {
        "expert_count": router.n_experts,
        "expert_used_count": router.top_k,
    }
    # The first architectures read the experts' width from the general key.
    own_key = architecture.name not in ("llama", "olmoe")
    said["expert_feed_forward_length" if own_key else "feed_forward_length"] = moe.d_ff
    if architecture.dense_first:
        said["leading_dense_block_count"] = config.n_dense_layers
    if architecture.name == "ernie4_5-moe":  # which insists on being told
        said["interleave_moe_layer_step"] = 1
    if moe.shared_width:
        said["expert_shared_count"] = moe.n_shared_experts
        said["expert_shared_feed_forward_length"] = moe.shared_width
    if architecture.normalizes is None:
        said["expert_weights_norm"] = router.normalize_gates
        said["expert_gating_func"] = GATING[router.score_fn]
    if architecture.scales:
        said["expert_weights_scale"] = float(router.gate_scale)
    if router.n_groups > 1:
        said["expert_group_count"] = router.n_groups
        said["expert_group_used_count"] = router.top_groups
    return said
