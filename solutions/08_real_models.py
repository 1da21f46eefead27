# %% [markdown]
# # 08 Real models: exercises
#
# Read the files that models are published in, and be sure of what you have read. You fuse Mixtral's
# experts without holding them twice, take those of gpt-oss out of four bits, write the report that
# says where two models part, and mend a loader that loads everything and is wrong. Then your own
# layer of chapter 04 becomes Mixtral, OLMoE and Qwen3-MoE. At last you find out whose router a
# model has, by asking it.

# %%
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_teach.course import check, mine

# %% [markdown]
# ## Exercise 8.1: Fuse the experts of Mixtral
#
# A Mixtral layer lies in its file as three matrices for each expert, under names like these:
#
# ```text
#   model.layers.3.block_sparse_moe.gate.weight            (E, D)   the router
#   model.layers.3.block_sparse_moe.experts.0.w1.weight    (F, D)   gate
#   model.layers.3.block_sparse_moe.experts.0.w2.weight    (D, F)   down
#   model.layers.3.block_sparse_moe.experts.0.w3.weight    (F, D)   up
#   model.layers.3.input_layernorm.weight                  (D,)     and so on
# ```
#
# Make three tensors of one layer's experts, `w_gate`, `w_up` (E, F, D) and `w_down` (E, D, F).
# Nobody tells you E, but the names do. They come in any order, and there may be more than ten
# experts and more than ten layers.
#
# The file is larger than you would like. `read(name)` brings **one** tensor into memory. Read the
# matrices of these experts and nothing else, each once, and let go of it before the next: besides
# the three results, no more than a few matrices may be in memory at the same time.


# %%
def fuse_experts(
    names: list[str], read: Callable[[str], Tensor], layer: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Fuse the experts of one layer of a Mixtral checkpoint.

    names: all names in the file, in any order; read(name) -> that tensor; layer: which layer.
    Returns w_gate (E, F, D), w_up (E, F, D), w_down (E, D, F), in the dtype of the file.
    """
    ### BEGIN SOLUTION
    prefix = f"model.layers.{layer}.block_sparse_moe.experts."
    n_experts = sum(name.startswith(prefix) for name in names) // 3
    fused = []
    for part in ("w1", "w3", "w2"):
        for e in range(n_experts):
            matrix = read(f"{prefix}{e}.{part}.weight")
            if e == 0:
                fused.append(matrix.new_empty(n_experts, *matrix.shape))
            fused[-1][e] = matrix
    w_gate, w_up, w_down = fused
    return w_gate, w_up, w_down
    ### END SOLUTION


# %%
check("8.1", fuse_experts)

# %% [markdown]
# ## Exercise 8.2: Read the experts of gpt-oss
#
# gpt-oss is published in **MXFP4**: four bits for each number of its experts, and one byte of scale
# for each 32 of them (OCP Microscaling Formats, 2023).
#
# - A code of four bits is one of sixteen numbers. Codes 0 to 7 are 0, 0.5, 1, 1.5, 2, 3, 4, 6;
#   codes 8 to 15 are the negatives of these.
# - A byte holds two neighbours, the **first in its low four bits**.
# - 32 neighbours are a block of 16 bytes and share a scale byte s: each of them is multiplied by
#   $2^{s-127}$.
# - `gate_up_proj_blocks` is (E, 2F, D/32, 16), and `gate_up_proj_scales` (E, 2F, D/32), both uint8.
#   Put back together, a row is the D inputs of one hidden unit. **Even rows are the gate, odd rows
#   are up**: 0, 2, 4, ... and 1, 3, 5, ...


# %%
def read_gate_up(blocks: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    """Unpack the gate and up matrices of all experts of a gpt-oss layer.

    blocks: (E, 2F, D/32, 16) uint8; scales: (E, 2F, D/32) uint8, from 30 to 219.
    Returns w_gate and w_up, (E, F, D), float32, exactly.
    """
    ### BEGIN SOLUTION
    sizes = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    table = torch.cat([sizes, -sizes])
    codes = torch.stack([blocks & 15, blocks >> 4], dim=-1).flatten(-2)
    numbers = table[codes.long()] * 2.0 ** (scales.int() - 127)[..., None]
    rows = numbers.flatten(-2)
    return rows[:, ::2], rows[:, 1::2]
    ### END SOLUTION


# %%
check("8.2", read_gate_up)

# %% [markdown]
# ## Exercise 8.3: Where do two models part?
#
# Your model should be equal to another one, and its last number is not. Where does it begin? Both
# have written down what their layers did: a list with one record for each layer, a dictionary of
# six tensors.
#
# | name | shape | if they part here first, look at |
# | --- | --- | --- |
# | `x` | (T, D) | what comes before this layer: attention, norms, embeddings |
# | `logits` | (T, E) | the router's matrix |
# | `expert_ids` | (T, K) | score function, bias, groups, number of choices |
# | `gates` | (T, K) | normalisation, scale, bias in the mixture |
# | `answers` | (T, K, D) | the experts' matrices and activation; what each chosen one says |
# | `y` | (T, D) | how answers are mixed, shared expert, scale of the sum |
#
# Return the **first** difference: the first layer that has one, and in it the first name in the
# order of the table; an empty tuple if there is none. Two tensors are the same if their shapes are,
# and if the largest difference is at most `slack` times the largest size in `theirs`. Three things
# make it less simple:
#
# - A token's experts may be listed in **another order**; gates and answers then are, too. That is
#   no difference. Another expert is one, and experts have no slack.
# - A number of `ours` may be **NaN**. That is a difference.
# - Either side may be stored in a narrower **dtype** than the other. That alone is no difference,
#   and it hides none: 1.002 is not 1, also where bfloat16 would round it to 1.


# %%
def where_they_part(
    theirs: list[dict[str, Tensor]], ours: list[dict[str, Tensor]], slack: float
) -> tuple[int, str] | tuple[()]:
    """Say where two models part first.

    theirs, ours: one record for each layer, as in the table, of equally many layers and tokens;
    within a token all expert_ids are different.
    Returns (layer, name), or an empty tuple if they nowhere part.
    """
    ### BEGIN SOLUTION
    for layer, pair in enumerate(zip(theirs, ours, strict=True)):
        orders = [record["expert_ids"].argsort(dim=1) for record in pair]
        for name in ("x", "logits", "expert_ids", "gates", "answers", "y"):
            one, other = (record[name].double() for record in pair)
            if one.shape != other.shape:
                return layer, name
            if name in ("expert_ids", "gates", "answers"):
                shape = (-1, orders[0].shape[1]) + (1,) * (one.dim() - 2)
                one, other = (
                    torch.take_along_dim(part, order.view(shape), dim=1)
                    for part, order in zip((one, other), orders, strict=True)
                )
            limit = 0 if name == "expert_ids" else slack * one.abs().max()
            if not (one - other).abs().max() <= limit:  # NaN is never small
                return layer, name
    return ()
    ### END SOLUTION


# %%
check("8.3", where_they_part)

# %% [markdown]
# ## Exercise 8.4: Find what is wrong: a loader that loads
#
# Somebody runs the MoE block of three families straight from their files. The contract:
#
# - `tensors` holds one block: `gate.weight` (E, D); for deepseek_v3 `gate.e_score_correction_bias`
#   (E,); for each expert e `experts.{e}.gate_proj.weight`, `up_proj` (F, D) and `down_proj` (D, F);
#   and perhaps the same three of `shared_experts`.
# - An expert is SwiGLU: down(silu(gate(x)) · up(x)).
# - `olmoe` and `qwen3_moe` score by a softmax over all experts, `deepseek_v3` by a sigmoid of each.
#   The bias is added for the **choice** of the best `num_experts_per_tok` only. (This deepseek_v3
#   has one group, so groups do not matter.) The gates are the scores of the chosen, without it.
# - If `norm_topk_prob` is true, they are divided by their sum. Where the key is **missing**, its
#   class decides: `olmoe` and `qwen3_moe` take false, `deepseek_v3` takes true.
# - For `deepseek_v3` the routed experts are multiplied by `routed_scaling_factor`; where it is
#   missing, by 2.5. The shared expert is added as it is.


# %%
def somebodys_block(tensors: dict[str, Tensor], config: dict[str, Any], x: Tensor) -> Tensor:
    """Run one MoE block straight from a checkpoint: x (T, D) -> y (T, D)."""
    scores = x @ tensors["gate.weight"].T
    if config["model_type"] == "deepseek_v3":
        scores = scores.sigmoid() + tensors["gate.e_score_correction_bias"]
    else:
        scores = scores.softmax(dim=-1)
    gates, ids = scores.topk(config["num_experts_per_tok"], dim=-1)
    if config.get("norm_topk_prob", True):
        gates = gates / gates.sum(dim=-1, keepdim=True)
    numbers = sorted({name.split(".")[1] for name in tensors if name.startswith("experts.")})
    owners = [(f"experts.{number}", (gates * (ids == e)).sum(dim=-1, keepdim=True))
              for e, number in enumerate(numbers)]  # fmt: skip
    if "shared_experts.up_proj.weight" in tensors:
        owners.append(("shared_experts", torch.ones(len(x), 1)))
    y = torch.zeros_like(x)
    for owner, weight in owners:
        gate, up, down = (tensors[f"{owner}.{part}_proj.weight"] for part in ("up", "gate", "down"))
        y = y + weight * ((F.silu(x @ gate.T) * (x @ up.T)) @ down.T)
    factor = config.get("routed_scaling_factor", 2.5)
    return factor * y if config["model_type"] == "deepseek_v3" else y


# %% [markdown]
# It loads every tensor, and what comes out is of the right shape and size. Here are the symptoms,
# beside the models' own answers. There are five mistakes. Experiment: which blocks does it get
# right?

# %% tags=["play"]
from moe_teach.chapters.ch08_real_models.block_rule import defined, drawn, tokens

x = tokens(seed=0, n_tokens=50)
for kind, n_experts, config in (
    ("qwen3_moe", 8, {"norm_topk_prob": True}),
    ("qwen3_moe", 12, {"norm_topk_prob": True}),
    ("olmoe", 8, {}),
    ("deepseek_v3", 8, {"routed_scaling_factor": 1.0}),
    ("deepseek_v3", 8, {}),
):
    tensors = drawn(kind, n_experts, seed=0, shared=kind == "deepseek_v3")
    config = {"model_type": kind, "num_experts_per_tok": 3, **config}
    right = defined(tensors, config, x).float()
    y = somebodys_block(tensors, config, x)
    cosine = F.cosine_similarity(y, right).mean()
    print(f"{kind:12} {n_experts:2} experts: size {y.norm() / right.norm():.2f} of the model's, "
          f"cosine {cosine:.2f}")  # fmt: skip

# %% [markdown]
# Write the block without the mistakes. Take over what is right.


# %%
def repaired_block(tensors: dict[str, Tensor], config: dict[str, Any], x: Tensor) -> Tensor:
    """Run one MoE block straight from a checkpoint, as the contract says.

    tensors and config: as in the contract above; x: (T, D) float32, T at least 1.
    Returns y (T, D). Gradients reach x and all tensors that have a part in it.
    """
    ### BEGIN SOLUTION
    is_deepseek = config["model_type"] == "deepseek_v3"
    logits = x @ tensors["gate.weight"].T
    scores = logits.sigmoid() if is_deepseek else logits.softmax(dim=-1)
    bias = tensors["gate.e_score_correction_bias"] if is_deepseek else 0
    ids = (scores + bias).topk(config["num_experts_per_tok"], dim=-1).indices
    gates = scores.gather(1, ids)
    if config.get("norm_topk_prob", is_deepseek):
        gates = gates / gates.sum(dim=1, keepdim=True)
    if is_deepseek:
        gates = gates * config.get("routed_scaling_factor", 2.5)
    table = torch.zeros_like(scores).scatter(1, ids, gates)  # (T, E)

    def expert(owner: str) -> Tensor:
        gate, up, down = (
            tensors[f"{owner}.{part}_proj.weight"].T for part in ("gate", "up", "down")
        )
        return (F.silu(x @ gate) * (x @ up)) @ down

    y = sum(table[:, e, None] * expert(f"experts.{e}") for e in range(table.shape[1]))
    has_shared = any(name.startswith("shared_experts") for name in tensors)
    return y + expert("shared_experts") if has_shared else y
    ### END SOLUTION


# %%
check("8.4", repaired_block)

# %% [markdown]
# ## Exercise 8.5: Your layer is Mixtral
#
# Your layer of 4.7 has a router, three fused tensors, and a rule that may normalise its gates. That
# is Mixtral, OLMoE and Qwen3-MoE, once their weights are in it. Write the function that opens a
# layer of their files into yours, with your `fuse_experts` of 8.1.
#
# | `model_type` | names of one layer, after `model.layers.{layer}.` | gates are normalised |
# | --- | --- | --- |
# | mixtral | `block_sparse_moe.gate`, `...experts.{e}.w1`, `w3`, `w2` | always |
# | olmoe | `mlp.gate`, `mlp.experts.{e}.gate_proj`, `up_proj`, `down_proj` | if `norm_topk_prob` |
# | qwen3_moe | as olmoe | if `norm_topk_prob` |
#
# (All names end in `.weight`. Where `norm_topk_prob` is missing, the class takes false.)
#
# - Your part `fuse` knows Mixtral's names only: hand it names in Mixtral's spelling, and a `read`
#   that understands them.
# - The layer stays what `build` made of it: its parameters stay parameters, in their dtype.
# - Your layer is not everything. Raise a `ValueError` with a sentence for any other `model_type`,
#   for a `hidden_act` that is not "silu", and for a layer that has no experts in the file.

# %%
PARTS = {"build": "4.7", "fuse": "8.1"}


def my_block(
    config: dict[str, Any],
    names: list[str],
    read: Callable[[str], Tensor],
    layer: int,
    **parts: Callable,
) -> nn.Module:
    """Open one MoE layer of a checkpoint as a layer of your own.

    config: the keys of config.json: model_type, hidden_act, num_experts_per_tok, perhaps
    norm_topk_prob, and more; names, read, layer: as in 8.1.
    build(d_model, n_experts, top_k, d_ff, normalize_gates) and fuse(names, read, layer) are called
    as in their exercises. Returns the layer; raises ValueError where your layer cannot be that.
    """
    build, fuse = (parts.get(name) or mine(item) for name, item in PARTS.items())
    ### BEGIN SOLUTION
    kind = config["model_type"]
    if kind not in ("mixtral", "olmoe", "qwen3_moe") or config["hidden_act"] != "silu":
        raise ValueError("My layer can be mixtral, olmoe or qwen3_moe, with silu, and no other.")
    words = {".mlp.": ".block_sparse_moe.", "gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
    spelt = {}
    for name in names:
        translated = name
        for theirs, mixtrals in words.items():
            translated = translated.replace(theirs, mixtrals)
        spelt[translated] = name
    router = f"model.layers.{layer}.block_sparse_moe.gate.weight"
    if router not in spelt:
        raise ValueError(f"Layer {layer} has no experts in this file.")

    matrices = fuse(list(spelt), lambda name: read(spelt[name]), layer)
    n_experts, d_ff, d_model = matrices[0].shape
    normalize = kind == "mixtral" or config.get("norm_topk_prob", False)
    moe = build(d_model, n_experts, config["num_experts_per_tok"], d_ff, normalize)
    with torch.no_grad():
        moe.router.weight.copy_(read(spelt[router]))
        for own, matrix in zip((moe.w_gate, moe.w_up, moe.w_down), matrices, strict=True):
            own.copy_(matrix)
    return moe
    ### END SOLUTION


# %%
check("8.5", my_block)

# %% [markdown]
# ### The proof
#
# transformers has these models, as their makers published them. (It comes with
# `pip install "moe-teach[deploy]"`.) Make small ones of random weights, save them as they are
# published, open a layer of each file as yours, and give both the same tokens.

# %% tags=["play"]
import json
import tempfile
from pathlib import Path

from safetensors import safe_open
from transformers import (
    MixtralConfig,
    MixtralForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)
from transformers.utils import logging

logging.disable_progress_bar()
SIZES = {"hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2, "vocab_size": 50}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 4, "num_experts_per_tok": 3}
SIZES |= {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
MODELS = {
    "Mixtral": MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=12)),
    "OLMoE": OlmoeForCausalLM(OlmoeConfig(**SIZES, num_experts=12)),
    "Qwen3-MoE": Qwen3MoeForCausalLM(
        Qwen3MoeConfig(**SIZES, num_experts=12, moe_intermediate_size=24, norm_topk_prob=True)
    ),
}

# %% tags=["play"]
Opened, x = mine("8.5"), torch.randn(1, 40, 32)
for name, model in MODELS.items():
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        config = json.loads((Path(folder) / "config.json").read_text("utf-8"))
        with safe_open(Path(folder) / "model.safetensors", framework="pt") as file:
            own = Opened(config, list(file.keys()), file.get_tensor, layer=1)
    y, theirs = own(x)[0], model.model.layers[1].mlp(x)
    print(f"{name:10} largest difference {(y - theirs).abs().max():.1e}, "
          f"largest answer {theirs.abs().max():.1f}")  # fmt: skip
    torch.testing.assert_close(y, theirs, atol=1e-5, rtol=1e-4)

# %% [markdown]
# ## Exercise 8.6: Open task: whose router is it?
#
# A service lets you hand a token to its MoE layer, and tells the **most likely word** and nothing
# else: one of six. You may choose the logits of the router for that token freely. You know the
# experts, and twenty rules that its router may follow: Mixtral's, OLMoE's, DeepSeek-V3's,
# Llama-4's, and slips of them, such as the bias in the gates or a closed group set to 0. Which of
# them is it?
#
# `rules` are the twenty models. Each takes a table of tokens and gives their words, so you can try
# them as much as you like. `ask` is the service. It takes one token and **counts**.
#
# Your figure is the mean number of questions over all rules. Asking tokens at random until one rule
# is left needs 25. **Your goal is 4 or fewer.** With six possible answers to a question, nobody
# needs fewer than 1.85 on average. The check draws other experts each time.


# %%
def name_the_rule(
    ask: Callable[[Tensor], int], rules: list[Callable[[Tensor], Tensor]], n_experts: int
) -> int:
    """Find out which of the rules is behind the service.

    ask(logits) -> word: one token, logits (E,) floats within ±30; the word is 0 to 5.
    rules[i](logits) -> words: any number of tokens, (T, E) -> (T,) integers.
    Returns i, the place of the rule in the list. No two rules are the same.
    """
    ### BEGIN SOLUTION
    random, left = torch.Generator().manual_seed(0), list(range(len(rules)))
    while len(left) > 1:
        sizes = 3 * torch.rand(400, 1, generator=random)
        tokens = sizes * torch.randn(400, n_experts, generator=random)
        words = torch.stack([rules[i](tokens) for i in left])  # (rules left, tokens)
        counts = F.one_hot(words, 6).sum(dim=0)
        best = counts.square().sum(dim=1).argmin()  # the most even groups
        answer = ask(tokens[best])
        left = [i for i, word in zip(left, words[:, best], strict=True) if word == answer]
    return left[0]
    ### END SOLUTION


# %%
check("8.6", name_the_rule)
