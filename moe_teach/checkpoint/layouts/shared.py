"""What the published layouts have in common: most of their keys and names come from Llama."""

from collections.abc import Mapping
from typing import Any

from moe_teach.checkpoint.layouts.changes import AS_IS, Change
from moe_teach.checkpoint.layouts.layout import Fused, Key, Rule
from moe_teach.config import ModelConfig

SIZES = (
    Key("vocab_size", "vocab_size"),
    Key("hidden_size", "d_model"),
    Key("num_hidden_layers", "n_layers"),
    Key("num_attention_heads", "attention.n_heads"),
    Key("num_key_value_heads", "attention.n_kv_heads", lambda said: said["num_attention_heads"]),
    Key("max_position_embeddings", "max_seq_len"),
    Key("num_experts_per_tok", "moe.router.top_k"),
)
HEAD = Key(
    "head_dim",
    "attention.d_head",
    lambda said: said["hidden_size"] // said["num_attention_heads"],
)
UNTIED = Key("tie_word_embeddings", "tie_embeddings", default=False)
DENSE_WIDTH = Key("intermediate_size", "d_ff_dense")
# Keys that say nothing about what a model answers: how it was trained, what is recorded, which
# ids have a meaning for whoever generates.
HARMLESS = frozenset(
    (
        "architectures",
        "model_type",
        "dtype",
        "torch_dtype",
        "transformers_version",
        "use_cache",
        "initializer_range",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "attention_dropout",
        "output_router_logits",
        "router_aux_loss_coef",
        "router_jitter_noise",
        "auto_map",
        "experts_implementation",
        "_name_or_path",
        "pretraining_tp",
    )
)


def attention(order: Change = AS_IS, bias: bool = False, qk_norm: bool = False) -> tuple[Rule, ...]:
    """Give the names of attention's tensors; `order` is that of the rows of queries and keys."""
    ours, theirs = "blocks.{layer}.attention", "model.layers.{layer}.self_attn"
    rules = [
        Rule(
            f"{ours}.{name}.{kind}",
            f"{theirs}.{name}.{kind}",
            order if name in "q_proj k_proj" else AS_IS,
        )
        for name in ("q_proj", "k_proj", "v_proj", "o_proj")
        for kind in (("weight", "bias") if bias else ("weight",))
    ]
    if qk_norm:
        norms = ("q_norm.weight", "k_norm.weight")
        rules += [Rule(f"{ours}.{norm}", f"{theirs}.{norm}") for norm in norms]
    return tuple(rules)


def trunk() -> tuple[Rule, ...]:
    """Give the names of the embeddings and norms. Tied embeddings are stored once."""
    layer, theirs = "blocks.{layer}", "model.layers.{layer}"
    return (
        Rule("embedding.weight", "model.embed_tokens.weight"),
        Rule("norm.weight", "model.norm.weight"),
        Rule("unembedding.weight", "lm_head.weight"),
        Rule(f"{layer}.attention_norm.weight", f"{theirs}.input_layernorm.weight"),
        Rule(f"{layer}.ffn_norm.weight", f"{theirs}.post_attention_layernorm.weight"),
    )


def experts(
    place: str = "mlp", names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj")
) -> tuple[Rule, ...]:
    """Give the names of the router and of the experts' matrices: gate, up, down."""
    theirs, in_memory = f"model.layers.{{layer}}.{place}", "model.layers.{layer}.mlp"
    joined = f"{in_memory}.experts.gate_up_proj"
    fused = (Fused(joined, 0, 2), Fused(joined, 1, 2), Fused(f"{in_memory}.experts.down_proj"))
    router = "gate.weight"
    return (
        Rule(
            "blocks.{layer}.ffn.router.proj.weight",
            f"{theirs}.{router}",
            also=f"{in_memory}.{router}",
        ),
        *(
            Rule(
                f"blocks.{{layer}}.ffn.experts.{w}",
                f"{theirs}.experts.{{expert}}.{name}.weight",
                also=also,
            )
            for w, name, also in zip(("w_gate", "w_up", "w_down"), names, fused, strict=True)
        ),
    )


def feed_forward(ours: str, theirs: str) -> tuple[Rule, ...]:
    """Give the names of a dense layer, or of a shared expert: parts of `ffn` and of `mlp`."""
    matrices = (("w_gate", "gate_proj"), ("w_up", "up_proj"), ("w_down", "down_proj"))
    return tuple(
        Rule(
            f"blocks.{{layer}}.ffn{ours}.{w}.weight",
            f"model.layers.{{layer}}.mlp{theirs}.{name}.weight",
        )
        for w, name in matrices
    )


def listed_dense_layers(config: ModelConfig) -> dict[str, Any]:
    """Say which layers have no experts, as a list of their numbers (Qwen)."""
    numbered = enumerate(config.layer_has_experts)
    dense = [layer for layer, has_experts in numbered if not has_experts]
    return {"mlp_only_layers": dense, "decoder_sparse_step": 1}


def read_listed_dense_layers(said: Mapping[str, Any]) -> list[bool]:
    """Read a list of dense layers, and how often experts come (Qwen)."""
    dense, step = said.get("mlp_only_layers") or [], said.get("decoder_sparse_step", 1)
    layers = range(said["num_hidden_layers"])
    return [layer not in dense and (layer + 1) % step == 0 for layer in layers]
