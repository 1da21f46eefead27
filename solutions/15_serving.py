# %% [markdown]
# # 15 Serving: exercises
#
# You put rows of many texts into one cache (15.1), write the loop that serves them all in one
# forward pass a step (15.2), and let it serve a model whose experts are your own. Then you
# measure: what people wait for (15.3), and whom a step wakes (15.4). 15.5 is a scheduler to find
# out, 15.6 an open task.

# %%
import math
from itertools import pairwise

import torch
from torch import Tensor

from moe_teach.course import check, mine

# %% [markdown]
# ## Exercise 15.1: Whose row is this?
#
# The lesson's step read one token of each text. Now a step reads **pieces**: some texts get one
# row, others several, and the rows of different texts may stand in any order between one another.
# Rows of the *same* text stand in the order of the text.
#
# Row t belongs to the text in slot `slots[t]`, of which `lengths[slots[t]]` positions are taken.
# The first new row of a slot gets the next free position, the second the one after it, and so on.
# A row sees its own text up to and with itself. What a slot held beyond its length belonged to
# somebody else, and nobody may see it.


# %%
def store_rows(
    keys: Tensor,
    values: Tensor,
    lengths: Tensor,
    slots: Tensor,
    new_keys: Tensor,
    new_values: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Write rows of several texts into their slots, and say what each row may see.

    keys, values: (n_slots, L, D); lengths: (n_slots,) int64; slots: (T,) int64; new_keys,
    new_values: (T, D). No text outgrows L. Models serve without gradients: none are asked for.
    Returns keys, values and lengths as they are afterwards, the given ones unchanged, and
    visible (T, L), bool: True at the positions of its own slot that row t may look at.
    """
    ### BEGIN SOLUTION
    is_same = slots[:, None] == slots
    position = lengths[slots] + is_same.tril(-1).sum(dim=-1)
    keys, values = keys.clone(), values.clone()
    keys[slots, position] = new_keys
    values[slots, position] = new_values
    grown = lengths + slots.bincount(minlength=len(lengths))
    visible = torch.arange(keys.shape[1]) <= position[:, None]
    return keys, values, grown, visible
    ### END SOLUTION


# %%
check("15.1", store_rows)

# %% [markdown]
# ## Exercise 15.2: Your scheduler serves
#
# `read(pieces)` is one forward pass. A piece is `(slot, start, token_ids)`: the next tokens of the
# text in that slot, of which `start` were read before; with `start` 0 the slot forgets who was
# there. It returns one token for each piece: the one that follows its last.
#
# `requests` stand in the order of their arrival: `(arrives, prompt, n_new)`, the step from which it
# is there, its prompt, and how many tokens it wants (at least one). Step 0 is the first. In every
# step:
#
# 1. who waits gets a free slot, in the order of arrival, while there are any;
# 2. every text that has a token of its answer reads its newest token; the others read what is
#    unread of their prompts, in the order in which they were admitted, as long as the step's
#    `budget` of prompt tokens lasts;
# 3. `read` is called **once**, with all pieces (not at all, if there are none);
# 4. a text that was read to its end gets its next token; one that has all its tokens leaves, and
#    its slot is free from the next step on.
#
# Texts may be admitted, read their prompt and get their first token in one step. Any free slot
# will do. Return the answers in the order of the requests.


# %%
def serve(read, requests: list, n_slots: int, budget: int) -> list[list[int]]:
    """Answer all requests by continuous batching.

    read(pieces) -> list of tokens; requests: list of (arrives, prompt, n_new), prompts are lists
    of token ids; n_slots, budget: at least 1. Returns one list of n_new tokens for each request.
    """
    ### BEGIN SOLUTION
    answers = [[] for _ in requests]
    n_read, running = [0] * len(requests), {}
    waiting, free, step = list(range(len(requests))), list(range(n_slots)), 0
    while waiting or running:
        while waiting and free and requests[waiting[0]][0] <= step:
            running[waiting.pop(0)] = free.pop()
        left, pieces, readers = budget, [], []
        for i, slot in running.items():
            unread = (requests[i][1] + answers[i])[n_read[i] :]
            if not answers[i]:  # a prompt
                unread = unread[:left]
                left -= len(unread)
            if unread:
                pieces.append((slot, n_read[i], unread))
                readers.append(i)
        following = read(pieces) if pieces else []
        for i, (_, start, token_ids), token in zip(readers, pieces, following, strict=True):
            n_read[i] = start + len(token_ids)
            if n_read[i] == len(requests[i][1]) + len(answers[i]):
                answers[i].append(token)
            if len(answers[i]) == requests[i][2]:
                free.append(running.pop(i))
        step += 1
    return answers
    ### END SOLUTION


# %%
check("15.2", serve)

# %% [markdown]
# ### Your scheduler, your cache, your experts
#
# Now they meet. The model is the one that comes with the course, with its feed-forward layers taken
# out and yours put in: `mine("4.7")`, with the trained weights. (Its router also has a selection
# bias, chapter 06, which exercise 4.7 does not know: so a few choices differ, and the text.) The
# cache below is `mine("15.1")`, once a layer; it answers the two questions that attention asks.

# %% tags=["play"]
from moe_teach.nn.cache import look
from moe_teach.train.shipped import load_shipped


class MyCache:
    """The reader's `store_rows` as the cache of a model."""

    def __init__(self, config, n_slots: int) -> None:
        self.heads, self.store = config.attention.n_kv_heads, mine("15.1")
        width = self.heads * config.attention.d_head
        shape = (config.n_layers, n_slots, config.max_seq_len, width)
        self.keys, self.values = torch.zeros(shape), torch.zeros(shape)
        self.lengths = torch.zeros(n_slots, dtype=torch.int64)

    def reading(self, pieces: list) -> "MyCache":
        """Prepare for one pass over these pieces."""
        self.slots = torch.tensor([slot for slot, _, ids in pieces for _ in ids])
        self.at = torch.tensor([start + i for _, start, ids in pieces for i in range(len(ids))])
        for slot, start, _ in pieces:
            self.lengths[slot] = start
        self.n_tokens = int(self.at.max())
        return self

    def positions(self, layer: int, x: Tensor) -> Tensor:
        return self.at[:, None, None]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        now = self.keys[layer], self.values[layer], self.lengths, self.slots
        keys, values, _, visible = self.store(*now, key.flatten(1), value.flatten(1))
        self.keys[layer], self.values[layer] = keys, values
        seen = (part[self.slots].unflatten(-1, (self.heads, -1)) for part in (keys, values))
        return look(query, *(part.transpose(1, 2) for part in seen), visible[:, None, None])


# %% tags=["play"]
model, tokenizer, _ = load_shipped()
for block in model.blocks:
    moe, mixture = block.ffn, mine("4.7")(128, 16, 2, 64)
    with torch.no_grad():
        mixture.router.weight.copy_(moe.router.proj.weight)
        for name in ("w_gate", "w_up", "w_down"):
            getattr(mixture, name).copy_(getattr(moe.experts, name))
    block.ffn = mixture
cache, steps = MyCache(model.config, n_slots=3), []


@torch.inference_mode()
def read(pieces: list) -> list[int]:
    """Read all pieces in one forward pass, and take the likeliest token after each."""
    steps.append([len(ids) for _, _, ids in pieces])
    rows = torch.tensor([[token] for _, _, ids in pieces for token in ids])
    logits = model(rows, cache.reading(pieces)).logits[:, 0]
    ends = torch.tensor(steps[-1]).cumsum(0) - 1
    return logits[ends].argmax(dim=-1).tolist()


# %% tags=["play"]
BEGINNINGS = ("def main(", "The list of", "import ", "12 + 30 = ", "for i in range(")
wishes = [(2 * i, tokenizer.encode(text), 16) for i, text in enumerate(BEGINNINGS)]
scheduler = mine("15.2")
answers = scheduler(read, wishes, 3, 8)
for text, answer in zip(BEGINNINGS, answers, strict=True):
    print(repr(text + tokenizer.decode(answer)))
print("rows of each step:", steps[:6], "...")

# %% tags=["play"]
for (_, prompt, n_new), answer in zip(wishes, answers, strict=True):
    assert scheduler(read, [(0, prompt, n_new)], 1, 100) == [answer]
print("PASS: each text is the one it would have been alone")

# %% [markdown]
# ## Exercise 15.3: What people wait for
#
# A load test notes when each request **arrived** and when each of its tokens came. Two waits
# matter: until the first token, and between neighbouring tokens of one answer. Means hide the
# unlucky, so report percentiles: the p-th is the smallest value that at least p percent of all
# values do not exceed. Where there is no value at all, it is `math.nan`.
#
# A request that was never answered has waited too: its first token counts as `math.inf`. Left out,
# it would make an overloaded server look quick.


# %%
def latency_summary(
    arrived: list[float], token_times: list[list[float]], percents: tuple[int, ...] = (50, 95, 99)
) -> tuple[dict[int, float], dict[int, float]]:
    """Percentiles of the wait for the first token, and of the gaps between tokens.

    arrived: when each request arrived; token_times: when its tokens came, in order, or [].
    percents: whole numbers from 1 to 100. Returns (first, between), both {percent: seconds};
    gaps of all requests count together.
    """
    ### BEGIN SOLUTION
    first, between = [], []
    for start, times in zip(arrived, token_times, strict=True):
        first.append(times[0] - start if times else math.inf)
        between += [late - early for early, late in pairwise(times)]

    def percentiles(values: list[float]) -> dict[int, float]:
        ordered = sorted(values)
        ranks = {p: -(-p * len(ordered) // 100) for p in percents}  # rounded up
        return {p: ordered[rank - 1] if ordered else math.nan for p, rank in ranks.items()}

    return percentiles(first), percentiles(between)
    ### END SOLUTION


# %%
check("15.3", latency_summary)

# %% [markdown]
# ## Exercise 15.4: Whom does a step wake?
#
# A trace holds what the routers of all layers chose for T tokens; `steps` says which of them were
# computed together. Count, for every step and every layer, how many different experts had to be
# fetched. A choice of -1 was dropped and wakes nobody. A step may be empty, and there may
# be no steps at all.


# %%
def distinct_experts(expert_ids: Tensor, steps: list[list[int]]) -> Tensor:
    """Count the experts that each step wakes in each layer.

    expert_ids: (n_layers, T, K) int64, -1 where a choice was dropped; steps: for each step the
    positions of its tokens. Returns (n_steps, n_layers) int64.
    """
    ### BEGIN SOLUTION
    woken = torch.zeros(len(steps), len(expert_ids), dtype=torch.int64)
    for step, tokens in enumerate(steps):
        for layer, chosen in enumerate(expert_ids):
            ids = chosen[tokens]
            woken[step, layer] = ids[ids >= 0].unique().numel()
    return woken
    ### END SOLUTION


# %%
check("15.4", distinct_experts)

# %% [markdown]
# ## Exercise 15.5: Find what is wrong: a scheduler that answers everybody
#
# Somebody's scheduler keeps to the interface of 15.2, and its test passes.


# %% tags=["play"]
def somebodys_serve(read, requests: list, n_slots: int, budget: int) -> list[list[int]]:
    """Answer all requests."""
    answers, step, waiting = [[] for _ in requests], 0, list(range(len(requests)))
    while waiting:
        batch = [i for i in waiting if requests[i][0] <= step][:n_slots]
        texts = {i: list(requests[i][1]) for i in batch}
        n_read = dict.fromkeys(batch, 0)
        while texts:
            left, pieces = budget, []
            for slot, i in enumerate(batch):
                if i in texts:
                    unread = texts[i][n_read[i] :]
                    if not answers[i]:
                        unread = unread[:left]
                        left -= len(unread)
                    if unread:
                        pieces.append((i, (slot, n_read[i], unread)))
            step += 1
            for (i, piece), token in zip(pieces, read([p for _, p in pieces]), strict=True):
                n_read[i] += len(piece[2])
                if n_read[i] == len(texts[i]):
                    texts[i].append(token)
                    answers[i].append(token)
            texts = {i: text for i, text in texts.items() if len(answers[i]) < requests[i][2]}
        waiting = [i for i in waiting if i not in batch]
        step += not batch
    return answers


# %% tags=["play"]
def their_test(serve) -> bool:
    """Say whether a scheduler is right."""
    texts: dict = {}

    def counting(pieces):
        """A model that counts on: after ..., 7 comes 8."""
        for slot, start, token_ids in pieces:
            texts[slot] = texts.get(slot, [])[:start] + token_ids
        return [texts[slot][-1] + 1 for slot, _, _ in pieces]

    requests = [(0, [10, 11], 3), (0, [20], 3), (0, [30, 31, 32], 3)]
    return serve(counting, requests, 2, 4) == [[12, 13, 14], [21, 22, 23], [33, 34, 35]]


print("their test says:", their_test(somebodys_serve))

# %% [markdown]
# It breaks one of the four rules all the same. **Write a better test.** Yours gets any
# `serve(read, requests, n_slots, budget)`, lets it run on requests of your choice, and says True or
# False: are the answers right, **and** is every rule of 15.2 kept? You need not write a `read`:
# `CountingModel(n_slots)` is one, and keeps a log. `model.passes` has an entry for every call, the
# sorted list of its pieces without their slots, `(start, token_ids)`. And `some_requests(seed,
# n_requests, latest)` draws requests that arrive in the steps from 0 to `latest`. The
# check hands it right schedulers, which differ in the slots they give, the order of their pieces
# and the way they count; and wrong ones, each with one fault that has been made before.


# %%
from moe_teach.chapters.ch15_serving.counting_model import CountingModel, some_requests


def is_right(serve) -> bool:
    """Say whether a scheduler keeps all rules of exercise 15.2.

    serve(read, requests, n_slots, budget), as in 15.2. An error that it raises may go through, or
    count as False.
    """
    ### BEGIN SOLUTION
    for seed in range(12):
        requests, logs = some_requests(seed, 12, 9), []
        for schedule in (serve, mine("15.2")):
            model = CountingModel(3)
            logs.append((schedule(model, requests, 3, 4), model.passes))
        if logs[0] != logs[1]:
            return False
    return True
    ### END SOLUTION


# %%
check("15.5", is_right)

# %% [markdown]
# ## Exercise 15.6: Open task: Who travels together
#
# A step has room for `n_slots` tokens, and more wait. Suppose you know whom each would wake,
# because its router was run ahead. Choose who goes now, so that steps wake **few experts**. But
# nobody may wait for ever: whoever has waited `patience` steps must go now; where more of them wait
# than there is room, those who have waited longest.
#
# Measured: 32 tokens wait at any time, of which your choice of 8 goes and is replaced by newcomers;
# each wakes 2 of 16 experts, mostly of the 4 that its kind of text likes; `patience` is 12 steps.
# Your figure is the mean number of experts woken a step, over 60 steps. First come, first served
# wakes 10.6. **Your goal is 5.8 or fewer.**


# %%
def choose_batch(expert_ids: Tensor, waited: Tensor, n_slots: int, patience: int) -> list[int]:
    """Choose who goes in this step.

    expert_ids: (W, K) int64, whom each waiting token would wake; waited: (W,) int64, for how many
    steps it has waited; 1 <= n_slots <= W. Returns n_slots different positions, in any order.
    """
    ### BEGIN SOLUTION
    wishes = [set(ids) for ids in expert_ids.tolist()]
    oldest = waited.argsort(descending=True, stable=True).tolist()
    chosen = [i for i in oldest if waited[i] >= patience][:n_slots] or oldest[:1]
    awake = set().union(*(wishes[i] for i in chosen))
    while len(chosen) < n_slots:
        left = [i for i in oldest if i not in chosen]
        best = min(left, key=lambda i: len(wishes[i] - awake))  # at a tie the oldest
        chosen.append(best)
        awake |= wishes[best]
    return chosen
    ### END SOLUTION


# %%
check("15.6", choose_batch)
