# %% [markdown]
# # 04 Dispatch: exercises
#
# Six functions: what an MoE layer needs that can turn tokens away, and the report that tells you
# whom it turned away. Then your own parts become a layer, and it learns. At the end you look for
# what is wrong with somebody else's layer, and there is a task that nobody has finished.
#
# Where no text says otherwise, T, K and E are at least 1. A tensor may be a transposed view, whose
# rows do not lie side by side in memory: `reshape` copes with that, `.view` does not.

# %%
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_teach.course import check, mine
from moe_teach.types import Routing

# %% [markdown]
# ## Exercise 4.1: An expert that keeps nothing
#
# The expert of the lesson is two lines, and in training they are dear. Autograd keeps every tensor
# that a derivative will ask for: here the two products, the silu and their product, each with F
# numbers for every row. In a layer with millions of rows, that fills the memory, and not the
# matrices do.
#
# Write an expert with the same answers and the same gradients that keeps **none** of them:
#
# $$W_{\text{down}} \bigl( \text{silu}(W_{\text{gate}}\, x) \odot W_{\text{up}}\, x \bigr)$$
#
# When the call is over, of all that it computed only its result may still be in memory. `x` and the
# matrices are there anyway, so `backward` can compute the rest a second time.
#
# The form below is PyTorch's for an operation with a backward of its own: `forward` puts what it
# keeps into `ctx.save_for_backward(...)`, and `backward` finds it in `ctx.saved_tensors`. It gets
# `dy`, the gradient of the result, and returns the gradients of `x`, `w_gate`, `w_up` and `w_down`.
# With $z$ the product that goes through the silu and $\sigma$ the sigmoid,
# $\text{silu}'(z) = \sigma(z)\,(1 + z\,(1 - \sigma(z)))$. (Any other form that keeps nothing
# passes, too. `torch.utils.checkpoint` has one ready; deriving it yourself tells you more.)
#
# The matrices are stored as PyTorch stores them, one row for each *output*.


# %%
class SwigluExpert(torch.autograd.Function):
    """The SwiGLU expert, with a backward that computes the inner numbers once more."""

    @staticmethod
    def forward(ctx, x: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
        """Answer the rows, and save what backward needs and what exists anyway."""
        ### BEGIN SOLUTION
        ctx.save_for_backward(x, w_gate, w_up, w_down)
        return (F.silu(x @ w_gate.T) * (x @ w_up.T)) @ w_down.T
        ### END SOLUTION

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Turn the gradient of the result (n, D) into those of the four arguments."""
        ### BEGIN SOLUTION
        x, w_gate, w_up, w_down = ctx.saved_tensors
        z, up = x @ w_gate.T, x @ w_up.T  # both (n, F), a second time
        opening = z.sigmoid()
        d_inner = dy @ w_down
        d_up = d_inner * z * opening
        d_z = d_inner * up * opening * (1 + z * (1 - opening))
        return d_z @ w_gate + d_up @ w_up, d_z.T @ x, d_up.T @ x, dy.T @ (z * opening * up)
        ### END SOLUTION


def swiglu_expert(x: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
    """Run rows through one expert, and keep nothing but the result.

    x: (n, D); w_gate and w_up: (F, D); w_down: (D, F). n may be 0: an expert nobody chose. The
    numbers may be large.
    Returns (n, D); its gradients are those of the formula.
    """
    return SwigluExpert.apply(x, w_gate, w_up, w_down)


# %%
check("4.1", swiglu_expert)

# %% [markdown]
# ## Exercise 4.2: Sort the choices by expert
#
# Token t goes to the experts `expert_ids[t]`, as far as `kept[t]` allows: a choice with `kept`
# False was turned away and gets no row. Lay out the rows of the others **sorted by expert and,
# within an expert, by token**. Return three tensors of integers:
#
# - `token_idx` (N,): which token stands in each row,
# - `slot` (T, K): in which row each choice stands, and **-1** where it was turned away,
# - `tokens_per_expert` (E,): how many rows each expert has. Nobody's favourite has 0.


# %%
def sort_dispatch(
    expert_ids: Tensor, kept: Tensor, n_experts: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Lay out the kept choices, sorted by expert and then by token.

    expert_ids: (T, K) integers in [0, n_experts), different within a token; kept: (T, K) booleans.
    Returns token_idx (N,), slot (T, K), tokens_per_expert (n_experts,), in any integer dtype that
    holds them; N is the number of kept choices and may be 0.
    """
    ### BEGIN SOLUTION
    # Who was turned away goes behind the last expert, so that one sort also clears them out.
    chosen = expert_ids.masked_fill(~kept, n_experts).flatten()
    order = chosen.argsort(stable=True)
    n_rows = int(kept.sum())

    token_idx = order[:n_rows] // expert_ids.shape[1]
    slot = torch.full_like(order, -1)
    slot[order[:n_rows]] = torch.arange(n_rows)
    tokens_per_expert = torch.bincount(chosen, minlength=n_experts + 1)[:n_experts]
    return token_idx, slot.view_as(expert_ids), tokens_per_expert
    ### END SOLUTION


# %%
check("4.2", sort_dispatch)

# %% [markdown]
# ## Exercise 4.3: Bring the answers back
#
# The experts have answered: `y` holds one answer in each row. Mix the answers of every token with
# its gates: token t gets the sum over its choices k of `gates[t, k] * y[slot[t, k]]`.
#
# A choice with slot -1 was turned away and adds **nothing**. The other gates stay as they are.


# %%
def combine(y: Tensor, gates: Tensor, slot: Tensor) -> Tensor:
    """Mix the answers of each token's experts.

    y: (N, D) answers, row by row; gates: (T, K), which need not sum to one; slot: (T, K) integers
    in [0, N), each at most once, or -1 where the choice was turned away. N may be 0.
    Returns (T, D).
    """
    ### BEGIN SOLUTION
    # One row of zeros at the end: index -1 reads it, and a dropped choice adds nothing.
    answers = F.pad(y, (0, 0, 0, 1))[slot]  # (T, K, D)
    return (gates[..., None] * answers).sum(dim=1)
    ### END SOLUTION


# %%
check("4.3", combine)

# %% [markdown]
# ## Exercise 4.4: Capacity, under three policies
#
# Every expert serves at most `capacity` choices. Who is served is decided by a queue:
#
# - `"first_come"`: in the order of the flattened batch: token 0's choices, then token 1's, ...
# - `"by_gate"`: the largest gate first, whichever token it belongs to (no two gates are equal);
# - `"random"`: in an order drawn with `generator`, or with torch's own random numbers where it is
#   `None`; for the choices of one expert, every order is equally likely.
#
# Each expert takes the first `capacity` choices of *its own* in that queue. Return which choices
# are served. Any other policy earns a `ValueError`.


# %%
def capacity_dispatch(
    expert_ids: Tensor,
    gates: Tensor,
    capacity: int,
    policy: str,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Say which choices are served.

    expert_ids: (T, K) integers, different within a token; gates: (T, K), positive numbers of any
    size; capacity >= 0 counts choices of one expert.
    Returns kept (T, K), booleans. Raises ValueError for an unknown policy, whatever the rest.
    """
    ### BEGIN SOLUTION
    chosen = expert_ids.flatten()
    if policy == "first_come":
        queue = torch.arange(chosen.numel())
    elif policy == "by_gate":
        queue = gates.flatten().argsort(descending=True, stable=True)
    elif policy == "random":
        queue = torch.randperm(chosen.numel(), generator=generator)
    else:
        raise ValueError(f"Unknown policy {policy!r}: use 'first_come', 'by_gate' or 'random'.")

    kept = torch.zeros_like(chosen, dtype=torch.bool)
    for e in chosen.unique():
        mine = queue[chosen[queue] == e]  # this expert's choices, in the order of the queue
        kept[mine[:capacity]] = True
    return kept.view_as(expert_ids)
    ### END SOLUTION


# %%
check("4.4", capacity_dispatch)

# %% [markdown]
# ## Exercise 4.5: Who was turned away?
#
# The report that finds the problem of the lesson's first page. The T tokens are a flattened batch
# of `n_texts` texts of equal length: the first T / n_texts tokens are text 0, and so on. Return a
# dictionary:
#
# - `"dropped"`: the share of all choices that were turned away, a plain float,
# - `"by_text"`: the same share for each text, a tensor (n_texts,) in float32 or float64,
# - `"unserved"`: how many **tokens** lost every one of their choices, a plain int.


# %%
def drop_report(kept: Tensor, n_texts: int) -> dict[str, object]:
    """Report who lost how much.

    kept: (T, K) booleans, token by token in memory; T is a multiple of n_texts.
    Returns {"dropped": float, "by_text": Tensor (n_texts,), "unserved": int}.
    """
    ### BEGIN SOLUTION
    lost = ~kept
    return {
        "dropped": lost.float().mean().item(),
        "by_text": lost.view(n_texts, -1).float().mean(dim=1),
        "unserved": int(lost.all(dim=1).sum()),
    }
    ### END SOLUTION


# %%
check("4.5", drop_report)

# %% [markdown]
# ## Exercise 4.6: The bill for the rectangle
#
# A padded block gives every expert exactly `capacity` places, and the machine computes them all. A
# row through a SwiGLU expert meets three matrices of d_model · d_ff numbers, and each number costs
# 2 FLOPs. From how often each expert was chosen, return three integers, in FLOPs:
#
# - `useful`: spent on choices that got a place,
# - `wasted`: spent on places that stayed empty,
# - `missing`: what the choices that found no place would have cost.


# %%
def padding_bill(
    tokens_per_expert: Tensor, capacity: int, d_model: int, d_ff: int
) -> tuple[int, int, int]:
    """Count what a padded block computes, for whom, and what it leaves out.

    tokens_per_expert: (E,) int64, how many choices fell on each expert; capacity >= 0.
    Returns (useful, wasted, missing), plain integers, exact however large they are.
    """
    ### BEGIN SOLUTION
    n_chosen = int(tokens_per_expert.sum())
    n_places = len(tokens_per_expert) * capacity
    n_used = int(tokens_per_expert.clamp(max=capacity).sum())
    row_flops = 3 * 2 * d_model * d_ff
    return n_used * row_flops, (n_places - n_used) * row_flops, (n_chosen - n_used) * row_flops
    ### END SOLUTION


# %%
check("4.6", padding_bill)

# %% [markdown]
# ## Exercise 4.7: Your MoE layer
#
# Now your own parts become a layer. `mine("3.1")` is your answer to exercise 3.1. Where you have
# none yet, it is the course's, and says so. The weights and the parts are in place; write
# `forward`, the way of every token:
#
# ```text
#   x -> logits -> route -> sort -> one expert for each slice of rows -> mix -> y
# ```
#
# It stands wherever the library's `MoE` stands: `x` may have any axes before the last one, and may
# come in bfloat16. Then a few things are up to the layer, because no part was asked for them. The
# logits are computed in **float32**: rounded ones tie. Answers and gates meet in float32, too, and
# y goes out in the dtype of x. Nobody is turned away.

# %%
PARTS = {"route": "3.1", "expert": "4.1", "sort": "4.2", "mix": "4.3"}


class MyMoE(nn.Module):
    """A mixture of experts made of your own parts."""

    def __init__(
        self,
        d_model: int,
        n_experts: int,
        top_k: int,
        d_ff: int,
        normalize_gates: bool = True,
        **parts: Callable,
    ) -> None:
        """Draw the weights, and take the parts: what is passed by name, otherwise your own."""
        super().__init__()
        self.top_k, self.normalize_gates = top_k, normalize_gates
        self.router = nn.Linear(d_model, n_experts, bias=False)
        self.w_gate = nn.Parameter(torch.randn(n_experts, d_ff, d_model) / d_model**0.5)
        self.w_up = nn.Parameter(torch.randn(n_experts, d_ff, d_model) / d_model**0.5)
        self.w_down = nn.Parameter(torch.randn(n_experts, d_model, d_ff) / d_ff**0.5)
        for name, exercise in PARTS.items():
            setattr(self, name, parts.get(name) or mine(exercise))

    def forward(self, x: Tensor, token_ids: Tensor | None = None) -> tuple[Tensor, Routing]:
        """Send every token to its experts and mix what they answer.

        x: (..., D), any memory layout, float32 or bfloat16; token_ids: for layers that look at
        them, as this one does not.
        self.route(logits, top_k, normalize_gates), self.sort(expert_ids, kept, n_experts),
        self.expert(rows, w_gate, w_up, w_down) and self.mix(y, gates, slot) are called as in their
        exercises. Returns y, in shape and dtype like x, and the Routing of the T tokens.
        """
        ### BEGIN SOLUTION
        tokens = x.reshape(-1, x.shape[-1])
        logits = F.linear(tokens.float(), self.router.weight.float())
        gates, expert_ids = self.route(logits, self.top_k, self.normalize_gates)
        everybody = torch.ones_like(expert_ids, dtype=torch.bool)
        token_idx, slot, counts = self.sort(expert_ids, everybody, len(self.w_up))

        slices = tokens[token_idx].split(counts.tolist())
        matrices = zip(self.w_gate.unbind(), self.w_up.unbind(), self.w_down.unbind(), strict=True)
        pairs = zip(slices, matrices, strict=True)
        answers = torch.cat([self.expert(rows, *own) for rows, own in pairs])
        y = self.mix(answers.float(), gates, slot)
        routing = Routing(logits, logits.softmax(dim=-1), gates, expert_ids)
        return y.to(x.dtype).reshape(x.shape), routing
        ### END SOLUTION


# %%
check("4.7", MyMoE)

# %% [markdown]
# ### Your layer before the law
#
# It is a layer like any other now, so the laws of the lesson hold for it. `told_about` tells them
# what cannot be seen from outside: what one expert answers alone, and which tensors have one row
# for each expert. (A part may raise at no tokens at all. No exercise asked it for that.)

# %% tags=["play"]
from moe_teach.analysis.laws import obeys
from moe_teach.analysis.own_layer import told_about, written_by

Layer = mine("4.7")  # yours, once its check has passed
torch.manual_seed(0)
layer = Layer(8, 4, 2, 4)
reports = {"your layer": obeys(layer, d_model=8, **told_about(layer))}
reports["your layer"]

# %% [markdown]
# ### A mistake in your layer
#
# Put another part in one place, and nothing else changes. Two bugs that people have shipped: the
# gates of the token *beside* you, and a last choice that is forgotten. Both layers run, and both
# give finite numbers of the right shape. Which law finds each of them? Guess before you run the
# cell.


# %% tags=["play"]
def beside_you(y: Tensor, gates: Tensor, slot: Tensor) -> Tensor:
    """Mix with the gates of the token in front."""
    return mine("4.3")(y, gates.roll(1, 0), slot)


def forgets_one(y: Tensor, gates: Tensor, slot: Tensor) -> Tensor:
    """Mix without the last choice."""
    return mine("4.3")(y, gates[:, :-1], slot[:, :-1])


# %% tags=["play"]
for mistake in (beside_you, forgets_one):
    name = mistake.__name__
    faulty = Layer(8, 4, 2, 4, mix=mistake)
    reports[name] = obeys(faulty, d_model=8, **told_about(faulty))
    broken = reports[name].broken
    print(f"{name}:", *(f"{law.name} ({law.seen})" for law in broken), sep="\n  ")
    assert "kept once" in {law.name for law in broken}

# %% [markdown]
# ### Which of them learns?
#
# The tokens of chapter 03: four kinds, and each kind wants a map of its own. Nobody tells a layer
# the kinds. We train your layer and the two faulty ones on them, three seeds each. A loss of 1.0 is
# a constant guess. Which of the three will learn? Guess again.

# %% tags=["play"]
from moe_teach.chapters.ch04_dispatch.my_layer import kinds_by_expert, learn_kinds
from moe_teach.course import by_mode

N_STEPS = by_mode(full=200, fast=100)
changed = {"your layer": {}, "beside_you": {"mix": beside_you}, "forgets_one": {"mix": forgets_one}}
losses = {name: [] for name in changed}
for name, parts in changed.items():
    for seed in range(3):
        torch.manual_seed(seed)
        losses[name].append(learn_kinds(Layer(8, 4, 2, 2, **parts), seed, N_STEPS, lr=0.03))
    ends = ", ".join(f"{curve[-1]:.2f}" for curve in losses[name])
    print(f"{name:12} after {N_STEPS} steps: {ends}")
    assert all(curve[-1] < 0.6 * curve[0] for curve in losses[name])

# %% [markdown]
# Has your layer also found the kinds? That is best seen with one expert for each token, and a gate
# that stays a probability: the rule that keeps a top-1 router alive.

# %% tags=["play"]
before, after = {}, {}
for seed in range(3):
    torch.manual_seed(seed)
    layer = Layer(8, 4, 1, 2, normalize_gates=False)
    before[seed] = kinds_by_expert(layer, seed)
    learn_kinds(layer, seed, N_STEPS, lr=0.03)
    after[seed] = kinds_by_expert(layer, seed)
    # A guesser who is told the expert alone names the kind that is most frequent there.
    told = [table.max(dim=0).values.sum() / 4 for table in (before[seed], after[seed])]
    print(f"seed {seed}: the expert gives the kind away in {told[0]:.0%} -> {told[1]:.0%}")
    assert told[1] > told[0]

# %% [markdown]
# ### All of it in one picture
#
# Above the way of a token through your layer: a part that you wrote is filled. Below the laws, the
# losses, and who goes to which expert, one row for each kind and one column for each expert. (The
# last seed; put 0 or 1 in its place.)

# %% tags=["play"]
from moe_teach.chapters.ch04_dispatch.layer_figure import your_layer
from moe_teach.plots.style import show_figure

authors = {name: written_by(getattr(layer, name)) for name in ("route", "sort", "expert", "mix")}
show_figure(your_layer(authors, reports, losses, before[2], after[2]))

# %% [markdown]
# **What to see.** All three layers learn. Each loss falls far below a constant guess, and if you
# had only one of these curves, nothing in it would tell you that the layer is wrong: the weights
# learn around the mistake. On one seed the layer that forgets a choice may even end below yours.
# The laws tell at once, before any training. A falling loss is no test.
#
# On the right, before training, kinds and experts hardly know each other: chance alone would give
# the kind away in 25 %. After, most kinds have an expert that they prefer. It is no perfect deal of
# one expert for each kind. Two kinds may share an expert, and one kind may use two: the loss asks
# for small errors, not for tidy tables.

# %% [markdown]
# ## Exercise 4.8: Find what is wrong: a layer that passes its demo
#
# Somebody wrote the layer below and showed that it is right. Its contract:
#
# - x is (T, D), T at least 1, in float32 or bfloat16; gates (T, K) are positive float32 numbers of
#   any size; expert_ids (T, K) are integers, different within a token;
# - `experts` are E functions from (n, D) to (n, D) that treat each row by itself, n = 0 included;
# - y is (T, D) in the dtype of x: y[t] is the sum over k of gates[t, k] times what expert
#   `expert_ids[t, k]` makes of x[t]. Every choice counts, whoever else chooses. In bfloat16 a few
#   roundings are allowed;
# - all arguments are left as they were.


# %%
def somebodys_layer(
    x: Tensor, gates: Tensor, expert_ids: Tensor, experts: list[Callable[[Tensor], Tensor]]
) -> Tensor:
    """Count every choice into a place of a padded block, run the experts, and collect."""
    chosen = F.one_hot(expert_ids.flatten(), len(experts)).to(x.dtype)
    earlier = chosen.cumsum(dim=0) - chosen
    place = (earlier * chosen).sum(dim=1).long()
    n_places = int(place.max()) + 1
    row = expert_ids.flatten() * n_places + place
    block = x.new_zeros(len(experts) * n_places, x.shape[1])
    block[row] = x.repeat_interleave(expert_ids.shape[1], dim=0)
    slices = block.split(n_places)
    answers = torch.cat([expert(rows) for expert, rows in zip(experts, slices, strict=True)])
    mixed = gates[..., None] * answers[row].view(*expert_ids.shape, -1)
    return mixed.sum(dim=1).to(x.dtype)


# %% tags=["play"]
x, ids = torch.randn(64, 4), torch.rand(64, 8).argsort(dim=1)[:, :2]
gates = torch.rand(64, 2).softmax(dim=1)
experts = [lambda rows, e=e: rows * (e + 1) for e in range(8)]
by_hand = (gates * (ids + 1)).sum(dim=1, keepdim=True) * x
torch.testing.assert_close(somebodys_layer(x, gates, ids, experts), by_hand)
print("PASS: the demo")

# %% [markdown]
# The demo passes, and the layer is wrong. Write a test that finds out: a function that is handed a
# layer, tries it on inputs that the contract allows, and returns True where something is wrong.
#
# A test that always says True is none. So yours is tried on four layers that are right, each in
# its own way, on this one, and on eight more that are broken, each in another way. None of them
# raises an error, and all are called as this one is: layer(x, gates, expert_ids, experts).


# %%
def turns_away(layer: Callable[..., Tensor]) -> bool:
    """Try a layer, and say whether it breaks the contract.

    layer: as `somebodys_layer`, with the same four arguments.
    Returns True where something is wrong, and False where nothing is.
    """
    ### BEGIN SOLUTION
    for n_tokens, dtype, slack in (
        (1, torch.float32, 1e-5),
        (40, torch.float32, 1e-5),
        (700, torch.bfloat16, 0.05),
    ):
        random = torch.Generator().manual_seed(n_tokens)
        x = torch.randn(n_tokens, 3, generator=random).to(dtype)
        gates = 0.1 + torch.rand(n_tokens, 2, generator=random)
        other = torch.randint(2, 8, (n_tokens,), generator=random)
        ids = torch.stack([other, torch.ones_like(other)], dim=1)  # 1 is everybody's, 0 nobody's
        experts = [lambda rows, e=e: torch.sin(rows.float() + e).to(rows.dtype) for e in range(8)]

        answers = torch.stack([expert(x).float() for expert in experts], dim=1)  # (T, E, D)
        chosen = answers[torch.arange(n_tokens)[:, None], ids]
        right, before = (gates[..., None] * chosen).sum(dim=1), x.clone()
        y = layer(x, gates, ids, experts)
        if bool(((y.float() - right).abs() > slack).any()) or not torch.equal(x, before):
            return True
    return False
    ### END SOLUTION


# %%
check("4.8", turns_away)

# %% [markdown]
# ## Exercise 4.9: Open task: choose without seeing the future
#
# When a model writes, tokens come one after the other. Each must choose its experts *now*: it knows
# who came before, and not who comes after. Every expert has `capacity` places, and a place that is
# given away is gone. Choose so that as much probability as possible is served: the sum of `probs`
# over all choices, of all tokens.
#
# The check lets 256 tokens come, six times, with 8 experts, 2 choices and a capacity factor of 1.0.
# Your figure is the share that you serve of what somebody with *hindsight* could serve, who sees
# all tokens first. (That is known: it is an assignment problem, and its dual bounds it from above.)
# First come, first served, the lesson's way, reaches 70.4%. Whoever finds no place at a favourite
# may go elsewhere, and still that rule alone does worse. From 90% on the exercise is passed. The
# best that we know reaches 95.7%; how much is possible at all, we do not know.


# %%
def choose_now(
    probs: Tensor, past: Tensor, used: Tensor, capacity: int, n_tokens: int, top_k: int
) -> Tensor:
    """Choose the experts of the token whose turn it is.

    probs: (E,) its probabilities; past: (t, E) those of the t tokens before it, t from 0 to
    n_tokens - 1; used: (E,) integers, the places that each expert has given away; capacity >= 0:
    the places of one expert; n_tokens: all that will come; top_k <= E.
    Returns int64, one axis: at most top_k different experts that have a place left, in any order.
    The same arguments give the same answer.
    """
    ### BEGIN SOLUTION
    # An expert that fills faster than the batch goes by asks for more.
    ahead = used / capacity - len(past) / n_tokens
    worth = (probs - 5 * ahead.clamp(min=0)).masked_fill(used >= capacity, -1)
    best, ids = worth.topk(top_k)
    return ids[best > 0]
    ### END SOLUTION


# %%
check("4.9", choose_now)
