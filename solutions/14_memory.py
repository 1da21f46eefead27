# %% [markdown]
# # 14 Memory: exercises
#
# A model that does not fit, piece by piece: weights in four bits, a policy that says who may stay,
# a guess whom to read ahead, a bound that no policy can beat, and an audit of somebody's cache.
# What you write in 14.2 runs unchanged in a simulation of real traces and in a store that reads a
# disk. The last task is open: find more than we did.

# %%
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from moe_teach.course import check, mine

# %% [markdown]
# ## Exercise 14.1: A scale for every group
#
# The lesson stored a whole row of weights with one scale. One large weight then makes all others of
# its row coarse. So cut each row into **groups** of `group_size` neighbours; where a row is no
# multiple of that, its last group is shorter. Each group has a scale of its own:
#
# - the largest absolute weight of the group, divided by the largest code $2^{bits-1} - 1$,
#   **stored in float16**;
# - a weight's code is the weight divided by the *stored* scale, rounded to the nearest whole number
#   (either one where it lies half way), and never beyond plus or minus the largest code;
# - where the stored scale is 0, all codes are 0.
#
# Code times scale gives the weight back, up to half a scale.


# %%
def quantise_groups(weights: Tensor, bits: int, group_size: int) -> tuple[Tensor, Tensor]:
    """Store a matrix in few bits, with a scale for every group of neighbours in a row.

    weights: (R, C), float32, bfloat16 or float16, in any memory layout, of at most 1000; compute
    in float32. bits: 2 to 8. group_size: at least 1, and perhaps larger than C.
    Returns codes (R, C) in int8, and scales (R, number of groups in a row) in float16.
    """
    ### BEGIN SOLUTION
    top = 2 ** (bits - 1) - 1
    rows, columns = weights.shape
    filled = pad(weights.float(), (0, -columns % group_size))
    groups = filled.reshape(rows, -1, group_size)
    scales = (groups.abs().amax(dim=-1) / top).half()
    stored = scales.float()[..., None]
    codes = (groups / stored.masked_fill(stored == 0, torch.inf)).round().clamp(-top, top)
    return codes.reshape(rows, -1)[:, :columns].to(torch.int8), scales
    ### END SOLUTION


# %%
check("14.1", quantise_groups)

# %% [markdown]
# What does the group buy? The experts of the trained model's first layer, in four bits: the error
# of a weight, as a share of the weights' own size, and what is stored for each weight.

# %% tags=["play"]
from moe_teach.train.shipped import load_shipped

quantise = mine("14.1")
model, tokenizer, _ = load_shipped()
matrix = model.blocks[0].ffn.experts.w_down.detach().flatten(0, 1)  # (E * D, F)
for group_size in (64, 32, 16, 8):
    codes, scales = quantise(matrix, 4, group_size)
    back = codes * scales.float().repeat_interleave(group_size, dim=1)[:, : matrix.shape[1]]
    error = (back - matrix).norm() / matrix.norm()
    bits = 4 + 16 * scales.numel() / codes.numel()
    print(f"groups of {group_size:2}: error {error:.1%}, {bits:.2f} bits a weight")

# %% [markdown]
# ## Exercise 14.2: A policy that forgets by halves
#
# LRU looks at the last use and forgets the rest. LFU counts all uses and forgets none. Write what
# lies between: an expert's score is the sum over its uses of
#
# $$2^{-\text{age} / \text{half-life}}$$
#
# where the age is the number of steps since that use. The cache throws out the expert of least
# worth. All that it does is call two methods:
#
# - `use(key, step)`: the expert `key` is wanted in this step, whether or not it is in memory. Steps
#   never decrease; several experts may be wanted in one step, the same key may come twice, and
#   steps may be left out.
# - `worth(key)`: anything that compares, **larger for a larger score**. An expert that was never
#   used is worth less than any that was. `worth` is asked often and changes nothing.
#
# Mind long runs: after a million steps with a half-life of 2 the order must still be right, and no
# number may overflow or vanish.


# %%
class Forgetful:
    """A cache policy: uses count half after every `half_life` steps.

    half_life: a positive number of steps. key: a tuple (layer, expert), to be used as it is.
    per_layer = False says that all layers share one budget; leave it as it stands.
    """

    per_layer = False

    def __init__(self, half_life: float) -> None:
        ### BEGIN SOLUTION
        self.half_life = half_life
        self.score: dict[tuple, float] = {}  # log2 of the sum of 2 ** (step / half_life)
        ### END SOLUTION

    def use(self, key: tuple, step: int) -> None:
        ### BEGIN SOLUTION
        now = step / self.half_life
        before = self.score.get(key, -math.inf)
        high = max(now, before)
        self.score[key] = high + math.log2(2 ** (now - high) + 2 ** (before - high))
        ### END SOLUTION

    def worth(self, key: tuple) -> float:
        ### BEGIN SOLUTION
        return self.score.get(key, -math.inf)
        ### END SOLUTION


# %%
check("14.2", Forgetful)

# %% [markdown]
# ### Your policy on real traces
#
# The stored traces of the trained model, memory for a quarter of the experts: one user with code, a
# user who changes the subject every 64 tokens, and four users in turn.

# %% tags=["play"]
from moe_teach.chapters.ch14_memory.recorded import loads
from moe_teach.deploy.store.policies import LFU, LRU
from moe_teach.deploy.store.simulator import simulate

Policy = mine("14.2")
made = {"LRU": LRU, "LFU": LFU, "yours, 4": lambda: Policy(4), "yours, 32": lambda: Policy(32)}
traces = dict(loads(0))
for load in ("code", "a user who changes", "four users in turn"):
    rates = {name: simulate(traces[load], make(), 16, 1).hit_rate for name, make in made.items()}
    print(f"{load:18}", "  ".join(f"{name}: {rate:.1%}" for name, rate in rates.items()))

# %% [markdown]
# ### The same object in a store that reads a disk
#
# The trained model goes to a folder, and its experts stay there. Within a quarter of their bytes
# **your** policy says who may be in memory. The logits must be those of the model in memory, and
# the counts those of the simulation.

# %% tags=["play"]
import tempfile
from pathlib import Path

from moe_teach.chapters.ch14_memory.inputs import decoded
from moe_teach.checkpoint.hf_export import export_hf
from moe_teach.deploy.store.opening import opened_within
from moe_teach.deploy.store.trace import record_trace

token_ids = torch.as_tensor(tokenizer.encode("def area(width, height):\n    return width"))
with tempfile.TemporaryDirectory() as place:
    export_hf(model, Path(place) / "model")
    all_bytes = sum(w.numel() * 4 for block in model.blocks for w in block.ffn.experts.parameters())
    budget = all_bytes // 4
    with opened_within(Path(place) / "model", budget, Policy(32)) as (opened, store):
        from_disk = decoded(opened.model, token_ids)
        counts, sizes = store.counts, store.sizes
expected = simulate(record_trace(model, token_ids), Policy(32), budget, sizes)
print(f"{counts.hits} hits and {counts.misses} misses; {counts.moved_bytes / all_bytes:.1f} times "
      "all experts' bytes were read")  # fmt: skip

# %% tags=["play"]
assert torch.equal(from_disk, decoded(model, token_ids))
assert (counts.hits, counts.misses) == (int(expected.hits.sum()), int(expected.misses.sum()))
print("PASS: the same logits to the last bit, and the counts of the simulation")

# %% [markdown]
# ## Exercise 14.3: Whom to read ahead
#
# Reading takes time, so begin before the layer asks. While layer l computes, run the router of
# layer l + 1 on what is there already: the residual stream x in front of layer l's experts. What
# they will add is missing from it; usually it changes little.
#
# - **Each token** guesses the `n_guesses` experts that the next layer would choose if nothing
#   changed any more: its RMS norm, $x / \sqrt{\text{mean}(x^2) + 10^{-5}}$ times the norm's
#   weights; its router, without a bias of its own; softmax over all experts; then the largest of
#   probability **plus** selection bias.
# - **Together** they have a list: first the expert that most tokens guess. Where as many guess one
#   as another, the one with the larger sum of probabilities over the tokens that guess it.
# - Whoever is in memory need not be read, and more than `room` may not.


# %%
def read_ahead(
    x: Tensor,
    norm_weight: Tensor,
    w_router: Tensor,
    expert_bias: Tensor,
    n_guesses: int,
    here: set[int],
    room: int,
) -> list[int]:
    """Name the experts of the next layer that are to be read now, the most urgent first.

    x: (T, D), T at least 1; norm_weight: (D,); w_router: (E, D); expert_bias: (E,), added to the
    probabilities for the choice only; n_guesses: 1 to E. here: experts of the next layer that are
    in memory; room: how many may be read, perhaps 0.
    Returns a list of plain integers.
    """
    ### BEGIN SOLUTION
    h = x * (x.square().mean(dim=-1, keepdim=True) + 1e-5).rsqrt() * norm_weight
    probs = (h @ w_router.T).softmax(dim=-1)
    expert_ids = (probs + expert_bias).topk(n_guesses, dim=-1).indices
    votes = torch.bincount(expert_ids.flatten(), minlength=len(w_router)).tolist()
    mass = torch.zeros(len(w_router)).index_add(
        0, expert_ids.flatten(), probs.gather(-1, expert_ids).flatten()
    )
    guessed = [e for e, count in enumerate(votes) if count]
    guessed.sort(key=lambda e: (-votes[e], -mass[e].item()))
    return [e for e in guessed if e not in here][:room]
    ### END SOLUTION


# %%
check("14.3", read_ahead)

# %% [markdown]
# ### How far ahead can one see?
#
# Your guesses on the trained model, for code, layer by layer; beside them a control that looks at
# no token: the experts that were chosen most in another text of the same kind.

# %% tags=["play"]
from moe_teach.chapters.ch14_memory.recorded import stored_traces, texts
from moe_teach.data.corpus import build_corpus

guess = mine("14.3")
text = texts(tokenizer, build_corpus(("code",)).validation)["code"][0]
streams = []
hooks = [
    b.ffn_norm.register_forward_pre_hook(lambda _, x: streams.append(x[0][0])) for b in model.blocks
]
with torch.no_grad():
    chosen = [routing.expert_ids for routing in model(text[None]).routings]
for hook in hooks:
    hook.remove()

# %% tags=["play"]
favourites = stored_traces()["code"][1].load().topk(2, dim=-1).indices
for layer in range(1, 4):
    block = model.blocks[layer]
    parts = (block.ffn_norm.weight, block.ffn.router.proj.weight, block.ffn.router.expert_bias)
    found = liked = 0
    for x, own in zip(streams[layer - 1].detach(), chosen[layer].tolist(), strict=True):
        found += len(set(guess(x[None], *parts, 2, set(), 2)) & set(own))
        liked += len(set(favourites[layer].tolist()) & set(own))
    share, plain = (count / chosen[layer].numel() for count in (found, liked))
    print(f"layer {layer}: {share:.0%} of its choices guessed; favourites would be {plain:.0%}")

# %% [markdown]
# ## Exercise 14.4: A bound for every policy
#
# How good could any policy be? Assume that somebody knows the future. `requests` says which experts
# of one layer each step needs. Memory has room for `room` experts, all of one size, and is empty at
# first; beside it there is a place to work in. In each step:
#
# 1. whoever is needed and not in memory is **read**, each once;
# 2. all that are needed work, one after another;
# 3. of those that were in memory and those that were just read, up to `room` stay, **whichever you
#    like**. The others are gone.
#
# What is the least number of reads?


# %%
def fewest_reads(requests: Sequence[Sequence[int]], room: int) -> int:
    """Count the reads of somebody who knows all requests beforehand and errs nowhere.

    requests: for each step the numbers of the experts it needs, each once; perhaps none, and
    perhaps more than there is room for. room: at least 1.
    Returns a plain integer. Up to some thousand steps and a hundred experts.
    """
    ### BEGIN SOLUTION
    coming: dict[int, float] = {}
    next_use: list[dict[int, float]] = []
    for step in range(len(requests) - 1, -1, -1):
        next_use.append({expert: coming.get(expert, math.inf) for expert in requests[step]})
        coming |= dict.fromkeys(requests[step], step)
    held: set[int] = set()
    due: dict[int, float] = {}
    reads = 0
    for needed in reversed(next_use):
        reads += len(set(needed) - held)
        due |= needed
        held = set(sorted(held | set(needed), key=due.get)[:room])
    return reads
    ### END SOLUTION


# %%
check("14.4", fewest_reads)

# %% [markdown]
# How much is left to win? Each layer of the trained model for itself, room for 4 of its 16 experts:

# %% tags=["play"]
bound = mine("14.4")
for load, trace in loads(1):
    per_layer = [[own.tolist() for own in layer] for layer in trace.expert_ids.unbind(1)]
    requests = sum(len(step) for steps in per_layer for step in steps)
    best = 1 - sum(bound(steps, 4) for steps in per_layer) / requests
    lru = simulate(trace, LRU(per_layer=True), 16, 1).hit_rate
    print(f"{load:18} LRU {lru:.1%}, at best {best:.1%}")

# %% [markdown]
# ## Exercise 14.5: Find what is wrong: Somebody's cache
#
# A cache that is wrong gives no error: its numbers look fine, and its users wait. But it can be
# made to write down what it does. Each event is a pair (verb, what), and an expert is a pair
# (layer, number):
#
# | event | meaning |
# | --- | --- |
# | `("ask", (expert, ...))` | a layer wants these; the request before is over, done or not |
# | `("hit", expert)`, `("miss", expert)` | the *count* for one of the last `ask`, now or later |
# | `("read", expert)` | a read begins, asked for or on a guess; its place is taken from now on |
# | `("ready", expert)` | all its bytes have come |
# | `("work", expert)` | an expert of the last `ask` computes |
# | `("evict", expert)` | its place is free again, and its bytes are gone |
#
# Four rules hold in a cache that is right:
#
# - `"room"`: the experts in memory, those that are being read included, never take more than
#   `budget_bytes` together. A `read` breaks it.
# - `"in use"`: an expert of the last `ask` that has not worked yet is not evicted. An `evict`
#   breaks it.
# - `"half-loaded"`: an expert works only while all its bytes are there. A `work` breaks it.
# - `"count"`: a hit is an expert that was ready in memory **when its layer asked**, guessed or not;
#   all others are misses. A `hit` or a `miss` breaks it.
#
# Find the first event that breaks a rule.


# %%
def first_broken_rule(
    log: Sequence[tuple], sizes: Mapping[tuple, int], budget_bytes: int
) -> tuple[int, str] | str:
    """Audit the log of a cache that was empty at first.

    log: the events, in their order; sizes: the bytes of each expert, which differ.
    Returns (position of the event in the log, name of the rule), or "healthy".
    """
    ### BEGIN SOLUTION
    is_ready: dict[tuple, bool] = {}
    there: set[tuple] = set()
    waiting: set[tuple] = set()
    for position, (verb, what) in enumerate(log):
        broken = ""
        if verb == "ask":
            waiting = set(what)
            there = {expert for expert in what if is_ready.get(expert)}
        elif verb == "evict":
            del is_ready[what]
            broken = "in use" if what in waiting else ""
        elif verb == "read":
            is_ready[what] = False
            broken = "room" if sum(sizes[expert] for expert in is_ready) > budget_bytes else ""
        elif verb == "ready":
            is_ready[what] = True
        elif verb == "work":
            waiting.discard(what)
            broken = "" if is_ready.get(what) else "half-loaded"
        elif (verb == "hit") != (what in there):
            broken = "count"
        if broken:
            return position, broken
    return "healthy"
    ### END SOLUTION


# %%
check("14.5", first_broken_rule)

# %% [markdown]
# Six caches of other people. What is wrong with them, and what did they tell their owners?

# %% tags=["play"]
from moe_teach.chapters.ch14_memory.cache_logs import FAULTS, log_of

audit = mine("14.5")
for number, fault in enumerate(("", *FAULTS)):
    log, sizes, budget_bytes = log_of(fault, seed=7)
    counted = [verb for verb, _ in log if verb in ("hit", "miss")]
    print(
        f"cache {number}: reports {counted.count('hit') / len(counted):.0%} hits;",
        audit(log, sizes, budget_bytes),
    )

# %% [markdown]
# ## Exercise 14.6: Open task: a better policy
#
# Six loads of the trained model with 64 experts, and memory for 16 of them: one text of each
# domain, four users who take turns, and a user who changes the subject every 64 tokens. LRU finds
# 40.3 % of the requests in memory, mean of the loads and of three sets of texts. Somebody who
# knows the future finds 66.7 %. Write a policy that finds **at least 49 %**.
#
# It has the methods of 14.2 and hears no more: the keys and steps of the uses so far, in the order
# in which the layers ask, from the lowest to the highest. `per_layer = True` would divide the
# memory evenly between the layers.


# %%
class MyPolicy:
    """A cache policy of your own, made anew for each load with n_layers = 4, n_experts = 16.

    use(key, step) and worth(key) as in 14.2; key.layer and key.expert name the expert. The
    expert of least worth leaves. For all keys `worth` must give values that can be compared.
    """

    per_layer = False

    def __init__(self, n_layers: int, n_experts: int) -> None:
        ### BEGIN SOLUTION
        self.n_layers = n_layers
        self.score: dict[tuple, tuple[float, int]] = {}
        self.step = self.layer = 0
        ### END SOLUTION

    def use(self, key: tuple, step: int) -> None:
        ### BEGIN SOLUTION
        self.step, self.layer = step, key.layer
        rest, then = self.score.get(key, (0.0, step))
        self.score[key] = rest * 2 ** ((then - step) / 20) + 1, step
        ### END SOLUTION

    def worth(self, key: tuple) -> float:
        ### BEGIN SOLUTION
        if key not in self.score:
            return -1.0
        rest, then = self.score[key]
        ahead = (key.layer - self.layer - 1) % self.n_layers  # 0: the layer that asks next
        return rest * 2 ** ((then - self.step) / 20) * (1 - 0.5 * ahead / self.n_layers)
        ### END SOLUTION


# %%
check("14.6", MyPolicy)

# %% [markdown]
# Where does your policy win, and where does it lose?

# %% tags=["play"]
from moe_teach.deploy.store.policies import Optimum

Best = mine("14.6")
for load, trace in loads(2):
    made = {"LRU": LRU(), "LFU": LFU(), "yours": Best(4, 16), "bound": Optimum(trace)}
    rates = {name: simulate(trace, policy, 16, 1).hit_rate for name, policy in made.items()}
    print(f"{load:18}", "  ".join(f"{name} {rate:.1%}" for name, rate in rates.items()))
