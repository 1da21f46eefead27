# %% [markdown]
# # 08 Real models
#
# **Claim: Mixtral, OLMoE, Qwen3-MoE, DBRX, DeepSeek-V3, Llama-4, gpt-oss, Switch and Grok-1 are one
# layer, told in sentences that differ a little. With the right sentences your layer gives their
# outputs to six digits. With one sentence left out every tensor still loads, nothing raises an
# error, and text still comes out.**
#
# What a loader can check is names and shapes. The rest you have to know, and to prove by numbers.
#
# This page needs `transformers` and `gguf`; `pip install "moe-teach[deploy]"` brings both.

# %%
import json
import os
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here needs a network

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from moe_teach.chapters.ch08_real_models import figures, mistakes
from moe_teach.course import by_mode, check, show
from moe_teach.data.batches import evaluation_batches
from moe_teach.data.corpus import build_corpus
from moe_teach.nn.moe import MoE
from moe_teach.plots.style import show_figure
from moe_teach.train.evaluate import evaluate
from moe_teach.train.generate import generate
from moe_teach.train.shipped import load_shipped

transformers.utils.logging.disable_progress_bar()

# %% [markdown]
# ## One of three is right
#
# The small model that comes with the course was trained on code, prose, lists in many languages,
# and sums. Here it is three times. Once it is loaded as it was saved. The other two times somebody
# has made a mistake in loading: the same tensors, all of them in place.

# %%
model, tokenizer, card = load_shipped()
models = mistakes.three_to_judge(model)
prompt = tokenizer.encode("def read(self, path):\n    ")
for name, one in models.items():
    print(f"--- {name}\n{tokenizer.decode(prompt + generate(one, prompt, 40, temperature=0))}\n")

# %% [markdown]
# Which one is the model that was trained? Write it down before you go on.
#
# Now the same question, in nats per token on text that training has not seen:

# %%
corpus = build_corpus()
held_back = {name: torch.tensor(tokenizer.encode(text[: by_mode(full=200_000, fast=40_000)]))
             for name, text in corpus.validation.items()}  # fmt: skip
batches = evaluation_batches(held_back, batch_size=16, seq_len=128, limit=by_mode(full=32, fast=8))
losses = {name: evaluate(one, batches).loss for name, one in models.items()}
for name, loss in losses.items():
    print(f"{name}: {loss:.4f} nats per token")

# %% tags=["nbval-check-output"]
assert losses["B"] < losses["A"]
print("B is the one. A lost the normalisation of its gates, C its selection bias.")

# %% [markdown]
# All three write. Reading their text does not tell which one is broken, and a demo is made of text.
#
# ## What does a loader see?

# %%
check("8.q1", ...)

# %% [markdown]
# ## Eight ways to load it wrong
#
# Here are five of the six in that question and three more, each done to the trained model.
# `load_state_dict` is strict: it compares every name and every shape. Will it say anything? And how
# many nats does each of them cost? Guess the dearest and the cheapest.

# %%
show(mistakes.gate_and_up_swapped)
show(mistakes.experts_in_text_order)

# %%
right = evaluate(model, batches, corpus.domains)
lost = {}
for mistake in mistakes.ALL:
    wrong = mistakes.made(model, mistake)
    load_shipped().model.load_state_dict(wrong.state_dict(), strict=True)  # it never complains
    costs = evaluate(wrong, batches, corpus.domains).loss_per_domain
    lost[mistakes.called(mistake)] = {
        name: costs[name] - loss for name, loss in right.loss_per_domain.items()
    }

# %%
knows = float(torch.tensor(1024.0).log()) - right.loss
show_figure(figures.nats(lost, knows, control=mistakes.called(mistakes.topk_before_softmax)))

# %%
for name, costs in lost.items():
    print(f"{name:36} {sum(costs.values()) / len(costs):6.3f}   "
          f"({min(costs.values()):.3f} to {max(costs.values()):.3f})")  # fmt: skip

# %% tags=["nbval-check-output"]
mean = {name: sum(costs.values()) / len(costs) for name, costs in lost.items()}
same = mistakes.called(mistakes.topk_before_softmax)
assert max(abs(cost) for cost in lost[same].values()) < 1e-4, "another sentence, the same rule"
for mistake in mistakes.QUIET:
    assert min(lost[mistakes.called(mistake)].values()) > 0.002, "it costs in every domain"
    assert mean[mistakes.called(mistake)] < 0.2
for mistake in mistakes.LOUD:
    assert min(lost[mistakes.called(mistake)].values()) > 0.5
print("PASS: all load; some cost more than half a nat in every domain, some a tenth, one nothing")

# %% [markdown]
# **What to see.** Nothing raised, and the costs go from a thousandth of a nat to more than four.
# (The dotted line is where a model knows nothing: even guesses among its 1,024 tokens.) Mistakes in
# the *matrices* are loud: you would notice. Mistakes in the *rule* are quiet: gates that are not
# normalised, a sigmoid in place of a softmax, one expert too few cost a few hundredths to a tenth
# of a nat in the mean, something in every domain, and by the text above nobody could tell A from
# the others. The forgotten bias costs a thousandth or nothing: by their losses, nobody can tell B
# and C apart. And Mistral's own order, top-k first and then the softmax, is no mistake at all: it
# is the same function, and the control.
#
# One model, one set of texts: another model will weigh the mistakes otherwise. DeepSeek-V3's gates
# without normalisation broke fine-tuning outright (torchtitan, issue 1448), and OLMoE's, normalised
# against its config, made text that began well and drifted off (mlxcel, pull request 391).
#
# ## What is in a file
#
# Architectures differ in three things: how tensors are **named and laid out**, what the **router**
# does, and what an **expert** computes. Begin with the first. Here are small models of random
# weights, in the classes that everybody uses.

# %%
E, K, D, WIDTH = 12, 3, 32, 24  # experts, choices, model, expert
COMMON = {"hidden_size": D, "num_experts_per_tok": K, "num_attention_heads": 4, "vocab_size": 60}
COMMON |= {"num_hidden_layers": 2, "num_key_value_heads": 4}
COMMON |= {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
CONFIGS = {
    "Mixtral": transformers.MixtralConfig(**COMMON, num_local_experts=E, intermediate_size=WIDTH),
    "OLMoE": transformers.OlmoeConfig(**COMMON, num_experts=E, intermediate_size=WIDTH),
    "Qwen3-MoE": transformers.Qwen3MoeConfig(
        **COMMON, num_experts=E, moe_intermediate_size=WIDTH, norm_topk_prob=True
    ),
}

# %%
CONFIGS |= {
    "DeepSeek-V3": transformers.DeepseekV3Config(
        **COMMON, n_routed_experts=E, moe_intermediate_size=WIDTH, n_group=4, topk_group=2
    ),
    "gpt-oss": transformers.GptOssConfig(
        **COMMON, num_local_experts=E, intermediate_size=WIDTH, head_dim=8
    ),
    "Llama-4": transformers.Llama4TextConfig(
        **COMMON | {"num_experts_per_tok": 1}, num_local_experts=E, intermediate_size=WIDTH
    ),
}

# %%
CONFIGS |= {
    "DBRX": transformers.DbrxConfig(
        d_model=D,
        ffn_config={"hidden_size": D, "ffn_hidden_size": WIDTH, "moe_num_experts": E,
                    "moe_top_k": K, "ffn_act_fn": {"name": "silu"}},
    ),
    "Switch": transformers.SwitchTransformersConfig(
        d_model=D, d_ff=WIDTH, num_experts=E, expert_capacity=64, num_heads=4, d_kv=8
    ),
}  # fmt: skip

# %% [markdown]
# Each of them has one module that is an MoE layer. Get it, and give it weights of a useful size.

# %%
from transformers.models.dbrx.modeling_dbrx import DbrxFFN
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3MoE
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssMLP
from transformers.models.llama4.modeling_llama4 import Llama4TextMoe
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
from transformers.models.olmoe.modeling_olmoe import OlmoeSparseMoeBlock
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock
from transformers.models.switch_transformers.modeling_switch_transformers import (
    SwitchTransformersSparseMLP,
)

CLASSES = (MixtralSparseMoeBlock, OlmoeSparseMoeBlock, Qwen3MoeSparseMoeBlock, DeepseekV3MoE,
           GptOssMLP, Llama4TextMoe, DbrxFFN, SwitchTransformersSparseMLP)  # fmt: skip

# %%
torch.manual_seed(0)
blocks = {}
for (name, config), kind in zip(CONFIGS.items(), CLASSES, strict=True):
    config._experts_implementation = "eager"  # a block alone has no model that chooses one for it
    blocks[name] = kind(config).eval()
    for parameter in blocks[name].parameters():
        nn.init.normal_(parameter, std=D**-0.5)
blocks["DeepSeek-V3"].gate.e_score_correction_bias.copy_(torch.randn(E) / 4)
x = torch.randn(200, D)

# %% tags=["nbval-check-output"]
for name in ("OLMoE", "DBRX", "gpt-oss", "Switch"):
    print(name)
    for key, tensor in list(blocks[name].state_dict().items())[:6]:
        print(f"    {key:34} {tuple(tensor.shape)}")

# %% [markdown]
# The same layer, four times. OLMoE's experts are fused, gate and up above one another: `2 * 24`
# rows. DBRX joins all experts into one tall matrix. gpt-oss has its matrices the other way round.
# Switch keeps a module for each expert, and has no gate matrix at all.
#
# That is in memory. In a *file* things may be called and cut otherwise. Save OLMoE and look:

# %% tags=["nbval-check-output"]
from safetensors import safe_open

torch.manual_seed(1)
olmoe_model = transformers.OlmoeForCausalLM(CONFIGS["OLMoE"]).eval()
for parameter in olmoe_model.parameters():
    nn.init.normal_(parameter, std=D**-0.5)
scratch = tempfile.TemporaryDirectory()
folder = Path(scratch.name)
olmoe_model.save_pretrained(folder / "olmoe")
with safe_open(folder / "olmoe" / "model.safetensors", framework="pt") as file:
    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
names = sorted(name for name in tensors if name.startswith("model.layers.1.mlp."))
for name in names[:7]:
    print(f"{name:47} {tuple(tensors[name].shape)}")
print("...", len(names), "in all")

# %% [markdown]
# Three matrices for each expert, and a trap. The cell sorted the names, and names are text: 10
# comes before 2. Code that sorts them, or trusts a file that did, works for up to ten experts.
#
# Now read the layer by hand, expert by expert, by **number**.


# %%
def read_olmoe(path: Path, layer: int) -> dict[str, Tensor]:
    """Read the MoE layer of an OLMoE file into our names."""
    prefix = f"model.layers.{layer}.mlp."
    with safe_open(path, framework="pt") as file:
        experts = {
            part: torch.stack(
                [file.get_tensor(f"{prefix}experts.{e}.{part}_proj.weight") for e in range(E)]
            )
            for part in ("gate", "up", "down")
        }
        router = file.get_tensor(f"{prefix}gate.weight")
    return {"router.proj.weight": router, "router.expert_bias": torch.zeros(E),
            **{f"experts.w_{part}": tensor for part, tensor in experts.items()}}  # fmt: skip


# %%
from moe_teach.config import MoEConfig, RouterConfig

router = RouterConfig(n_experts=E, top_k=K, normalize_gates=False)
ours = MoE.build(D, MoEConfig(router=router, d_ff=WIDTH))
ours.load_state_dict(read_olmoe(folder / "olmoe" / "model.safetensors", layer=1))
theirs = olmoe_model.model.layers[1].mlp(x[None])[0]
print(f"largest output {theirs.abs().max():.3f}, "
      f"largest difference {(ours(x)[0] - theirs).abs().max():.1e}")  # fmt: skip
torch.testing.assert_close(ours(x)[0], theirs, atol=1e-5, rtol=1e-4)

# %% [markdown]
# Our layer *is* OLMoE's. (In exercise 8.5 your own layer will be.)
#
# ## Five ways to lay out two matrices
#
# Every expert of the SwiGLU kind has a gate and an up matrix, with a vector of D numbers for each
# of its hidden units. Here is how these vectors lie, for an expert of four units.

# %%
units = range(4)
gates, ups = [f"gate {i}" for i in units], [f"up {i}" for i in units]
both = [vector for pair in zip(gates, ups, strict=True) for vector in pair]
show_figure(figures.layouts({
    "Mixtral, OLMoE, Qwen3: two tensors": [*gates, "|", *ups],
    "in memory: one tensor, halves": [*gates, *ups],
    "Llama-4: halves, as columns": [*gates, *ups],
    "gpt-oss: in turn": both,
    "gpt-oss, read as halves": [*both[:4], "|", *both[4:]],
}))  # fmt: skip

# %% [markdown]
# **What to see.** The last row is what a loader makes of gpt-oss if it takes the halves: of the
# "gate" every second vector is an up vector. All shapes are right. (vLLM 44893: after one side of
# an interface changed its mind about this, gpt-oss-120b had an accuracy of zero.)
#
# Rows or columns is the other question. Where a matrix is not square, its shape gives the answer
# away. gpt-oss-20b is 2,880 wide, and so are its experts.

# %%
check("8.q2", ...)

# %% [markdown]
# So build the trap, and see it shut. A gpt-oss block with D = F, its way down read as it lies, and
# saved again:

# %% tags=["nbval-check-output"]
square = torch.randn(3, 16, 16)  # (E, F, D) in the file
misread = square  # taken for (E, D, F)
written = misread  # and written by the same belief
hidden = torch.randn(5, 16)
cosine = F.cosine_similarity(hidden @ misread[0].T, hidden @ square[0]).mean()
assert torch.equal(written, square) and cosine.abs() < 0.5
print("the round trip is exact to the last bit, and the outputs have nothing in common")

# %% [markdown]
# ## Nine rules
#
# Now the rules, each in a few lines, on the tensors of the published block. To keep them short,
# **every** expert answers every token, and the chosen answers are mixed.


# %%
def swiglu(x: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
    """What every expert says to every token: x (T, D) -> (E, T, D)."""
    return (F.silu(x @ w_gate.mT) * (x @ w_up.mT)) @ w_down.mT


def mixed(gates: Tensor, ids: Tensor, answers: Tensor) -> Tensor:
    """Mix the chosen answers: gates and ids (T, K), answers (E, T, D) -> (T, D)."""
    chosen = answers[ids, torch.arange(len(ids))[:, None]]
    return (gates[..., None] * chosen).sum(dim=1)


# %% [markdown]
# **Mixtral, OLMoE, Qwen3-MoE**: a softmax over all experts, the best K, and a sentence about the
# sum. (The argument with a default is the sentence that can be left out.)


# %%
def softmax_rule(block: nn.Module, x: Tensor, normalise: bool, swapped: bool = False) -> Tensor:
    """Mixtral (normalised), OLMoE (not), Qwen3-MoE (as its config says)."""
    gate, up = block.experts.gate_up_proj.chunk(2, dim=1)
    if swapped:
        gate, up = up, gate
    gates, ids = (x @ block.gate.weight.T).softmax(dim=-1).topk(K)
    if normalise:
        gates = gates / gates.sum(dim=-1, keepdim=True)
    return mixed(gates, ids, swiglu(x, gate, up, block.experts.down_proj))


# %% [markdown]
# How large can the mistake be that costs so little on our model?

# %%
check("8.q3", ...)

# %% [markdown]
# **DBRX** normalises too, but by any p-norm that its config names; the published one is 1. All
# experts lie in one matrix, and the way down is (F, D) for each.


# %%
def dbrx(block: nn.Module, x: Tensor, turned: bool = True) -> Tensor:
    """DBRX: tall matrices, four of sixteen experts in the released one."""
    w1, v1, w2 = (getattr(block.experts.mlp, name) for name in ("w1", "v1", "w2"))
    gate, up = (matrix.view(E, WIDTH, D) for matrix in (w1, v1))
    down = w2.view(E, WIDTH, D).mT if turned else w2.view(E, D, WIDTH)
    gates, ids = (x @ block.router.layer.weight.T).softmax(dim=-1).topk(K)
    return mixed(gates / gates.sum(dim=-1, keepdim=True), ids, swiglu(x, gate, up, down))


# %% [markdown]
# **DeepSeek-V3**: chapter 07, from the keys of its config. The bias chooses and does not weigh; the
# shared expert is added as it is.


# %%
from moe_teach.ops.route.variants import group_mask


def deepseek(block: nn.Module, x: Tensor, leaks: bool = False, grouped: bool = True) -> Tensor:
    """DeepSeek-V3: sigmoids, bias, groups, scale, shared expert."""
    config, gate_up = block.config, block.experts.gate_up_proj
    probs = (x @ block.gate.weight.T).sigmoid()
    ranking = probs + block.gate.e_score_correction_bias
    if grouped:
        mask = group_mask(ranking, config.n_group, config.topk_group)
    ids = (ranking.masked_fill(~mask, -torch.inf) if grouped else ranking).topk(K).indices
    gates = (ranking if leaks else probs).gather(1, ids)
    gates = config.routed_scaling_factor * gates / gates.sum(dim=-1, keepdim=True)
    answers = swiglu(x, *gate_up.chunk(2, dim=1), block.experts.down_proj)
    return mixed(gates, ids, answers) + block.shared_experts(x)


# %% [markdown]
# **Llama-4**: one expert, a sigmoid of its logit, and the gate multiplies what goes *in*. Is that
# not the same as multiplying what comes out?


# %%
def llama4(block: nn.Module, x: Tensor, on_input: bool = True) -> Tensor:
    """Llama-4: the gate scales the expert's input; matrices are turned."""
    best, ids = (x @ block.router.weight.T).topk(1)
    size = best.sigmoid()
    gate, up = block.experts.gate_up_proj.mT.chunk(2, dim=1)
    matrices = (gate, up, block.experts.down_proj.mT)
    if on_input:
        return mixed(torch.ones_like(size), ids, swiglu(size * x, *matrices)) + \
            block.shared_expert(x)  # fmt: skip
    return mixed(size, ids, swiglu(x, *matrices)) + block.shared_expert(x)


# %% [markdown]
# It would be, if experts were linear. A SwiGLU expert is nearly quadratic, so a half going in is
# nearly a quarter coming out. llm-compressor had it wrong until its test drew weights of a usual
# size (pull request 1907): near zero, everything is the same.
#
# **gpt-oss**: biases everywhere, the best K first and the softmax after, and a SwiGLU of its own:
# both sides are clamped at 7, the sigmoid is steeper (1.702), and 1 is added to the up side.


# %%
def gpt_oss(block: nn.Module, x: Tensor, in_turn: bool = True, plus: float = 1.0) -> Tensor:
    """gpt-oss: rows in turn, biases, clamped SwiGLU with up + 1."""
    experts = block.experts
    both = x @ experts.gate_up_proj + experts.gate_up_proj_bias[:, None]
    gate, up = (both[..., ::2], both[..., 1::2]) if in_turn else both.chunk(2, dim=-1)
    gate, up = gate.clamp(max=7.0), up.clamp(-7.0, 7.0)
    hidden = gate * torch.sigmoid(1.702 * gate) * (up + plus)
    answers = hidden @ experts.down_proj + experts.down_proj_bias[:, None]
    logits, ids = (x @ block.router.weight.T + block.router.bias).topk(K)
    return mixed(logits.softmax(dim=-1), ids, answers)


# %% [markdown]
# **Switch**: two matrices and a ReLU, one expert, its probability as gate, and a capacity: who
# comes late gets nothing.


# %%
def switch(block: nn.Module, x: Tensor, capacity: int = 64, weighed: bool = True) -> Tensor:
    """Switch: top-1, the probability as gate, first come, first served."""
    own = [block.experts[f"expert_{e}"] for e in range(E)]
    answers = torch.stack([(x @ e.wi.weight.T).relu() @ e.wo.weight.T for e in own])
    gates, ids = (x @ block.router.classifier.weight.T).softmax(dim=-1).topk(1)
    turn = F.one_hot(ids[:, 0], E).cumsum(dim=0).gather(1, ids)
    kept = turn <= capacity
    return mixed((gates if weighed else torch.ones_like(gates)) * kept, ids, answers)


# %% [markdown]
# **Grok-1** is not in transformers. Its rule stands in xAI's own code (`xai-org/grok-1`,
# `model.py`): a softmax over 8 experts in float32, the best two, gates *not* divided by their sum,
# and a gate matrix that goes through GELU where others have SiLU. There is no block to compare
# with; so the oracle is the rule read out slowly, token by token, in float64.


# %%
def grok(weights: list[Tensor], x: Tensor, act=lambda z: F.gelu(z, approximate="tanh")) -> Tensor:
    """Grok-1, all tokens at once."""
    router, gate, up, down = weights
    gates, ids = (x @ router.T).softmax(dim=-1).topk(2)
    return mixed(gates, ids, (act(x @ gate.mT) * (x @ up.mT)) @ down.mT)


# %%
def grok_slowly(weights: list[Tensor], x: Tensor) -> Tensor:
    """Grok-1, one token and one expert after the other, in float64."""
    (router, gate, up, down), rows = (part.double() for part in weights), []
    for token in x.double():
        probs = (router @ token).softmax(dim=0)
        two = probs.argsort(descending=True)[:2]
        hidden = F.gelu(gate[two] @ token, approximate="tanh") * (up[two] @ token)
        heard = [probs[e] * (down[e] @ hidden[i]) for i, e in enumerate(two)]
        rows.append(sum(heard))
    return torch.stack(rows).float()


# %%
torch.manual_seed(2)
grok_weights = [torch.randn(shape) / shape[-1] ** 0.5
                for shape in ((8, D), (8, WIDTH, D), (8, WIDTH, D), (8, D, WIDTH))]  # fmt: skip


# %% [markdown]
# ## The whole rule, and one sentence less
#
# Now the proof, and its control. For each architecture: our few lines against the published block,
# and the same lines with **one sentence left out**. How far apart will they be? Guess a power of
# ten for both.


# %%
def published(name: str, x: Tensor) -> Tensor:
    """What the published block says, (T, D)."""
    if name == "Grok-1":
        return grok_slowly(grok_weights, x)
    with torch.no_grad():
        said = blocks[name](x[None].clone())
    return (said[0] if isinstance(said, tuple) else said).reshape(len(x), D)


# %%
LEFT_OUT = [
    ("Mixtral", "gates sum to one", softmax_rule, {"normalise": True}, {"normalise": False}),
    ("OLMoE", "gates stay as they are", softmax_rule, {"normalise": False}, {"normalise": True}),
    ("Qwen3-MoE", "gate goes through the SiLU", softmax_rule, {"normalise": True},
     {"normalise": True, "swapped": True}),
    ("DBRX", "the way down is (F, D)", dbrx, {}, {"turned": False}),
    ("DeepSeek-V3", "the bias does not weigh", deepseek, {}, {"leaks": True}),
    ("DeepSeek-V3", "two groups of four", deepseek, {}, {"grouped": False}),
    ("Llama-4", "the gate scales the input", llama4, {}, {"on_input": False}),
    ("gpt-oss", "gate and up in turn", gpt_oss, {}, {"in_turn": False}),
    ("gpt-oss", "up + 1", gpt_oss, {}, {"plus": 0.0}),
    ("Switch", "the probability is the gate", switch, {}, {"weighed": False}),
    ("Grok-1", "GELU", grok, {}, {"act": F.silu}),
]  # fmt: skip


# %%
def error(got: Tensor, right: Tensor) -> float:
    """The largest difference, as a share of the largest output."""
    return float((got - right).abs().max() / right.abs().max())


rows = []
with torch.no_grad():
    for name, sentence, rule, whole, without in LEFT_OUT:
        weights, right_one = blocks.get(name, grok_weights), published(name, x)
        errors = [error(rule(weights, x, **how), right_one) for how in (whole, without)]
        rows.append((name, sentence, *errors))

# %% [markdown]
# And a control: a sentence that *is* another one and should change nothing. Mistral's own code
# takes the K best logits first and their softmax after.

# %%
with torch.no_grad():
    block = blocks["Mixtral"]
    logits, ids = (x @ block.gate.weight.T).topk(K)
    answers = swiglu(x, *block.experts.gate_up_proj.chunk(2, dim=1), block.experts.down_proj)
    control = error(mixed(logits.softmax(dim=-1), ids, answers), published("Mixtral", x))
show_figure(figures.sentences(rows, ("Mixtral", "top-k before the softmax", control)))

# %% tags=["nbval-check-output"]
assert max(whole for _, _, whole, _ in rows) < 1e-5 and control < 1e-5
assert min(without for *_, without in rows) > 0.05
print(
    "PASS: with the whole rule all nine agree to five digits and more; with one sentence left out"
)
print("      every one of them is off by a twentieth of its largest output at least")

# %% [markdown]
# **What to see.** Two columns, at least five orders of magnitude apart, and nothing in between.
# (Switch agrees to the last bit, which a logarithm cannot draw; it stands at the edge.) So a limit
# of 1e-4 in a parity test is no matter of taste: what is right is far below, what is wrong is far
# above. (In float32. bfloat16 keeps two to three digits, and then right and wrong come close. Prove
# in float32, run in what you like.)
#
# And beside it: a test whose limit is absolute, `atol=1.0`, on outputs of a thousandth, passed
# kernels with a cosine of 0.22 (ROCm's aiter, pull request 4398). Ours would not have, because it
# divides by the largest output.
#
# ## The library's layer, from the config
#
# All of this is configuration in the library: `moe_from(config)` reads what a published
# configuration means for router and experts, and `weights_from` what its tensors mean. (For nine
# more architectures, gradients included: `tests/checkpoint/test_blocks.py`.)

# %%
from moe_teach.checkpoint.blocks import moe_from, weights_from

CONFIGS["Grok-1"] = {"model_type": "grok-1", "num_experts": 8, "num_experts_per_tok": 2,
                     "intermediate_size": WIDTH, "hidden_size": D}  # fmt: skip
states = {name: block.state_dict() for name, block in blocks.items()}
in_file = ("router.w", "moe.linear.w", "moe.linear_v.w", "moe.linear_1.w")
states["Grok-1"] = {name: part.mT for name, part in zip(in_file, grok_weights, strict=True)}

# %%
for name, config in CONFIGS.items():
    layer = MoE.build(D, moe_from(config)).eval()
    layer.load_state_dict(weights_from(states[name], config))
    with torch.no_grad():
        far = error(layer(x[None])[0][0], published(name, x))
    print(f"{name:12} {moe_from(config).router.score_fn:8} off by {far:.0e}")
    assert far < 1e-5

# %% [markdown]
# ## Attention can be wrong, too
#
# One mistake of the first figure was not in an MoE layer. Rotary positions turn pairs of numbers,
# and there are two ways to pair them up: neighbours (Meta's code, GGUF files of Mixtral) or halves
# (transformers). The rows of query and key lie accordingly. What does a test with very short texts
# say about it?

# %%
check("8.q4", ...)

# %%
wrong = mistakes.made(model, mistakes.rotary_rows_in_pairs)
texts = batches[0].inputs
with torch.no_grad():
    gap = (wrong(texts).logits - model(texts).logits).abs().amax(dim=(0, 2))
for position in (0, 1, 2, 4, 16, 127):
    print(f"position {position:3}: logits differ by up to {float(gap[position]):.4f}")
assert gap[0] < 1e-4 < 0.05 < gap[16]

# %% [markdown]
# The first token is right, whatever the rows are, and the second is far off. Give parity tests
# texts of a usual length.
#
# ## Out of the door
#
# Your model can leave the notebook, as a folder that transformers, vLLM and SGLang open.
# `export_hf` picks the plainest published layout that computes the same; and where none does, it
# says so. Which one fits our small model?

# %%
from moe_teach.checkpoint.hf_export import export_hf
from moe_teach.train.shipped import WEIGHTS

vocabulary = (WEIGHTS / "four_domains" / "tokenizer.json").read_text("utf-8")
layout = export_hf(model, folder / "ours", tokenizer_json=vocabulary)
print(layout.name, "with", sorted(file.name for file in (folder / "ours").iterdir()))

# %% [markdown]
# Not Mixtral: the small model was balanced by a bias, and Mixtral has none. ERNIE-4.5, Baidu's, has
# one and is plain otherwise. Ask for Mixtral all the same:

# %%
try:
    export_hf(model, folder / "as_mixtral", "mixtral")
except ValueError as refusal:
    print(refusal)
assert not (folder / "as_mixtral").exists()

# %% [markdown]
# This refusal is what the whole chapter is about. The tensors would have fitted.
#
# Is the exported model the same? transformers opens the folder with a class of its own, and code of
# its own:

# %%
opened = transformers.AutoModelForCausalLM.from_pretrained(folder / "ours", dtype=torch.float32)
with torch.no_grad():
    far = error(opened(texts).logits, model(texts).logits)
print(f"{type(opened).__name__}: logits off by {far:.0e} of the largest")
assert far < 1e-4

# %% [markdown]
# A control that must fail: leave the bias out of the exported file, and open it again.

# %%
with torch.no_grad():
    for name, buffer in opened.named_buffers():
        if "bias" in name:
            buffer.zero_()
    for name, parameter in opened.named_parameters():
        if "e_score_correction_bias" in name:
            parameter.zero_()
    far = error(opened(texts).logits, model(texts).logits)
print(f"without the bias: off by {far:.0e}")
assert far > 1e-3

# %% [markdown]
# No loss could tell this model from the right one, and the parity test finds it at once: the
# *mean* over many tokens hides what single tokens show.
#
# The other way out is **GGUF**, the file of llama.cpp. Its reader computes by the *name* of an
# architecture, so there the guard matters even more: `qwen3moe` always normalises and `olmoe`
# never does, whatever the model wants.

# %%
from moe_teach.checkpoint.gguf.export import export_gguf

written = export_gguf(model, folder / "ours.gguf", tokenizer_json=vocabulary)
print(f"{written.architecture}: {written.n_tensors} tensors, {written.n_bytes / 1e6:.1f} MB")

# %% [markdown]
# (On the command line: `moe-teach export SOURCE --to hf FOLDER`, or `--to gguf`. That llama.cpp
# itself then gives the same probabilities, over the whole vocabulary, is proved by the tests of the
# course, with pairings that are wrong by intent beside them.)
#
# ## Open a released model
#
# The same code reads what others have released. It needs a connection and memory; how much?

# %% tags=["nbval-check-output"]
from moe_teach.catalog import CATALOG
from moe_teach.cost import n_params_total

for name in ("OLMoE-1B-7B", "Qwen3-30B-A3B", "Mixtral 8x7B"):
    total = n_params_total(CATALOG[name].config)
    print(f"{name:14} {total / 1e9:5.1f} billion parameters, {2 * total / 1e9:6.1f} GB in bfloat16")

# %%
ONLINE = False  # 14 GB to download, and as much memory
if ONLINE:
    from moe_teach.checkpoint.hf_import import import_hf

    os.environ.pop("HF_HUB_OFFLINE")
    olmoe = import_hf("allenai/OLMoE-1B-7B-0924", dtype=torch.bfloat16)
    print(olmoe.model.config)

# %% [markdown]
# Without a connection the very same function opens the folder that we have just written:

# %%
from moe_teach.checkpoint.hf_import import import_hf

again = import_hf(folder / "ours")
with torch.no_grad():
    assert torch.equal(again.model(texts).logits, model(texts).logits)
said = json.loads((folder / "ours" / "config.json").read_text("utf-8"))
print(again.layout, {key: said[key] for key in ("hidden_size", "num_hidden_layers", "vocab_size")})

# %% [markdown]
# ## Play
#
# Make a mistake of your own. It is done to every block of the trained model; whatever you change,
# names and shapes have to stay.


# %%
def my_mistake(block: nn.Module) -> None:
    """Change one thing."""
    block.ffn.experts.w_down.mul_(0.9)


wrong = mistakes.made(model, my_mistake)
cost = evaluate(wrong, batches).loss - right.loss
with torch.no_grad():
    print(f"{cost:+.4f} nats per token; logits off by "
          f"{error(wrong(texts).logits, model(texts).logits):.0e} of the largest")  # fmt: skip

# %% [markdown]
# Three things to try:
#
# 1. Let two experts change places: `matrix[[0, 1]] = matrix[[1, 0]].clone()` for every `matrix` in
#    `block.ffn.experts.parameters()`. Then let them change places in the router,
#    `block.ffn.router.proj.weight`, and in `block.ffn.router.expert_bias`, as well. What is left?
# 2. Set `block.ffn_norm.eps` to 1e-6, a number in which configs differ. Does either of the two
#    numbers that are printed notice?
# 3. Find a mistake that costs hardly a thousandth of a nat, and is more than a tenth off in the
#    logits.

# %% [markdown]
# ## What could be wrong with these results
#
# - **Random blocks.** Equal outputs are proved on random weights of a usual size, with 200 tokens.
#   A rule that matters only where two experts tie, or beyond a clamp that random numbers never
#   reach, would not show. (Would you notice if gpt-oss' clamp at 7 were left out? Try it: here it
#   never acts.)
# - **transformers is not the maker.** Its classes were compared with the makers' code when they
#   were added, but they are a second reading. For Grok-1 we have only our own.
# - **The nats** are those of one small model and one set of texts. They show that quiet mistakes
#   exist, not how much each costs elsewhere.
# - **Evaluation only.** In training, jitter and capacity make more differences.
# - **No released weights** were opened on this page, for want of a network.
#
# ## What you take with you
#
# - A loader checks names and shapes. What a tensor means, and what the rule is, it cannot see.
# - Mistakes in matrices are loud, mistakes in rules are quiet.
# - A round trip proves nothing about outputs. Text proves nothing at all. Compare numbers with
#   another implementation, in float32, over texts of a usual length, as a share of the largest.
# - The most useful thing that an exporter can do is to refuse.
#
# In the exercises you read Mixtral's and gpt-oss' files, write the report that says where two
# models part, mend somebody's loader, make your own layer Mixtral, and find out whose router a
# model has by asking it.
