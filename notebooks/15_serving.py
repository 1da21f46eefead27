# %% [markdown]
# # 15 Serving
#
# **Claim: many people can share one model in the same forward pass, and each is answered exactly as
# if they were alone. For a mixture of experts this sharing has a price that a dense model does not
# pay, and the price is highest neither for one person nor for thousands.**
#
# A model that answers one text is a function. A model that answers *people* has a queue, a memory
# for every conversation, and a plan for each step. You will build these three by hand, see the
# library's engine do the same, and then count whom a step wakes.

# %%
from statistics import mean

import torch
from torch import Tensor

from moe_teach.catalog import CATALOG
from moe_teach.chapters.ch15_serving import figures
from moe_teach.cost import expected_distinct_experts, kv_cache_bytes_per_token, weight_bytes
from moe_teach.course import by_mode, check, show
from moe_teach.deploy.engine.cache import Reading
from moe_teach.deploy.engine.engine import Engine
from moe_teach.deploy.engine.requests import Request, Sampling
from moe_teach.plots.style import show_figure
from moe_teach.train.generate import generate
from moe_teach.train.shipped import load_shipped

model, tokenizer, _ = load_shipped()
E, K = model.config.moe.router.n_experts, model.config.moe.router.top_k
print(f"{model.config.n_layers} layers, each with {E} experts, {K} for every token")

# %% [markdown]
# ## Eight people, one after the other
#
# Eight people want 24 tokens each, from the small model that comes with the course. First the plain
# way: `generate` answers one after the other, with a forward pass for every token.

# %% tags=["nbval-check-output"]
BEGINNINGS = (
    "def main(",
    "import ",
    "The list of",
    "class ",
    "12 + 30 = ",
    "return ",
    "If the",
    "for i in",
)
N_NEW = 24
prompts = [tuple(tokenizer.encode(text)) for text in BEGINNINGS]
alone = [generate(model, prompt, N_NEW, temperature=0.0) for prompt in prompts]
print("forward passes, one after the other:", len(alone) * N_NEW)

# %% [markdown]
# Now all of them at once, through the engine that this chapter is about.


# %%
def asks(name: int, prompt: tuple[int, ...], n_new: int = N_NEW) -> Request:
    """Ask for the likeliest continuation."""
    return Request(
        id=str(name), prompt=prompt, sampling=Sampling(max_tokens=n_new, temperature=0.0)
    )


def answers_of(engine: Engine) -> dict[str, list[int]]:
    """Step until nobody waits, and sort the tokens by request."""
    answers: dict[str, list[int]] = {}
    while engine.has_work:
        for token in engine.step():
            answers.setdefault(token.request_id, []).append(token.token_id)
    return answers


# %% tags=["nbval-check-output"]
engine = Engine(model, n_slots=8)
for i, prompt in enumerate(prompts):
    engine.submit(asks(i, prompt))
together = answers_of(engine)
print("forward passes, all at once:", engine.stats.n_steps)
same = sum(together[str(i)] == text for i, text in enumerate(alone))
print(f"answers equal to the lone ones, token for token: {same} of {len(alone)}")
assert same == len(alone)

# %%
for i in (0, 2):
    print(repr(BEGINNINGS[i] + tokenizer.decode(together[str(i)])))

# %% [markdown]
# An eighth of the passes, and not a token differs. It is a small model: read its answers as a sign
# of life. Each pass does more work, of course. How much more?
#
# ## Predict

# %%
check("15.q1", ...)

# %% [markdown]
# ## What need not be read again
#
# A new token looks at the keys and values of all tokens before it. They do not change, so they are
# kept: the **KV cache**. Count the rows that a model reads, with and without it.

# %% tags=["nbval-check-output"]
text = torch.tensor([[*prompts[2], *alone[2]]])
n_prompt, n_new = len(prompts[2]), N_NEW
without = sum(range(n_prompt, n_prompt + n_new))
cache, rows = model.new_cache(), 0
with torch.no_grad():
    for piece in (text[:, :n_prompt], *text[:, n_prompt:-1].split(1, dim=1)):
        kept = model(piece, cache).logits[:, -1]
        rows += piece.shape[1]
    whole = model(text[:, :-1]).logits[:, -1]
torch.testing.assert_close(kept, whole, atol=1e-4, rtol=1e-4)
print(f"rows read for {n_new} new tokens: {without} without a cache, {rows} with one")

# %%
check("15.q2", ...)

# %% [markdown]
# The two kinds of passes have names. **Prefill** reads a prompt: many rows of one text at once.
# **Decode** reads the newest token: one row a text. And the cache has a price, in memory: this is
# what one position takes, beside all weights, in bfloat16.

# %% tags=["nbval-check-output"]
for name in ("OLMoE-1B-7B", "Qwen3-30B-A3B", "Mixtral 8x7B"):
    config = CATALOG[name].config
    position, weights = kv_cache_bytes_per_token(config), weight_bytes(config)
    print(f"{name:14} {position / 1024:4.0f} kB a position; {weights / position / 1e3:5.0f} "
          "thousand positions weigh as much as the model")  # fmt: skip

# %% [markdown]
# ## Slots: texts of different lengths in one batch
#
# A batch wants rows of one shape, and people are at different places. So set aside a table with a
# **slot** for each text, and give every row three things: its slot, its position, and a mask that
# ends at its own position. By hand, for one head:


# %%
def look_in_slots(
    query: Tensor, keys: Tensor, values: Tensor, slots: Tensor, position: Tensor
) -> Tensor:
    """Let row t see positions 0 ... position[t] of its slot: query (T, d), keys (n, L, d)."""
    visible = torch.arange(keys.shape[1]) <= position[:, None]
    fit = (keys[slots] @ query[:, :, None])[:, :, 0] / query.shape[-1] ** 0.5
    weights = fit.masked_fill(~visible, -torch.inf).softmax(dim=-1)
    return (weights[:, None] @ values[slots])[:, 0]


# %% [markdown]
# Three texts of 5, 1 and 9 tokens, each with a new row. What stands in a slot beyond its text is
# left over from somebody else; here it is large, so that it would be noticed.

# %% tags=["nbval-check-output"]
random = torch.Generator().manual_seed(0)
position = torch.tensor([5, 1, 9])
keys, values = (torch.randn(3, 12, 4, generator=random) for _ in range(2))
for slot, end in enumerate(position.tolist()):
    values[slot, end + 1 :] = 1000.0
query, slots = torch.randn(3, 4, generator=random), torch.arange(3)
mixed = look_in_slots(query, keys, values, slots, position)
for t, end in enumerate(position.tolist()):
    own = (query[t] @ keys[t, : end + 1].T / 2).softmax(-1) @ values[t, : end + 1]
    torch.testing.assert_close(mixed[t], own)
print("PASS: each row sees its own text, and nobody's leftovers")

# %% [markdown]
# The control, which has to go wrong: the mask of the *longest* text for everybody.

# %% tags=["nbval-check-output"]
careless = look_in_slots(query, keys, values, slots, position.max().expand(3))
for t in range(3):
    is_same = torch.allclose(careless[t], mixed[t])
    print(f"text {t}: {'unharmed' if is_same else 'has looked at leftovers'}")

# %%
check("15.q3", ...)

# %% [markdown]
# The library's attention asks its cache two questions: where do the new tokens stand, and what do
# they see? A cache that grows answers them for a batch of equal texts; the engine's answers them
# for slots. Attention itself does not know the difference.

# %%
show(Reading.attend)

# %% [markdown]
# ## Who goes next
#
# The oldest plan is **static batching**: take as many as there are slots, and go on when the last
# one has ended. **Continuous batching** (Orca, Yu et al., OSDI 2022) asks anew in every step: is a
# slot free? Count the steps of both, for answers of unequal lengths.


# %%
def static_steps(lengths: list[int], n_slots: int) -> int:
    """Steps until all answers are there, a batch at a time."""
    return sum(max(lengths[i : i + n_slots]) for i in range(0, len(lengths), n_slots))


def continuous_steps(lengths: list[int], n_slots: int) -> int:
    """Steps until all answers are there, when a free slot is given away at once."""
    ends = [0] * n_slots
    for length in lengths:
        first_free = ends.index(min(ends))
        ends[first_free] += length
    return max(ends)


# %% tags=["nbval-check-output"]
for seed in range(3):
    random = torch.Generator().manual_seed(seed)
    lengths = (torch.empty(200).exponential_(1 / 40, generator=random).long() + 1).tolist()
    least = sum(lengths) / 8
    static, continuous = static_steps(lengths, 8), continuous_steps(lengths, 8)
    print(f"seed {seed}: static {static / least:.2f}, continuous {continuous / least:.2f} "
          "times the least that 8 slots need")  # fmt: skip
    assert continuous < 0.6 * static
equal = [40] * 200
assert static_steps(equal, 8) == continuous_steps(equal, 8)
print("control: with answers of equal length both need", static_steps(equal, 8), "steps")

# %% [markdown]
# Static batching waits for the longest of eight. The control takes the cause away: where all
# answers are equally long, nothing is gained. In the engine a step is written like this:

# %%
show(Engine.step)

# %% [markdown]
# `plan` gives each speaking text one row, and spends a budget (`prefill_chunk`) on prompts, so that
# a long prompt is read in pieces and holds nobody up. Everything is read in **one** pass. Let
# requests come at different times into three slots, and look at the log.

# %% tags=["nbval-check-output"]
engine, arrivals = Engine(model, n_slots=3, prefill_chunk=4), [0, 0, 1, 4, 9, 9, 10, 22]
late: dict[str, list[int]] = {}
for step in range(200):
    for i, arrives in enumerate(arrivals):
        if arrives == step:
            engine.submit(asks(i, prompts[i], n_new=4 + 2 * i))
    for token in engine.step():
        late.setdefault(token.request_id, []).append(token.token_id)
for i, text in enumerate(alone):
    assert late[str(i)] == text[: 4 + 2 * i]
print("PASS: whenever they came, all eight got the answers they get alone")

# %% tags=["nbval-check-output"]
print("step  prefill  decode  running  waiting")
for number, record in list(enumerate(engine.stats.steps))[:12]:
    print(f"{number:4} {record.n_prefilled:8} {record.n_decoded:7} {record.n_running:8} "
          f"{record.n_waiting:8}")  # fmt: skip

# %% [markdown]
# A request may also ask for its **trace**: the experts behind each token, best first. Production
# engines have come to offer this (vLLM, pull request 28284; SGLang, 17434).

# %% tags=["nbval-check-output"]
engine = Engine(model)
sampling = Sampling(max_tokens=5, temperature=0.0)
engine.submit(Request(id="seen", prompt=prompts[2], sampling=sampling, trace=True))
while engine.has_work:
    for token in engine.step():
        text = repr(tokenizer.decode([token.token_id]))
        print(f"{text:14} layer by layer: {token.experts}")

# %% [markdown]
# ## Whom a step wakes
#
# So far everything was true of a dense model, too. Now the experts. A decoding step reads a few
# rows, and its cost is what has to be *fetched*: all shared weights, and every expert that at least
# one row has chosen. Chapter 01 counted them, for tokens that choose evenly and independently:
#
# $$\text{distinct}(B) = E \left( 1 - \left( 1 - K / E \right)^B \right)$$
#
# What do real tokens do? We let the model read texts of the four kinds it was trained on, and draw
# B tokens that might stand in one step.

# %%
from moe_teach.data.corpus import build_corpus

LONGEST, N_TEXTS = 64, by_mode(full=24, fast=6)
corpus = build_corpus(limit_bytes=200_000)
windows = {}
for kind in corpus.domains:
    ids = tokenizer.encode(corpus.validation[kind][: 8 * LONGEST * N_TEXTS])
    ids = ids[: len(ids) // LONGEST * LONGEST][: LONGEST * N_TEXTS]
    windows[kind] = torch.tensor(ids).view(-1, LONGEST)

# %%
with torch.no_grad():
    routes = {  # (n_layers, texts, positions, K) for each kind
        kind: torch.stack([r.expert_ids.view(len(ids), LONGEST, K) for r in model(ids).routings])
        for kind, ids in windows.items()
    }
print({kind: tuple(ids.shape) for kind, ids in routes.items()})


# %%
def woken(chosen: Tensor) -> float:
    """Experts that these tokens wake, in the mean over layers: (n_layers, B, K)."""
    return mean(layer.unique().numel() for layer in chosen)


def mixed_tokens(n: int, random: torch.Generator) -> Tensor:
    """Draw tokens of all kinds."""
    everything = torch.cat([ids.flatten(1, 2) for ids in routes.values()], dim=1)
    return everything[:, torch.randint(everything.shape[1], (n,), generator=random)]


def one_kind(n: int, random: torch.Generator) -> Tensor:
    """Draw tokens of one kind of text."""
    kinds = list(routes)
    ids = routes[kinds[int(torch.randint(len(kinds), (), generator=random))]].flatten(1, 2)
    return ids[:, torch.randint(ids.shape[1], (n,), generator=random)]


def copies(n: int, random: torch.Generator) -> Tensor:
    """Draw one token, n times the same: the control."""
    return mixed_tokens(1, random).expand(-1, n, -1)


# %%
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
TRAFFIC = {"all kinds": mixed_tokens, "one kind": one_kind, "copies of one token": copies}
N_DRAWS = by_mode(full=60, fast=20)
distinct = {"formula": [expected_distinct_experts(E, K, n) for n in SIZES]}
by_seed: dict[str, list[list[float]]] = {name: [] for name in TRAFFIC}
for name, draw in TRAFFIC.items():
    for seed in range(3):
        random = torch.Generator().manual_seed(seed)
        by_seed[name].append([mean(woken(draw(n, random)) for _ in range(N_DRAWS)) for n in SIZES])
    distinct[name] = [mean(seeds) for seeds in zip(*by_seed[name], strict=True)]
print("tokens in a step      ", "".join(f"{n:7}" for n in SIZES))
for name, counts in distinct.items():
    print(f"{name:22}", "".join(f"{count:7.1f}" for count in counts))

# %% tags=["nbval-check-output"]
at_16 = SIZES.index(16)
for formula, seeds in zip(
    distinct["formula"], zip(*by_seed["all kinds"], strict=True), strict=True
):
    assert max(seeds) < formula + 0.3, "real tokens wake no more than even ones"
for mixed, single in zip(by_seed["all kinds"], by_seed["one kind"], strict=True):
    assert single[at_16] < mixed[at_16] - 0.5, "in every seed one kind wakes fewer"
print("PASS: the formula bounds real traffic, and texts of one kind wake fewer experts")

# %% [markdown]
# With 16 tokens nearly everybody is awake, each for two rows. That is the price of sharing, and a
# dense model does not pay it: it fetches the same weights for one row or for a hundred. What the
# price is depends on the machine, through one number from chapter 10: how many FLOPs it does while
# it fetches one byte. (206 are the data sheet's 989 TFLOPs a second in bfloat16 over 4.8 TB a
# second; 10 is a round number for a single core.) A layer then takes as long as the slower of the
# two.


# %%
def layer_time(n_rows: int, n_fetched: float, flops_per_byte: float, width: int = 4) -> float:
    """Time of one layer's experts, in units of fetching one weight, of `width` bytes."""
    computing = 2 * n_rows * K / flops_per_byte  # two FLOPs for each weight and row
    return max(n_fetched * width, computing)


# %% tags=["nbval-check-output"]
MACHINES = {
    "10 FLOPs a byte (a laptop's core)": (10.0, 4),
    "206 FLOPs a byte (an H200)": (206.0, 2),
}
WIDE = tuple(2**i for i in range(14))
over_dense = {}
for name, (flops_per_byte, width) in MACHINES.items():
    machine = (flops_per_byte, width)
    over_dense[name] = [
        layer_time(n, expected_distinct_experts(E, K, n), *machine) / layer_time(n, K, *machine)
        for n in WIDE
    ]
    peak = max(over_dense[name])
    first = WIDE[over_dense[name].index(peak)]
    print(f"{name}: {peak:.1f} times the dense layer, from {first} tokens on")

# %% [markdown]
# Does a real machine do this? Time one layer of experts and a dense layer of the same active size,
# on yours, now. (The sizes are larger than our model's: a layer that fits into a core's cache has
# nothing to fetch.)

# %%
import time

from moe_teach.nn.experts import Experts
from moe_teach.ops.routed_ffn import routed_ffn
from moe_teach.types import ExpertWeights, Routing

D, F = by_mode(full=(512, 1024), fast=(256, 512))
experts, dense = Experts(E, D, F).weights, Experts(1, D, K * F).weights


def seconds_of(n: int, weights: ExpertWeights, top_k: int, random: torch.Generator) -> float:
    """Processor time of n rows that choose evenly among these; the least of some calls."""
    probs = torch.rand(n, len(weights.w_up), generator=random).softmax(-1)
    routing = Routing(probs.log(), probs, *probs.topk(top_k))
    x, spent = torch.randn(n, D, generator=random), []
    for _ in range(by_mode(full=7, fast=3)):
        start = time.process_time()
        routed_ffn(x, routing, weights, "swiglu")
        spent.append(time.process_time() - start)
    return min(spent)


# %%
measured, random = [], torch.Generator().manual_seed(0)
with torch.inference_mode():
    for n in SIZES:
        many, one = seconds_of(n, experts, K, random), seconds_of(n, dense, 1, random)
        measured.append(many / one)
        print(f"{n:4} tokens: {measured[-1]:.1f} times the dense layer, here")

# %%
show_figure(figures.signature(SIZES, distinct, WIDE, over_dense, measured))

# %% tags=["nbval-check-output"]
for name, ratios in over_dense.items():
    peak = ratios.index(max(ratios))
    assert 0 < peak < len(ratios) - 1, "the worst is neither one token nor the most"
    assert ratios[0] == 1 and ratios[-1] < 1.05 and max(ratios) > E / K / 2
    same = [layer_time(n, K, *MACHINES[name]) for n in WIDE]
    assert all(layer_time(n, woken(copies(n, random)), *MACHINES[name]) == t
               for n, t in zip(WIDE, same, strict=True))  # fmt: skip
print("PASS: a hump on both machines; with copies of one token, who wake K experts, there is none")

# %% [markdown]
# **What to see.** Left: distinct experts climb to all of them within some dozen tokens; one kind of
# text climbs slower, copies of one token not at all. Right: the same climb turned into time. One
# token costs what it costs in a dense layer. In the middle the layer fetches nearly everybody for a
# row or two each, up to E / K = 8 times the dense bytes. With thousands of tokens each expert has
# enough rows, computing decides, and the ratio comes back to 1. The control has the same router,
# gates and products, and only lacks *different* choices: no hump. So it is the different experts,
# and nothing else about the layer.
#
# The crosses are the processor time of your machine (an arrow: above the frame). They may stray:
# other programs share it, and small matrices have costs of their own. Nothing below depends on
# them.

# %% [markdown]
# ## Guess, and check
#
# A pass that waits for its weights takes hardly longer for five rows than for one, in a dense
# model. So let a small model **guess** a few tokens, and the large one read all guesses in one
# pass: as long as it would have said the same, they are kept (speculative decoding, Leviathan et
# al. 2023, arXiv 2211.17192). The answer does not change. What about the experts that have to be
# fetched?

# %%
check("15.q4", ...)

# %% [markdown]
# Our guesser is made in a moment: the first three of the model's four layers, with its own way in
# and out. Nobody trained it to guess.

# %%
from dataclasses import replace

from moe_teach.deploy.engine.speculative import Speculator
from moe_teach.nn.model import Model

guesser = Model(replace(model.config, n_layers=3)).eval()
weights = {**dict(model.named_parameters()), **dict(model.named_buffers())}
with torch.no_grad():
    for name, tensor in (*guesser.named_parameters(), *guesser.named_buffers()):
        tensor.copy_(weights[name])


# %%
def speculate(draft: Model, n_draft: int) -> tuple[float, float, float]:
    """Kept share of the guesses; passes, and experts of a layer fetched, for each new token."""
    speculator, found = Speculator(model, draft, n_draft=n_draft), []
    for prompt, text in zip(prompts[:N_SPOKEN], alone, strict=False):
        greedy = Sampling(max_tokens=N_NEW, temperature=0.0)
        found.append(speculator.generate(prompt, greedy))
        assert found[-1].token_ids == text
    kept = sum(f.n_accepted for f in found) / sum(f.n_drafted for f in found)
    fetched = sum(mean(layers) for f in found for layers in f.distinct_experts)
    n_new = N_NEW * len(found)
    return kept, sum(f.n_passes for f in found) / n_new, fetched / n_new


# %%
N_SPOKEN = by_mode(full=8, fast=3)
spoken = {}
print("guesser        guesses    kept   passes/token   experts/token")
for name, draft in (("three layers", guesser), ("itself", model)):
    for n_draft in (2, 4):
        spoken[name, n_draft] = kept, passes, fetched = speculate(draft, n_draft)
        print(f"{name:14} {n_draft:7} {kept:7.0%} {passes:14.2f} {fetched:15.2f}")

# %% tags=["nbval-check-output"]
for n_draft in (2, 4):
    _, passes, fetched = spoken["three layers", n_draft]
    assert passes < 1 and fetched > K, "fewer passes, and more experts"
    _, passes, fetched = spoken["itself", n_draft]
    assert passes < 0.6 and fetched < K, "a perfect guesser saves both"
print("PASS: every answer is the same; poor guesses save passes and cost experts")

# %% [markdown]
# Plain decoding makes one pass a token and fetches K = 2 experts a layer. With the poor guesser
# the passes fall and the fetched experts **rise**: a wrong guess has woken its experts all the
# same. The control guesses with the model itself, so that every guess is kept: both fall. So it is
# not reading ahead that costs, but guessing wrong. A dense model fetches the same for one row or
# for five, and has nothing to lose there.
#
# ## How long people wait
#
# A server is not asked by eight people who wait for one another. Requests arrive when they like: an
# **open loop**. A queue simulation needs no model, only the plan: slots, and answers of some
# length. Time is counted in steps.


# %%
def waits(rate: float, n_requests: int, n_slots: int, seed: int) -> list[float]:
    """Steps from the arrival to a slot, when `rate` of the slots' capacity is asked for."""
    random = torch.Generator().manual_seed(seed)
    lengths = torch.empty(n_requests).exponential_(1 / 40, generator=random).add(1).tolist()
    gaps = torch.empty(n_requests).exponential_(rate * n_slots / 41, generator=random)
    ends, waited = [0.0] * n_slots, []
    for arrival, length in zip(gaps.cumsum(0).tolist(), lengths, strict=True):
        slot = ends.index(min(ends))
        begin = max(arrival, ends[slot])
        waited.append(begin - arrival)
        ends[slot] = begin + length
    return waited


# %% tags=["nbval-check-output"]
print("load      p50    p95    p99   steps of waiting (median of 3 seeds)")
waited_at = {}
for rate in (0.5, 0.7, 0.9, 0.98):
    runs = [sorted(waits(rate, 4000, 8, seed)) for seed in range(3)]
    table = [sorted(run[-(-p * 4000 // 100) - 1] for run in runs)[1] for p in (50, 95, 99)]
    waited_at[rate] = table
    print(f"{rate:4.0%} ", "".join(f"{value:7.0f}" for value in table))
assert waited_at[0.7][2] > waited_at[0.5][2] and waited_at[0.98][2] > 3 * waited_at[0.7][2]

# %%
check("15.q5", ...)

# %% [markdown]
# An answer has 41 steps in the mean. At half load nobody notices the queue; near the limit one in a
# hundred waits for several answers of others. The mean would have hidden them, and so would a
# **closed** loop, in which a slow server is simply asked less often.
#
# ## Play

# %%
from moe_teach.widgets.batch_explorer import BatchExplorer

print("\n".join(f"{n}. {text}" for n, text in enumerate(BatchExplorer.what_to_try, start=1)))
BatchExplorer.of([len(prompt) for prompt in prompts], n_experts=E, top_k=K)

# %% [markdown]
# ## What could be wrong with these results
#
# - **One small model.** Its four kinds of text are far apart, and it has 16 experts. How much one
#   kind saves depends on how much the experts have specialised, and that on the training.
# - **A roofline is a bound.** It knows two limits and no others: no launches, no attention, no
#   caches, no router. It predicts the shape, not the height.
# - **Even choices.** The curves on the right take the formula; skewed traffic wakes fewer, so the
#   real climb is slower.
# - **Equal tokens** were shown in float32 on one machine. A sum in another order rounds
#   differently, and where two tokens tie to the last digits a batch may tip the scale.
# - **The guesser** was not trained to guess. A trained one is right more often, and then the sum
#   may turn.
# - **The queue** has no prompts and steps of equal length. With prompts to read, and steps that
#   wake more experts the fuller they are, waits grow sooner.
#
# ## What you take with you
#
# - A cache turns quadratic reading into linear reading, and costs memory for every position.
# - Rows need a slot, a position and a mask that ends there. Then texts of any lengths share a pass,
#   and a slot needs no cleaning.
# - Give free slots away in every step, and bound the prompt tokens of a step.
# - Sharing is cheap for a dense model at once; for experts only when each has enough rows.
# - Guessing ahead saves passes. Wrong guesses wake experts, and somebody has to fetch them.
# - Promise waits by percentiles of an open loop, well below the limit.
#
# The course's server puts an address in front of this engine: `moe-teach serve` speaks the dialect
# of OpenAI's clients, with keys, limits, metrics and the trace. `docs/handover.md` says which other
# engine to take for which need.
#
# In the exercises you write the cache's book-keeping for pieces of any texts and the scheduler, and
# let them serve a model whose experts are your own; you summarise waits, count whom a step wakes,
# find out a scheduler whose answers are all right, and choose who travels together.
