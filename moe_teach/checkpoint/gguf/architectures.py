"""Which of llama.cpp's architectures computes exactly what one of our models computes.

A GGUF file names an architecture, and llama.cpp's program for that name decides whether gates are
renormalised, which norms there are and how positions turn: the file cannot say. A model under the
wrong name loads, writes fluent text and is wrong. So this table says what each program does, and
`moe_teach.checkpoint.gguf.reasons` what a model does otherwise.
"""

from dataclasses import dataclass
from typing import Literal

from moe_teach.config import QKNorm, ScoreFn

Shared = Literal["none", "plain", "gated"]
MOST_EXPERTS = 512
"""llama.cpp's own limit (LLAMA_MAX_EXPERTS)."""
LEAST_SUM = 2.0**-14
"""llama.cpp divides gates by their sum, but by no less than this."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What llama.cpp does under one name; fields that are None are read from the file.

    `turns_neighbours`: the rotation pairs features (2i, 2i + 1) and not the two halves of a head.
    `post_norm_name`: the norm before the feed-forward is stored as the one after attention.
    `heads_fill_width`: the heads together must be as wide as the model; `own_key_heads`: every
    query head must have its own key head.
    `repeats_embedding`: it wants an output matrix of its own, also where that is the embedding.
    """

    name: str
    qk_norms: tuple[QKNorm, ...] = ("none",)
    score_fn: ScoreFn = "softmax"
    normalizes: bool | None = True
    scales: bool = False
    groups: bool = False
    selection_bias: bool = False
    shared: tuple[Shared, ...] = ("none",)
    dense_first: bool = False
    qkv_bias: bool = False
    turns_neighbours: bool = False
    post_norm_name: bool = False
    heads_fill_width: bool = False
    own_key_heads: bool = False
    repeats_embedding: bool = False
    no_experts: bool = False


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        # Mixtral goes by the name of Llama, with a number of experts.
        Architecture(name="llama", turns_neighbours=True, no_experts=True),
        Architecture(name="qwen3moe", qk_norms=("head",)),
        Architecture(
            name="olmoe",
            qk_norms=("full",),
            normalizes=False,
            heads_fill_width=True,
            own_key_heads=True,
            repeats_embedding=True,
        ),
        Architecture(
            name="qwen2moe",
            normalizes=False,
            shared=("gated",),
            qkv_bias=True,
            heads_fill_width=True,
            repeats_embedding=True,
        ),
        Architecture(
            name="ernie4_5-moe",
            selection_bias=True,
            shared=("none", "plain"),
            dense_first=True,
            turns_neighbours=True,
        ),
        Architecture(
            name="glm4moe",
            qk_norms=("none", "head"),
            score_fn="sigmoid",
            normalizes=None,
            scales=True,
            groups=True,
            selection_bias=True,
            shared=("plain",),
            dense_first=True,
            qkv_bias=True,
            post_norm_name=True,
        ),
    )
}
