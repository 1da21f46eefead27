"""The guard: what llama.cpp would compute otherwise than a model, clause by clause.

A rule that is not known here is refused, whatever it is: every field of a configuration is either
compared below, or must have the value that changes nothing.
"""

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from moe_teach.checkpoint.gguf.architectures import LEAST_SUM, MOST_EXPERTS, Architecture
from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE

# What is compared, or written into the file; jitter and noise act in training only, and how rows
# are dropped matters only where some are.
READ: dict[type, tuple[str, ...]] = {
    ModelConfig: (
        *("n_layers", "d_model", "vocab_size", "attention", "moe", "d_ff_dense", "activation"),
        *("n_dense_layers", "moe_every", "tie_embeddings", "max_seq_len", "norm_eps"),
    ),
    AttentionConfig: (
        *("n_heads", "n_kv_heads", "d_head", "qk_norm", "bias", "qkv_bias_only", "rope_theta"),
    ),
    MoEConfig: (
        *("router", "d_ff", "activation", "n_shared_experts", "d_ff_shared", "shared_gate"),
        *("capacity_factor", "capacity", "drop_policy", "bias", "gates_on", "n_identity_experts"),
        *("swiglu_limit", "swiglu_alpha", "swiglu_shift"),
    ),
    RouterConfig: (
        *("n_experts", "top_k", "score_fn", "topk_first", "normalize_gates", "gate_scale"),
        *("n_groups", "top_groups", "group_score", "norm_floor", "jitter", "noisy", "choice"),
        *("table_size", "bias", "norm_order"),
    ),
}


def reasons_against(model: Model, architecture: Architecture) -> list[str]:
    """Say, clause by clause, what llama.cpp would compute otherwise; nothing where it agrees."""
    config = model.config
    reasons = [*_in_layers(config, architecture), *_in_attention(config, architecture)]
    reasons += [*unread(config, ModelConfig), *unread(config.attention, AttentionConfig)]
    if config.moe is None:
        return reasons + ([] if architecture.no_experts else ["it has no experts"])
    router = config.moe.router
    reasons += [*_in_router(router, architecture), *_beyond_the_usual(router)]
    reasons += _in_experts(config, architecture)
    reasons += [*unread(router, RouterConfig), *unread(config.moe, MoEConfig)]
    if not architecture.selection_bias and bool(_selection_bias(model).any()):
        reasons.append(
            "its routers choose with a selection bias (expert_bias), which is read nowhere there"
        )
    return reasons


def _in_router(router: RouterConfig, there: Architecture) -> list[str]:
    found = []
    if router.score_fn != there.score_fn:
        found.append(f"its scores are a {router.score_fn}, there a {there.score_fn}")
    if there.normalizes is not None and router.normalize_gates != there.normalizes:
        ours = "renormalises" if router.normalize_gates else "does not renormalise"
        always = "always done" if there.normalizes else "never done"
        found.append(f"it {ours} the gates of the chosen, which there is {always}")
    if router.gate_scale != 1 and not there.scales:
        found.append(f"its gates are multiplied by {router.gate_scale}, and there by nothing")
    if router.n_groups > 1 and not there.groups:
        found.append(f"its experts stand in {router.n_groups} groups, which are unknown there")
    if router.n_groups > 1 and router.group_score != "best_two":
        found.append("its groups are judged by their best expert, and there by the best two")
    if router.n_groups > 1 and router.n_experts == router.n_groups:
        found.append("its groups hold one expert each, and there a group is judged by two")
    if router.topk_first and there.selection_bias:
        found.append("it takes the top-k first (topk_first), which there is not done")
    if router.topk_first and not router.normalize_gates:
        found.append("it takes a softmax over the chosen alone (topk_first)")
    if router.n_experts > MOST_EXPERTS:
        found.append(f"it has {router.n_experts} experts, and llama.cpp takes {MOST_EXPERTS}")
    return found


def _beyond_the_usual(router: RouterConfig) -> list[str]:
    """Say what no architecture of llama.cpp that is written here does."""
    found = []
    if router.choice == "expert":
        found.append("its experts choose the tokens, and there tokens choose")
    if router.choice == "table":
        found.append("a table of token ids chooses the experts, and there tokens choose")
    if router.bias:
        found.append("its routers add a bias to the logits (bias), which is read nowhere there")
    if router.norm_order != 1:
        found.append(f"it divides gates by their {router.norm_order}-norm, and there by their sum")
    if router.normalize_gates and router.norm_floor > LEAST_SUM:
        found.append(f"it divides gates by no less than {router.norm_floor} (norm_floor)")
    return found


def _in_experts(config: ModelConfig, there: Architecture) -> list[str]:
    moe, found = config.moe, []
    assert moe is not None
    if moe.activation != "swiglu":
        found.append(f"its experts are {moe.activation} networks, and there SwiGLU")
    shared = ("gated" if moe.shared_gate else "plain") if moe.shared_width else "none"
    if shared not in there.shared:
        found.append(f"its shared expert is {shared!r}, and there {' or '.join(there.shared)!r}")
    if there.name == "glm4moe" and moe.d_ff_shared not in (None, moe.n_shared_experts * moe.d_ff):
        found.append("its shared expert is not a whole number of routed experts wide")
    if moe.drops:
        found.append("its experts have a capacity, which turns tokens away also in evaluation")
    if moe.is_bounded:
        found.append("its SwiGLU is bounded or bent (swiglu_limit, swiglu_alpha, swiglu_shift)")
    if moe.bias:
        found.append("its experts have biases, which are read nowhere there")
    if moe.gates_on == "input":
        found.append("its gates multiply what experts read, and there what they answer")
    if moe.n_identity_experts:
        found.append("some of its experts give their input back, and there all compute")
    return found


def _in_attention(config: ModelConfig, there: Architecture) -> list[str]:
    attention, found = config.attention, []
    if attention.qk_norm not in there.qk_norms:
        wanted = " or ".join(repr(norm) for norm in there.qk_norms)
        found.append(f"its queries and keys are normalised as {attention.qk_norm!r}, not {wanted}")
    if attention.bias and not (there.qkv_bias and attention.qkv_bias_only):
        found.append("its attention has biases that are not read there")
    d_query = attention.n_heads * attention.d_head
    if there.heads_fill_width and d_query != config.d_model:
        found.append(f"its heads are together {d_query} wide, not d_model = {config.d_model}")
    if there.own_key_heads and attention.n_heads != attention.n_kv_heads:
        found.append("its query heads share key heads (n_kv_heads < n_heads)")
    return found


def _in_layers(config: ModelConfig, there: Architecture) -> list[str]:
    if config.moe is None:
        swiglu = config.activation == "swiglu"
        return [] if swiglu else [f"its layers are {config.activation} networks, not SwiGLU"]
    found = []
    if not all(config.layer_has_experts) and config.activation != "swiglu":
        found.append(f"its dense layers are {config.activation} networks, and there SwiGLU")
    if config.n_dense_layers and not there.dense_first:
        found.append("its first layers have no experts, and there all have")
    if config.moe_every > 1:
        found.append("some of its later layers have no experts, and there all have")
    return found


def unread(config: Any, kind: type) -> list[str]:
    """Say which fields have another value than the one that changes nothing, and are not read."""
    return [
        f"its {field.name} is {getattr(config, field.name)!r}, and there is no such thing there"
        for field in fields(config)
        if field.name not in READ[kind] and getattr(config, field.name) != field.default
    ]


def _selection_bias(model: Model) -> Tensor:
    """Return the selection biases of all MoE layers in one row; nothing where there are none."""
    rows = [block.ffn.router.expert_bias for block in model.blocks if isinstance(block.ffn, MoE)]
    return torch.cat(rows) if rows else torch.zeros(0)
