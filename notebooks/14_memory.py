# %% [markdown]
# # 14 Memory
#
# **Claim: a token needs few experts, a text needs nearly all of them. How much fast memory a model
# can do with depends on who reads, for how long, and beside whom. Three sentences that are often
# said about it are each true under one load, and measured here under others.**
#
# The three sentences: "only the active experts need memory", "the hot experts are pinned", "experts
# are loaded on demand". You will run a trained model within a quarter of its experts' bytes, replay
# its traces through caches, and work out what all that means for models that matter. Every number
# is printed by a cell or comes with its source.

# %%
import tempfile
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from moe_teach.catalog import CATALOG
from moe_teach.chapters.ch14_memory import figures as plots
from moe_teach.chapters.ch14_memory.inputs import decoded
from moe_teach.chapters.ch14_memory.recorded import one_after_another, texts
from moe_teach.checkpoint.hf_export import export_hf
from moe_teach.cost import expected_distinct_experts
from moe_teach.course import by_mode, check, show
from moe_teach.data.corpus import build_corpus
from moe_teach.deploy.store.foresight import as_before, by_load, forecast
from moe_teach.deploy.store.opening import opened_within
from moe_teach.deploy.store.policies import LFU, LRU, Key, Optimum, Pinned
from moe_teach.deploy.store.simulator import simulate
from moe_teach.deploy.store.trace import Trace, drawn, record_trace, shuffled, taking_turns
from moe_teach.nn.model import Model
from moe_teach.plots.style import show_figure
from moe_teach.train.differences import paired
from moe_teach.train.shipped import load_shipped

# %% [markdown]
# ## A quarter of the memory
#
# Here is the small model that comes with the course: four layers of 16 experts, 2 of which work for
# a token. Its experts go to a folder and stay there. Memory for a quarter of their bytes is all we
# allow; whoever is wanted and not there is read, and whoever was not used for longest has to go
# (LRU, least recently used).

# %%
model, tokenizer, card = load_shipped()
router = model.config.moe.router
E, K, L = router.n_experts, router.top_k, model.config.n_layers
all_bytes = sum(4 * w.numel() for block in model.blocks for w in block.ffn.experts.parameters())
print(
    f"{L} layers, {E} experts in each, {K} for a token; their weights take {all_bytes / 1e6:.1f} MB"
)

# %%
prompt = torch.as_tensor(tokenizer.encode("def area(width, height):\n    return width * height\n"))
place = tempfile.TemporaryDirectory()
folder = Path(place.name) / "model"
export_hf(model, folder)
with opened_within(folder, all_bytes // 4, LRU()) as (opened, store):
    from_disk = decoded(opened.model, prompt)
    counts = store.counts
print(f"{len(prompt)} tokens: {counts.hits} experts were there, {counts.misses} had to be read")
print(f"read in all: {counts.moved_bytes / all_bytes:.1f} times the bytes of all experts")

# %% tags=["nbval-check-output"]
assert torch.equal(from_disk, decoded(model, prompt))
print("PASS: the logits are those of the model in memory, to the last bit")

# %% [markdown]
# It works, and it works exactly. The price stands above: for a text of a few words more than twice
# the bytes of all experts were moved. Whether that is bearable hangs on one number, the **hit
# rate**: the share of requests whose expert is in memory already.
#
# ## Predict

# %%
check("14.q1", ...)

# %% [markdown]
# ## Sentence 1: "only the active experts need memory"
#
# A token wakes 2 of 16 experts in a layer. How many does a text wake? Four domains of held-out
# text, the same as in chapter 05; several texts of 256 tokens each, as long as the model can read.
# As controls the same model with its first random weights, and the formula of chapter 01 for
# routers without any preference.

# %%
N_TEXTS = by_mode(full=6, fast=2)  # and two more of each domain, for profiles
corpus = build_corpus()
TEXTS = texts(tokenizer, corpus.validation, N_TEXTS + 2)
torch.manual_seed(1)
untrained = Model(model.config).eval()
TRACES = {domain: [record_trace(model, ids) for ids in own] for domain, own in TEXTS.items()}
READ = {domain: own[:N_TEXTS] for domain, own in TRACES.items()}
NEW = {
    domain: [record_trace(untrained, ids) for ids in own[:N_TEXTS]] for domain, own in TEXTS.items()
}


# %%
def woken(trace: Trace, n_tokens: int) -> float:
    """Count the experts that the first tokens have woken, mean over the layers."""
    ids = trace.expert_ids[:n_tokens]
    return mean(len(own.unique()) for own in ids.unbind(1))


# %%
TOKENS = (1, 4, 16, 64, 256)
WOKEN = {
    domain: [mean(woken(trace, n) for trace in own) for n in TOKENS] for domain, own in READ.items()
}
every_new = [trace for own in NEW.values() for trace in own]
WOKEN["untrained"] = [mean(woken(trace, n) for trace in every_new) for n in TOKENS]
WOKEN["formula"] = [expected_distinct_experts(E, K, n) for n in TOKENS]
show_figure(plots.awake(TOKENS, WOKEN, E, "formula"))

# %% tags=["nbval-check-output"]
for domain in READ:
    assert WOKEN[domain][0] == K and WOKEN[domain][-1] > 0.75 * E
    assert WOKEN[domain][2] < WOKEN["formula"][2]
print("PASS: a token wakes 2 of 16, a text of 256 tokens more than 12, in every domain")

# %% [markdown]
# **What to see.** Sixteen tokens wake most of a layer. A text of one kind does so more slowly than
# the formula, but it gets there: after 256 tokens nearly everybody has worked. So the sentence
# holds for one token. For a text it is false: whatever is not in memory *will* be wanted, and soon.
# The question is only how often.
#
# ## A cache by hand
#
# One layer, memory for three experts. Whoever was not used for longest makes room: **LRU**, least
# recently used.

# %%
held: list[int] = []  # the one used last stands last
for wanted in (4, 7, 4, 1, 7, 2, 4, 2):
    found = wanted in held
    held = [expert for expert in held if expert != wanted] + [wanted]
    gone, held = held[:-3], held[-3:]
    print(f"expert {wanted}: {'there' if found else 'read '}  in memory {held}, gone {gone}")

# %% [markdown]
# In the library a **policy** is that and no more: it hears of uses and says what an expert is worth
# keeping. It counts no bytes and holds no weights; the cache does. So one and the same policy runs
# on a recorded trace and in the store above.

# %%
show(LRU)

# %%
ROOM, SIZE = L * E // 4, 1  # a quarter of all experts, counted in experts


def hit_rate(trace: Trace, policy, room: int = ROOM) -> float:
    """Send a trace through a cache that is empty at first."""
    return simulate(trace, policy, room * SIZE, SIZE).hit_rate


# %% [markdown]
# ## One user at a time
#
# Memory for 16 of the 64 experts, one text after another, each with an empty cache. Beside LRU
# stand **LFU**, which throws out whoever was used least often so far, and the **optimum**, which
# knows the future and throws out whoever is wanted again last (Belady 1966). No policy can know
# what it knows.

# %%
POLICIES = {"LRU": lambda _: LRU(), "LFU": lambda _: LFU(), "optimum": Optimum}
RATES = {
    name: {domain: [hit_rate(t, make(t)) for t in own] for domain, own in READ.items()}
    for name, make in POLICIES.items()
}

# %% [markdown]
# Three controls, all with LRU. *Shuffled*: the same tokens in random order; what is popular stays
# popular, and what follows on what is gone. *Untrained*: the same texts, the first random weights.
# *Drawn evenly*: a router that knows no favourites.

# %%
RATES["LRU, shuffled"] = {
    domain: [hit_rate(shuffled(t, seed=i), LRU()) for i, t in enumerate(own)]
    for domain, own in READ.items()
}
RATES["LRU, untrained"] = {domain: [hit_rate(t, LRU()) for t in own] for domain, own in NEW.items()}
EVEN = [hit_rate(drawn(256, L, E, K, seed=seed), LRU()) for seed in range(N_TEXTS)]
show_figure(plots.by_load(RATES, ROOM / (L * E), "hit rate"))
print(f"drawn evenly: {mean(EVEN):.1%}")

# %%
for domain in READ:
    own = {name: RATES[name][domain] for name in RATES}
    order = paired(own["LRU"], own["LRU, shuffled"])
    counted = paired(own["LFU"], own["LRU"])
    print(f"{domain:11} LRU {mean(own['LRU']):.1%}; the order of the tokens gives {order:+.3f}; "
          f"LFU against LRU {counted:+.3f}")  # fmt: skip

# %% tags=["nbval-check-output"]
for domain in READ:
    lru, lfu, best = (RATES[name][domain] for name in ("LRU", "LFU", "optimum"))
    assert all(a < c and b < c for a, b, c in zip(lru, lfu, best, strict=True))
    assert min(lru) > max(EVEN) and mean(lfu) > mean(lru)
    assert mean(RATES["LRU, untrained"][domain]) > mean(lru)
print("PASS: more than even routing, less than the optimum, less than an untrained router")

# %% [markdown]
# **What to see** (small dots are texts). For one user LRU finds more than the quarter that fits.
# Most of that is popularity: shuffled, a text keeps most of what it has above even routing. The
# order adds four or five points in English and in languages, and nothing clear in code and
# arithmetic. So LFU, which counts, does better than LRU, which remembers, clearly so in all four.
# The optimum says how far both are from what could be.
#
# And with LRU the router that nobody has trained finds more than the trained one: it wakes fewer
# experts, as the first figure shows. Your answer to the first question can be checked here. A high
# hit rate is therefore no proof that experts became specialists.
#
# ## Sentence 2: "the hot experts are pinned"
#
# If popularity is what counts, why not load the hottest once and leave them there? Whether there is
# a hot set is contested: one engine's users report that their hottest expert is only 2.5 times
# above even (llama.cpp, issue 28544), others gain with a profiled set (thecodacus' fork of it,
# number 5). Before you look: which profile would you take?

# %%
check("14.q2", ...)


# %%
def pinned(profile: list[Trace]) -> Pinned:
    """Keep the hottest of a profile, all but K of the places; the others pass through those."""
    load = torch.stack([trace.load() for trace in profile]).mean(dim=0)  # (L, E)
    hottest = load.flatten().argsort(descending=True)[: ROOM - K].tolist()
    return Pinned(Key(*divmod(place, E)) for place in hottest)


# %% [markdown]
# The profile is always two texts that are not measured. *Its own kind*: of the same domain.
# *Of the mix*: of all four domains. *Of another kind*: of the next domain in the list.

# %%
PROFILES = {domain: own[N_TEXTS:] for domain, own in TRACES.items()}
MIX = [trace for own in PROFILES.values() for trace in own]
ANOTHER = {"code": "english", "english": "languages", "languages": "arithmetic"}
ANOTHER["arithmetic"] = "code"
PINNED = {
    name: {d: [hit_rate(trace, pinned(by(d))) for trace in own] for d, own in READ.items()}
    for name, by in (
        ("pinned, own kind", lambda d: PROFILES[d]),
        ("pinned, the mix", lambda d: MIX),
        ("pinned, another kind", lambda d: PROFILES[ANOTHER[d]]),
    )
}

# %% [markdown]
# Two more loads. **Four users** with a domain each, one token of each in turn. And **one user who
# changes** the subject every 64 tokens. For them there is no "own kind".

# %%
BESIDE = [[own[i] for own in READ.values()] for i in range(N_TEXTS)]  # a text of each domain
LOADS = {
    "four users": [taking_turns([trace.first(64) for trace in own]) for own in BESIDE],
    "one who changes": [one_after_another(own, 64) for own in BESIDE],
}
MAKERS = POLICIES | {"pinned, the mix": lambda _: pinned(MIX)}
for load, traces in LOADS.items():
    for name, make in MAKERS.items():
        (RATES | PINNED)[name][load] = [hit_rate(trace, make(trace)) for trace in traces]

# %%
SHOWN = {name: RATES[name] for name in ("LRU", "LFU")} | PINNED
show_figure(plots.by_load(SHOWN, ROOM / (L * E), "hit rate"))

# %%
share, lru = ROOM / (L * E), RATES["LRU"]
for domain in READ:
    gap = paired(PINNED["pinned, own kind"][domain], lru[domain])
    print(f"{domain:11} pinned by its own kind against LRU {gap:+.3f}")

# %% tags=["nbval-check-output"]
for domain in READ:
    own, mix, other = (PINNED[name][domain] for name in PINNED)
    assert mean(own) > mean(other) + 0.1
for domain in ("languages", "arithmetic"):
    assert mean(PINNED["pinned, own kind"][domain]) > mean(lru[domain])
for domain in ("code", "english"):
    assert mean(PINNED["pinned, the mix"][domain]) < share
assert max(lru["four users"]) < share
for name in ("LFU", "pinned, the mix"):
    one = SHOWN[name]["one who changes"]
    assert all(a > b for a, b in zip(lru["one who changes"], one, strict=True))
print("PASS: pinning is worth what its profile is worth, and that hangs on who reads")

# %% [markdown]
# **What to see.** Four answers to one question:
#
# - With a profile of its own kind, a pinned set finds as much as LRU or more: clearly more in
#   languages and arithmetic, no clear difference in code and English. Whoever serves one kind of
#   text can pin.
# - With a profile of the mix, code and English find *fewer* than the quarter that fits, and the two
#   others at most a tenth of the requests more. Hot on average is hot for nobody in particular.
# - Four users in turn: LRU finds fewer than the share that fits. Each token throws out what the
#   other three will need. Pinning by the mix does better there, and gets about that share.
# - One who changes: LRU beats LFU and the pinned set in every text. Of the three it is the one that
#   forgets.
#
# So two reports that disagree may both be right, each for its load. "Is there a hot set?" has no
# answer without "of whose texts?".
#
# ### Longer
#
# A text of 256 tokens is short. Read the texts of a domain one after another, and let the cache
# stay. Does the order of the policies stay as well?

# %%
LENGTHS = by_mode(full=(64, 256, 1536), fast=(64, 256, 512))
LONG = {d: one_after_another(own, 256) for d, own in READ.items()}
print(f"{'':13}", "   ".join(f"{name:17}" for name in ("LRU", "LFU", "pinned, own kind")))
for domain, whole in LONG.items():
    for n in LENGTHS:
        ways = (LRU(), LFU(), pinned(PROFILES[domain]))
        rates = [hit_rate(whole.first(n), way) for way in ways]
        assert rates[1] > rates[0]
        print(f"{domain:11} {n:5}", "   ".join(f"{rate:17.1%}" for rate in rates))

# %% [markdown]
# LFU stays ahead of LRU at every length, in every domain. It is also ahead of the pinned set nearly
# everywhere: it counts this reader's own text, and the profile counted two others.
#
# ### Play
#
# Code, arithmetic, the four users, the one who changes, and the untrained router.

# %%
from moe_teach.widgets.cache_replay import CacheReplay

SHOW = {d: READ[d][0] for d in ("code", "arithmetic")}
SHOW |= {load: traces[0] for load, traces in LOADS.items()} | {"untrained, code": NEW["code"][0]}
TOLD = {"code": PROFILES["code"], "arithmetic": PROFILES["arithmetic"], "the mix": MIX}
TOLD = {name: one_after_another(profile, 256) for name, profile in TOLD.items()}
EXPERT_BYTES = 3 * model.config.d_model * model.config.moe.d_ff * 2  # in bfloat16


# %%
def forecasts(of: Model, ids: Tensor) -> list:
    """Guess one, two and three layers ahead."""
    return [forecast(of, ids, distance) for distance in range(1, L)]


GUESSES = {d: forecasts(model, TEXTS[d][0]) for d in ("code", "arithmetic")}
GUESSES["untrained, code"] = forecasts(untrained, TEXTS["code"][0])
for load, traces in LOADS.items():  # what the token before chose: a guess without the model
    GUESSES[load] = [as_before(traces[0], distance) for distance in range(1, L)]

# %%
replay = CacheReplay.of(SHOW, TOLD, EXPERT_BYTES, GUESSES)
replay

# %%
for sentence in replay.what_to_try:
    print("-", sentence)

# %%
check("14.q3", ...)

# %% [markdown]
# ## Sentence 3: "experts are loaded on demand"
#
# They are, and the layer waits. In numbers: with $h$ the hit rate, $b$ the bytes of an expert and
# $B$ the bandwidth of what lies behind the memory, a token waits at least
# $L K (1 - h)\, b / B$. Unless somebody knew before who would be wanted.
#
# **Reading ahead.** While layer 1 computes, run layer 2's router on what is there already, the
# residual stream in front of layer 1's experts (Eliseev and Mazur 2023, arXiv 2312.17238). What
# they will add is missing from it. How often are its first two guesses right? Controls: the
# favourites of two other texts, and whoever worked for the token before.

# %%
RECALL: dict[str, list] = {"next router, early": [], "favourites": [], "token before": []}
SPREAD = {"trained": [], "untrained": []}
for domain, own in READ.items():
    profile = one_after_another(PROFILES[domain], 256)
    for ids, trace, new in zip(TEXTS[domain], own, NEW[domain], strict=False):
        RECALL["next router, early"].append(forecast(model, ids).recall(trace))
        RECALL["favourites"].append(by_load(trace, profile, K).recall(trace))
        RECALL["token before"].append(as_before(trace).recall(trace))
        SPREAD["untrained"].append(forecast(untrained, ids).recall(new))
RECALL["next router, untrained"] = SPREAD["untrained"]
shares = {way: torch.stack(own)[:, 1:].mean(dim=0).tolist() for way, own in RECALL.items()}
show_figure(plots.guessed(shares, K / E))

# %% tags=["nbval-check-output"]
early = torch.stack(RECALL["next router, early"])[:, 1:]
for control in ("favourites", "token before", "next router, untrained"):
    assert (early - torch.stack(RECALL[control])[:, 1:]).mean(dim=0).min() > 0.03, control
assert (early > torch.stack(RECALL["token before"])[:, 1:]).all()
print("PASS: the model knows better whom it will want than any rule that does not ask it")

# %% [markdown]
# **What to see.** Two guesses name about two thirds of the choices, in every layer, for all four
# domains; rules that look at no hidden state name a fifth to four tenths. For a part of it training
# is not needed: half of the last layer's choices can be guessed in the untrained model, too.
#
# How many reads does it hide? Per token, with LRU, over all domains:

# %%
for distance in (0, 1, 2, 3):
    waited = moved = steps = 0
    for domain, own in READ.items():
        ahead = forecast(model, TEXTS[domain][0], distance) if distance else None
        run = simulate(own[0], LRU(), ROOM, 1, forecast=ahead)
        waited += int(run.misses.sum())
        moved += run.moved_bytes
        steps += len(own[0])
    print(f"{distance} layers ahead: {waited / steps:.2f} experts waited for, "
          f"{moved / steps:.2f} moved for a token")  # fmt: skip

# %% [markdown]
# Reading ahead turns waiting into moving. One layer ahead, more than four in ten of the reads that
# had to be waited for are hidden, and the bytes grow by about a third: a wrong guess is read for
# nothing, and throws somebody out. Further ahead the guesses are worse, and little is gained. Where
# the link is busy all the time anyway, more bytes make a token *slower*.
#
# ## Smaller experts
#
# The other way to fit: fewer bits. Not all weights are equally touchy. Each part of the model is
# rounded alone, in groups of 32 weights with one scale (llama.cpp's Q8_0 and Q4_0), and the answers
# are compared: KL divergence of the next token from the unrounded model's, in nats.

# %%
from moe_teach.data.batches import evaluation_batches
from moe_teach.deploy.quantise.divergence import estimate, reference
from moe_teach.deploy.quantise.sensitivity import sensitivity

token_ids = {
    d: torch.as_tensor(tokenizer.encode(text[:40_000])) for d, text in corpus.validation.items()
}
batches = list(evaluation_batches(token_ids, 8, 128, by_mode(full=32, fast=8)))
original = reference(model, batches)

# %%
PARTS = ("experts", "hot half", "cold half", "attention", "router", "embedding")
found = {(one.part, one.kind): one for one in sensitivity(model, original, ("Q8_0", "Q4_0"), PARTS)}
for part in PARTS:
    eight, four = (found[part, kind] for kind in ("Q8_0", "Q4_0"))
    kl = eight.divergence.of("kl"), four.divergence.of("kl")
    print(f"{part:10} {eight.n_weights / 1e3:6.0f} thousand weights; "
          f"KL with 8 bits {kl[0].mean:.5f}, with 4 bits {kl[1]:.4f}")  # fmt: skip

# %%
four = {part: found[part, "Q4_0"].divergence for part in PARTS}
gap = estimate(four["hot half"].kl - four["cold half"].kl)
print(f"hot half less cold half, four bits: {gap:.4f}")

# %% tags=["nbval-check-output"]
assert found["hot half", "Q4_0"].n_weights == found["cold half", "Q4_0"].n_weights
for part in PARTS:
    assert found[part, "Q8_0"].divergence.kl.mean() < 0.2 * four[part].kl.mean()
assert four["router"].kl.mean() > 0.5 * four["experts"].kl.mean()
print("PASS: four bits cost many times what eight cost; the small router as much as all experts")

# %% [markdown]
# Experts make up most of the model, and they stand four bits well: the router, two hundred times
# smaller, costs as much when it is rounded, and the embedding more. Small parts stay as they are.
# Whether the hot half costs more than the cold one of the same size, these windows cannot say: the
# interval of the gap holds 0. So nothing here asks for more bits where an expert is hot. Whether a
# KL of this size matters to an answer, only a task can say.
#
# ## A plan for models that matter
#
# Our model fits anywhere. Take the models of chapter 01's catalog, a machine of one's own with 16
# GB of memory beside 3 GB/s of disk, and one user. All prices and speeds are **invented**: change
# them. Only the hit rate is unknown, and ours does not carry over. So leave it open:

# %%
from moe_teach.cost import Machine, Workload, plan
from moe_teach.cost.offload import expert_bytes, offloaded_step_seconds

home = Machine(
    memory_bytes=16e9, bandwidth_bytes_per_s=50e9, peak_flops_per_s=1e12, usd_per_hour=0.05,
    storage_bytes_per_s=3e9,
)  # fmt: skip
MODELS = ("OLMoE-1B-7B", "Qwen3-30B-A3B", "Mixtral 8x7B")
for name in MODELS:
    config = CATALOG[name].config
    load = Workload(sequences=1, context=0, million_tokens_per_month=1, dtype="int8")
    now = plan(config, home, load)
    print(f"{name:14} {now.weight_bytes / 1e9:5.1f} GB in 8 bits, {now.placement}; "
          f"{now.resident_share:.0%} of the experts fit, one takes "
          f"{expert_bytes(config, 'int8') / 1e6:.0f} MB")  # fmt: skip

# %%
HITS = [i / 100 for i in range(101)]
SPEEDS = {
    name: [
        1 / offloaded_step_seconds(CATALOG[name].config, home, 1, hit, dtype="int8") for hit in HITS
    ]
    for name in MODELS[1:]
}
OURS = {
    "four users, LRU": mean(lru["four users"]),
    "code, LRU": mean(lru["code"]),
    "code, optimum": mean(RATES["optimum"]["code"]),
}
show_figure(plots.speed(HITS, SPEEDS, OURS))

# %% tags=["nbval-check-output"]
for name, values in SPEEDS.items():
    at = {hit: values[int(100 * hit)] for hit in (0.5, 0.9, 0.99)}
    print(f"{name:14}", ", ".join(f"{hit:.0%} hits: {rate:.1f}" for hit, rate in at.items()))
    assert at[0.9] > 4 * at[0.5] and at[0.99] < 2 * at[0.9]

# %% [markdown]
# **What to see.** The scale is logarithmic, and the curves are steep at the right end: halving the
# misses doubles the speed, whether there are many or few. From half of the requests found to nine
# tenths is a factor of five. Near the end the disk is no longer the limit: then the memory is, and
# no better cache helps. In money: what is a million tokens worth on this machine, where an
# interface asks 5 USD?

# %%
for hit in (0.25, 0.5, 0.9):
    load = Workload(
        sequences=1, context=0, million_tokens_per_month=1, dtype="int8", hit_rate=hit,
        api_usd_per_million=5.0,
    )  # fmt: skip
    now = plan(CATALOG["Qwen3-30B-A3B"].config, home, load)
    print(f"hit rate {hit:.0%}: at most {now.tokens_per_second:.1f} tokens/s; "
          f"{now.usd_per_million_busy:.2f} USD a million, if it never idles; by the month: "
          f"{now.usd_per_million:.0f} USD, cheapest: {now.cheapest}")  # fmt: skip

# %% [markdown]
# The machine is paid by the month, whether it works or not. For one million tokens it costs the
# same at every hit rate, and the interface is cheaper. A better cache makes it worth its price only
# for who has work for it all day: then half of the hits bring a million below the interface's 5
# USD.
#
# ## Control: is it the cache at all?
#
# A cache that holds everything must miss each expert once and never again, and one that holds a
# single expert must find next to nothing. If either failed, our counts would be wrong.

# %% tags=["nbval-check-output"]
for trace, *_ in READ.values():
    whole = simulate(trace, LRU(), L * E, 1)
    different = sum(len(ids.unique()) for ids in trace.expert_ids.unbind(1))
    assert int(whole.misses.sum()) == different
    assert hit_rate(trace, LRU(), room=1) == 0
place.cleanup()
print("PASS: with room for all each expert is read once; with room for one nobody is ever found")

# %% [markdown]
# ## What could be wrong with these results
#
# - One small model, four domains, texts of 256 tokens. Real models have more experts of which more
#   work at once, and texts that are thousands of tokens long. The *questions* carry over (whose
#   profile, which load, how long), and the rates do not.
# - Every text began with an empty cache. For LRU that costs up to 16 of some 2,000 requests.
# - Intervals are over few texts of each domain, from the same held-out files.
# - The simulator lets every guess arrive in time. A slow disk is later than that.
# - Speeds are bounds from bandwidth: fetching, reading and computing overlap wholly there. What a
#   real disk does with a model of real size is in `results/` and not measured in this lesson.
# - "Pinned" kept two places for those who pass. Fewer pinned and more passing would be something
#   between pinned and LRU.
#
# ## Check yourself

# %%
check("14.q4", ...)

# %% [markdown]
# ## What you take with you
#
# - A token needs few experts, a text nearly all. Memory that holds a part of them is a cache, and a
#   cache's hit rate belongs to a load: who reads, how long, beside whom.
# - A hot set is real, and it is somebody's. Pin for one kind of text; for many, or for users who
#   change, measure first.
# - The model itself is the best guesser of whom it will want, a layer ahead. Reading ahead hides
#   waiting and moves more.
# - Bits come before policies: half the bits are twice the places.
# - As long as the disk is the limit, half the misses is twice the speed. Know yours before you buy.
#
# In the exercises you write the quantiser, a policy that runs in the simulator and in the store,
# the guesser and the bound; you audit other people's caches; and you look for a better policy than
# ours.
