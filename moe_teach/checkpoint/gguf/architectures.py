"""Which of llama.cpp's architectures computes exactly what one of our models computes.

A GGUF file names an architecture, and llama.cpp's program for that name decides whether gates are
renormalised, which norms there are and how positions turn: the file cannot say. A model under the
wrong name loads, writes fluent text and is wrong. So this table says what each program does, and
`reasons_against` what a model does otherwise.
"""

from dataclasses import dataclass

from moe_teach.checkpoint.gguf.parts import selection_bias
from moe_teach.config import ModelConfig, QKNorm, RouterConfig, ScoreFn
from moe_teach.nn.model import Model

MOST_EXPERTS = 512
"""llama.cpp's own limit (LLAMA_MAX_EXPERTS)."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What llama.cpp does under one name; fields that are None are read from the file.

    `turns_neighbours`: the rotation pairs features (2i, 2i + 1) and not the two halves of a head.
    `post_norm_name`: the norm before the feed-forward is stored as the one after attention.
    `heads_fill_width`: the heads together must be as wide as the model.
    `repeats_embedding`: it wants an output matrix of its own, also where that is the embedding.
    """

    name: str
    qk_norms: tuple[QKNorm, ...] = ("none",)
    score_fn: ScoreFn = "softmax"
    normalizes: bool | None = True
    scales: bool = False
    groups: bool = False
    selection_bias: bool = False
    shared: tuple[bool, ...] = (False,)
    dense_first: bool = False
    qkv_bias: bool = False
    turns_neighbours: bool = False
    post_norm_name: bool = False
    heads_fill_width: bool = False
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
            repeats_embedding=True,
        ),
        Architecture(
            name="ernie4_5-moe",
            selection_bias=True,
            shared=(False, True),
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
            shared=(True,),
            dense_first=True,
            qkv_bias=True,
            post_norm_name=True,
        ),
    )
}


def reasons_against(model: Model, architecture: Architecture) -> list[str]:
    """Say, clause by clause, what llama.cpp would compute otherwise; nothing where it agrees."""
    config = model.config
    reasons = [*_in_layers(config, architecture), *_in_attention(config, architecture)]
    if config.moe is None:
        return reasons + ([] if architecture.no_experts else ["it has no experts"])
    router = config.moe.router
    reasons += [*_in_router(router, architecture), *_in_experts(config, architecture)]
    if not architecture.selection_bias and bool(selection_bias(model).any()):
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
    if router.n_groups > 1 and router.n_experts == router.n_groups:
        found.append("its groups hold one expert each, and there a group is judged by two")
    if router.topk_first and there.selection_bias:
        found.append("it takes the top-k first (topk_first), which there is not done")
    if router.topk_first and not router.normalize_gates:
        found.append("it takes a softmax over the chosen alone (topk_first)")
    if router.choice != "token":
        found.append("its experts choose the tokens, and there tokens choose")
    if router.n_experts > MOST_EXPERTS:
        found.append(f"it has {router.n_experts} experts, and llama.cpp takes {MOST_EXPERTS}")
    return found


def _in_experts(config: ModelConfig, there: Architecture) -> list[str]:
    moe, found = config.moe, []
    assert moe is not None
    if moe.activation != "swiglu":
        found.append(f"its experts are {moe.activation} networks, and there SwiGLU")
    if bool(moe.shared_width) not in there.shared:
        has = (
            "has a shared expert, and there is none there"
            if moe.shared_width
            else ("has no shared expert, and there must be one there")
        )
        found.append(f"it {has}")
    if there.name == "glm4moe" and moe.d_ff_shared not in (None, moe.n_shared_experts * moe.d_ff):
        found.append("its shared expert is not a whole number of routed experts wide")
    if moe.capacity_factor is not None:
        found.append("its experts have a capacity, which turns tokens away also in evaluation")
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
    if there.heads_fill_width and attention.n_heads != attention.n_kv_heads:
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
