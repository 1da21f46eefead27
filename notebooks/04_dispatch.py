# %% [markdown]
# # 04 Dispatch
#
# **Claim: five ways of sending tokens to their experts give the same answer, for very different
# amounts of work. A sixth way turns tokens away, and that changes the answer.**
#
# A router's choices are ragged: some experts are wanted by many tokens, some by few. Computers like
# rectangles. In this chapter you build every common way out of that conflict, count what each one
# costs to the last operation, and see who pays when the rectangle is too small.

# %%
import torch
import torch.nn.functional as F
from torch import Tensor

from moe_teach.config import RouterConfig
from moe_teach.course import by_mode, check
from moe_teach.nn.experts import Experts
from moe_teach.nn.moe import MoE
from moe_teach.nn.router import Router
from moe_teach.plots.style import show_figure
from moe_teach.types import ExpertWeights, Routing

# %% [markdown]
# ## A surprise first
#
# Here is a batch of 32 texts with 64 tokens each. All tokens share a common part, as the tokens of
# a real text do, so the router likes some experts more than others. Text 0 is **copied** to text
# 31.

# %%
N_TEXTS, N_POSITIONS, D_MODEL, N_EXPERTS, TOP_K = 32, 64, 32, 8, 2


def batch(seed: int) -> Tensor:
    """Draw tokens (texts, positions, D) that share a common part."""
    random = torch.Generator().manual_seed(seed)
    common = 0.5 * torch.randn(D_MODEL, generator=random)
    return torch.randn(N_TEXTS, N_POSITIONS, D_MODEL, generator=random) + common


# %%
torch.manual_seed(0)
layer = MoE(
    Router(D_MODEL, RouterConfig(n_experts=N_EXPERTS, top_k=TOP_K)),
    Experts(N_EXPERTS, D_MODEL, d_ff=64),
    capacity_factor=1.0,
)
x = batch(seed=0)
x[31] = x[0]

# %% [markdown]
# Two copies of one text go through one layer, in one call. They must come out equal.

# %% tags=["nbval-check-output"]
with torch.no_grad():
    y, routing = layer(x)
for text in (0, 31):
    kept = routing.kept.view(N_TEXTS, -1)[text]
    print(f"text {text:2}: {(~kept).sum()} of {len(kept)} choices were dropped")
print("same tokens:", torch.equal(x[0], x[31]), "  same answers:", torch.allclose(y[0], y[31]))

# %% [markdown]
# The same tokens, the same weights, the same call, and two different answers. Nothing is broken:
# this layer has a **capacity**, as the layers of GShard and Switch do. Each expert serves so many
# choices and no more. By the end of the chapter you can say exactly who is turned away, and why
# DeepSeek-V3, for one, turns nobody away.
#
# ## Six words
#
# Each of them means one thing from here on, and nothing else.
#
# | word | what it is |
# | --- | --- |
# | **text** | one sequence of the batch; here there are 32 |
# | **choice** | one of the K experts of a token |
# | **row** | one token's vector on its way to one expert, so each choice asks for a row |
# | **slot** | the number of the row that belongs to a choice |
# | **place** | a seat for one row at one expert, numbered from 0; a *padded* place stays empty |
# | **capacity** | how many places each expert has |
#
# And the letters of shapes: T tokens, K choices of each, E experts, C places of each, N = T · K
# rows, D the width of a token, F the inner width of an expert. A comment such as `# (T, K)` gives
# the shape of what stands before it.
#
# ## Predict
#
# First the ways that turn nobody away. Guess now, measure later.

# %%
check("4.q1", ...)

# %% [markdown]
# ## One expert
#
# An expert is a small feed-forward network. Nearly all open models since Mixtral use the SwiGLU
# form (Shazeer 2020, arXiv 2002.05202, eq. 6), with three matrices:
#
# $$E(x) = W_{\text{down}} \bigl( \text{silu}(W_{\text{gate}}\, x) \odot W_{\text{up}}\, x \bigr)$$
#
# Beware of a name: `w_gate` belongs to the *expert*. The **gates** of the router are other numbers.


# %%
def expert(x: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
    """Run rows (n, D) through one expert; with an axis E in front of everything, through all."""
    return (F.silu(x @ w_gate.mT) * (x @ w_up.mT)) @ w_down.mT


# %% [markdown]
# Each matrix holds $D \cdot F$ numbers, and each number costs one multiplication and one addition
# per row. So one row through one expert costs $6DF$ FLOPs, and a layer **needs**
#
# $$T \cdot K \cdot 6DF$$
#
# for $T$ tokens with $K$ choices each. Whatever is more than that is waste. Gates, sorting and the
# silu are left out of the count, for everybody.
#
# ## The smallest ragged problem
#
# Five tokens, three experts, two choices each. Lesson 03 made such records; this one is by hand.

# %%
ids = torch.tensor([[2, 0], [2, 1], [0, 2], [2, 0], [1, 2]])
gates = torch.tensor([[0.6, 0.4], [0.7, 0.3], [0.9, 0.1], [0.5, 0.5], [0.8, 0.2]])
probs = torch.zeros(5, 3).scatter(1, ids, gates)
small = Routing(logits=probs.log(), probs=probs, gates=gates, expert_ids=ids)
small_x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
small_w = Experts(3, d_model=4, d_ff=6).weights
print("rows for each expert:", torch.bincount(ids.flatten()).tolist())

# %% [markdown]
# Expert 2 has as much to do as the other two together. Hold on to these counts: 3, 2, 5.
#
# ### Way 1: a loop with masks
#
# For each expert: find its tokens, compute, add the gated answer back. It is the definition,
# written as code. `unbind` splits the stacked matrices once; why not `w_up[e]`? See the trap below.


# %%
def by_loop(x: Tensor, routing: Routing, w: ExpertWeights) -> Tensor:
    """Visit every expert and look for its tokens."""
    y = torch.zeros_like(x)
    matrices = zip(w.w_gate.unbind(), w.w_up.unbind(), w.w_down.unbind(), strict=True)
    for e, own in enumerate(matrices):
        token, choice = torch.where(routing.expert_ids == e)
        answer = expert(x[token], *own)
        y = y.index_add(0, token, routing.gates[token, choice, None] * answer)
    return y


# %% [markdown]
# ### Way 2: one-hot einsums
#
# The accelerators of 2020 wanted dense products of fixed shape. So GShard (arXiv 2006.16668,
# algorithm 2) gives each expert $C$ places and writes "token $t$ goes to place $c$ of expert $e$"
# as a tensor of zeros and ones, $(T, E, C)$. First: which place does each choice get? Its number
# is how many earlier choices fell on the same expert.


# %%
def places(expert_ids: Tensor, n_experts: int) -> Tensor:
    """Count the earlier choices that fell on the same expert: (T, K)."""
    chosen = F.one_hot(expert_ids.flatten(), n_experts)  # (N, E)
    earlier = chosen.cumsum(dim=0) - chosen
    return (earlier * chosen).sum(dim=-1).view_as(expert_ids)


# %% tags=["nbval-check-output"]
print("expert", ids.flatten().tolist())
print("place ", places(ids, 3).flatten().tolist())

# %% [markdown]
# Dispatch and combine are then two products with that tensor. $C$ is what the busiest expert needs,
# so nobody is turned away yet.


# %%
def by_one_hot(x: Tensor, routing: Routing, w: ExpertWeights) -> Tensor:
    """Multiply the tokens by zeros and ones, and the answers by gates and zeros."""
    place = places(routing.expert_ids, routing.n_experts)
    to_expert = F.one_hot(routing.expert_ids, routing.n_experts).float()  # (T, K, E)
    to_place = F.one_hot(place).float()  # (T, K, C)
    mask = torch.einsum("tke,tkc->tec", to_expert, to_place)
    rows = torch.einsum("tec,td->ecd", mask, x)
    answers = expert(rows, w.w_gate, w.w_up, w.w_down)
    mixing = torch.einsum("tk,tke,tkc->tec", routing.gates, to_expert, to_place)
    return torch.einsum("tec,ecd->td", mixing, answers)


# %% [markdown]
# ### Way 3: padded blocks
#
# The same rectangle, but filled by copying instead of multiplying. All places stand in one long
# block, expert after expert, so the slot of a choice is `expert · C + place`. Places that nobody
# got stay zero, and are computed all the same.


# %%
def by_padding(x: Tensor, routing: Routing, w: ExpertWeights) -> Tensor:
    """Copy the tokens into a block (E, C, D), compute all of it, and read what was used."""
    place = places(routing.expert_ids, routing.n_experts)
    capacity = int(place.max()) + 1
    slot = routing.expert_ids * capacity + place  # (T, K)
    block = x.new_zeros(routing.n_experts * capacity, x.shape[-1])
    block[slot.flatten()] = x.repeat_interleave(routing.top_k, dim=0)
    block = block.view(routing.n_experts, capacity, -1)
    answers = expert(block, w.w_gate, w.w_up, w.w_down).flatten(0, 1)
    return (routing.gates[..., None] * answers[slot]).sum(dim=1)


# %% [markdown]
# Here is the block of the small problem: 3 experts, 5 places each.

# %%
from moe_teach.chapters.ch04_dispatch.figures import buffers, costs, signature, sorting

show_figure(buffers(torch.bincount(ids.flatten()), capacity=5))

# %% [markdown]
# **What to see.** Ten rows are needed, fifteen are computed. The busiest expert sets the height for
# all of them.
#
# ### Way 4: sort, then slice
#
# No rectangle at all. Sort the choices by expert, and each expert's rows are one contiguous slice.

# %%
show_figure(sorting(ids))


# %%
def sort_choices(expert_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Give the token of each sorted row (N,) and the slot of each choice (T, K)."""
    order = expert_ids.flatten().argsort(stable=True)
    token_idx = order // expert_ids.shape[1]
    slot = order.argsort().view_as(expert_ids)  # the inverse of a sort is a sort of the sort
    return token_idx, slot


# %% tags=["nbval-check-output"]
token_idx, slot = sort_choices(ids)
print("token of each row: ", token_idx.tolist())
print("slot of each choice:", slot.tolist())
assert torch.equal(token_idx[slot], torch.arange(5)[:, None].expand(5, 2))
print("PASS: every choice finds the row that carries its own token")

# %% [markdown]
# `slot` is what you need on the way back. Each token *collects* its own K answers, so no two rows
# are ever written to one token at once, and the sum does not depend on who was first.


# %%
def by_sorting(x: Tensor, routing: Routing, w: ExpertWeights) -> Tensor:
    """Sort the rows by expert and hand each expert its slice."""
    token_idx, slot = sort_choices(routing.expert_ids)
    counts = torch.bincount(routing.expert_ids.flatten(), minlength=routing.n_experts)
    slices = x[token_idx].split(counts.tolist())
    matrices = zip(w.w_gate.unbind(), w.w_up.unbind(), w.w_down.unbind(), strict=True)
    pairs = zip(slices, matrices, strict=True)
    answers = torch.cat([expert(rows, *own) for rows, own in pairs])
    return (routing.gates[..., None] * answers[slot]).sum(dim=1)


# %% [markdown]
# ### Way 5: one grouped matmul
#
# The slices are small, and many small products leave a fast machine idle. A *grouped* matmul takes
# all rows, all matrices, and the ends of the slices, in one call. MegaBlocks (arXiv 2211.15841)
# showed that a layer built on ragged groups need not turn anybody away. You write such a kernel
# yourself in chapter 10.

# %%
from moe_teach.ops.grouped_mm import grouped_mm


def by_grouping(x: Tensor, routing: Routing, w: ExpertWeights) -> Tensor:
    """Sort the rows by expert and hand all slices to one operation."""
    token_idx, slot = sort_choices(routing.expert_ids)
    counts = torch.bincount(routing.expert_ids.flatten(), minlength=routing.n_experts)
    ends = counts.cumsum(0).to(torch.int32)
    rows = x[token_idx]
    inner = F.silu(grouped_mm(rows, w.w_gate, ends)) * grouped_mm(rows, w.w_up, ends)
    answers = grouped_mm(inner, w.w_down, ends)
    return (routing.gates[..., None] * answers[slot]).sum(dim=1)


# %% [markdown]
# ### Do they agree?
#
# The library has all five, side by side in one file, behind one function. Ten results, one answer.

# %% tags=["nbval-check-output"]
from moe_teach.ops.five_ways import FIVE_WAYS
from moe_teach.ops.routed_ffn import routed_ffn

BY_HAND = (by_loop, by_one_hot, by_padding, by_sorting, by_grouping)
WAYS = dict(zip(FIVE_WAYS, BY_HAND, strict=True))
truth = by_loop(small_x, small, small_w)
for name, by_hand in WAYS.items():
    torch.testing.assert_close(by_hand(small_x, small, small_w), truth)
    torch.testing.assert_close(routed_ffn(small_x, small, small_w, "swiglu", backend=name), truth)
    print(f"PASS: {by_hand.__name__} and the library's {name!r}")

# %% [markdown]
# ### The trap in the loop
#
# Why did the loop say `unbind` and not `w.w_up[e]`? Both read the same numbers. To see the
# difference, we look at what PyTorch does. It hands every operation to a *dispatch mode* before it
# runs it, if one is active. (The word is PyTorch's: it sends operations to the code that computes
# them, and we send tokens to experts.) This one writes down the names:

# %%
from torch.utils._python_dispatch import TorchDispatchMode


class Names(TorchDispatchMode):
    """Writes down the name of every operation that runs."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(str(func).removeprefix("aten."))
        return func(*args, **(kwargs or {}))


# %% tags=["nbval-check-output"]
w = torch.ones(4, 2, 2, requires_grad=True)
loss = sum(w[e].sum() for e in range(4))
with Names() as names:
    loss.backward()
print(*names.seen)

# %% [markdown]
# `select_backward` is the gradient of `w[e]`, four times for four experts, and each result is added
# to the sum of the others. How large is it? As large as *all* of `w`, with zeros everywhere except
# in slice `e`. Let us count the numbers that such steps write, and those of `unbind`.


# %%
class SliceGradients(TorchDispatchMode):
    """Counts the numbers that the gradients of w[e], or of unbind, write."""

    written = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten.select_backward.default, torch.ops.aten.stack.default):
            self.written += out.numel()
        return out


# %%
def written_backward(split, n_experts: int) -> int:
    """Count what backward writes to put the slices' gradients together, in sizes of w."""
    w = torch.ones(n_experts, 8, 8, requires_grad=True)
    loss = sum((torch.ones(5, 8) @ matrix).sum() for matrix in split(w))
    with SliceGradients() as count:
        loss.backward()
    return count.written // w.numel()


# %% tags=["nbval-check-output"]
for n_experts in (4, 16, 64):
    index = written_backward(lambda w: [w[e] for e in range(len(w))], n_experts)
    once = written_backward(lambda w: w.unbind(), n_experts)
    print(f"{n_experts} experts: w[e] writes {index} times the size of w, unbind {once}")
    assert (index, once) == (n_experts, 1)

# %% [markdown]
# Every expert pays for all experts, so the cost is quadratic in their number. The answer is right
# and nothing warns you: only a count or a clock shows it.
#
# ## Counting the waste
#
# Now the five ways on a larger problem. PyTorch has a dispatch mode ready, `FlopCounterMode`, that
# adds up the FLOPs of every matrix product that runs. It does not know the grouped matmul yet, so
# we tell it: each row meets one matrix.

# %%
from torch.utils.flop_counter import FlopCounterMode


def grouped_flops(rows, w, *others, out_shape=None, **more) -> int:
    """Count a grouped matmul from the shapes of its rows (N, D) and matrices (E, D, F)."""
    return 2 * rows[0] * rows[1] * w[-1]


def counted(way: str, x: Tensor, routing: Routing, w: ExpertWeights) -> int:
    """Count the FLOPs that one way really runs."""
    known = {torch.ops.aten._grouped_mm: grouped_flops}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=known) as counter:
        WAYS[way](x, routing, w)
    return counter.get_total_flops()


# %% [markdown]
# And by formula. The rectangle has $E \cdot C$ rows instead of $T \cdot K$. The one-hot way also
# pays for its products with zeros: two of them build the (T, E, C) tensors, two apply them.


# %%
def predicted(way: str, routing: Routing, w: ExpertWeights) -> int:
    """Give the FLOPs of one way from shapes and counts alone."""
    n_experts, d_ff, d_model = w.w_up.shape
    n_tokens, top_k = routing.expert_ids.shape
    capacity = int(torch.bincount(routing.expert_ids.flatten()).max())
    is_rectangle = way in ("one_hot", "padded")
    n_rows = n_experts * capacity if is_rectangle else n_tokens * top_k
    products = 4 * n_tokens * n_experts * capacity * (d_model + top_k) if way == "one_hot" else 0
    return n_rows * 6 * d_model * d_ff + products


# %% [markdown]
# The problem: the same tokens, the same width of an expert, two choices each, and a growing number
# of experts. The work that is *needed* never changes. Three seeds draw tokens and routers.
# (`by_mode` takes smaller sizes where somebody only wants to see whether the page runs.)

# %%
T, D, D_FF = by_mode(full=(512, 128, 128), fast=(256, 64, 64))
MANY = by_mode(full=(2, 4, 8, 16, 32, 64), fast=(2, 8, 32))
SEEDS = range(3)
NEEDED = T * TOP_K * 6 * D * D_FF


def problem(n_experts: int, seed: int, n_tokens: int = T) -> tuple[Tensor, Routing, ExpertWeights]:
    """Draw tokens, a routing and experts; the routing is as even as chance makes it."""
    torch.manual_seed(seed)
    x = torch.randn(n_tokens, D)
    router = Router(D, RouterConfig(n_experts=n_experts, top_k=TOP_K))
    with torch.no_grad():
        return x, router(x), Experts(n_experts, D, D_FF).weights


# %%
work = {way: [] for way in WAYS}
for n_experts in MANY:
    problems = [problem(n_experts, seed) for seed in SEEDS]
    for way in WAYS:
        flops = [counted(way, *given) for given in problems]
        assert flops == [predicted(way, *given[1:]) for given in problems]
        work[way].append([count / NEEDED for count in flops])
print("PASS: every count is what the formula says")

# %%
print("experts  ", *(f"{n:7}" for n in MANY))
for way, shares in work.items():
    print(f"{way:9}", *(f"{sum(s) / len(s):7.2f}" for s in shares), " x the needed FLOPs")

# %%
for way in ("loop", "sorted", "grouped"):
    assert all(share == 1 for shares in work[way] for share in shares)
for i in SEEDS:
    padded, one_hot = ([shares[i] for shares in work[way]] for way in ("padded", "one_hot"))
    assert all(1 <= a < b for a, b in zip(padded, one_hot, strict=True))
    assert padded[-1] > padded[0]
print("PASS: three ways waste nothing; padding wastes more with more experts; one-hot most")

# %% [markdown]
# Padding gets worse although the router is fair. With more experts each one has fewer rows, so
# chance alone makes the busiest stick out further. A skewed router makes it much worse.
#
# The one-hot way has a second disease. Its products grow with $T \cdot E \cdot C$, and $C$ itself
# grows with $T$: **quadratic in the tokens**. So GShard cuts its batch into groups first.

# %%
for n_tokens in (T // 4, T // 2, T):
    ratio = counted("one_hot", *problem(8, 0, n_tokens)) / (NEEDED * n_tokens / T)
    print(f"{n_tokens:4} tokens: one-hot runs {ratio:.1f} x the needed FLOPs")

# %%
check("4.q2", ...)

# %% [markdown]
# ### And the time?
#
# FLOPs are not seconds. We time forward and backward on **your** machine as in lesson 01: processor
# time of one thread, the best of several tries. Nothing is asserted about times: they belong to
# the machine and its mood.

# %%
from time import process_time


def best_seconds(way: str, x: Tensor, routing: Routing, w: ExpertWeights, tries: int) -> float:
    """Give the least processor time of one forward and backward pass."""
    parameters = (w.w_gate, w.w_up, w.w_down)
    times = []
    for _ in range(tries + 1):
        start = process_time()
        torch.autograd.grad(WAYS[way](x, routing, w).sum(), parameters)
        times.append(process_time() - start)
    return min(times[1:])  # the first one was the warm-up


# %%
torch.set_num_threads(1)
tries = by_mode(full=5, fast=2)
seconds = {way: [] for way in WAYS}
for n_experts in MANY:
    given = problem(n_experts, seed=0)
    for way in WAYS:
        seconds[way].append(best_seconds(way, *given, tries))
print("experts  ", *(f"{n:7}" for n in MANY))
for way, taken in seconds.items():
    print(f"{way:9}", *(f"{1e3 * t:7.1f}" for t in taken), " ms")

# %%
means = {way: [sum(shares) / len(shares) for shares in work[way]] for way in WAYS}
show_figure(costs(MANY, means, seconds))

# %% [markdown]
# **What to see.** On the left, work above 1 is waste; the three flat lines lie on top of each
# other. On the right, the same problems on the clock: a way that wastes work may still be quick
# where the machine likes rectangles, and one that wastes nothing may be slow because it makes many
# small calls.
#
# ## Capacity: turning tokens away
#
# If the rectangle is too expensive, make it smaller. Give every expert room for
#
# $$C = \lceil c \cdot T K / E \rceil$$
#
# rows (Switch, arXiv 2101.03961, eq. 3; $c$ is the *capacity factor*), and turn away what does not
# fit. A choice that is turned away, or *dropped*, adds nothing to the output; the residual
# connection around the layer carries the token past. The classic queue is the flattened batch,
# first come first served. You have that rule already: a choice is kept if its place is below $C$.
#
# Whom does that hit? Guess before you look.

# %%
check("4.q4", ...)

# %% tags=["nbval-check-output"]
from moe_teach.ops.capacity import apply_capacity, capacity_of

router = layer.router
tokens = batch(seed=0).flatten(0, 1)
with torch.no_grad():
    full = router(tokens)
C = capacity_of(len(tokens), N_EXPERTS, TOP_K, capacity_factor=1.0)
kept = places(full.expert_ids, N_EXPERTS) < C
assert torch.equal(kept, apply_capacity(full, C, "first_come").kept)
print(f"{len(tokens)} tokens, C = {C}: kept {kept.sum()} of {kept.numel()} choices")

# %%
counts = torch.bincount(full.expert_ids.flatten(), minlength=N_EXPERTS)
show_figure(buffers(counts, C))

# %% [markdown]
# **What to see.** At factor 1.0 the block has exactly as many places as there are choices. Yet it
# drops *and* pads: a skewed router has too little room in one place and too much in another, and
# every dropped choice leaves one empty place elsewhere. A larger factor trades one loss for the
# other:

# %%
for factor in (1.0, 1.25, 1.5, 2.0):
    C = capacity_of(len(tokens), N_EXPERTS, TOP_K, factor)
    used = counts.clamp(max=C).sum().item()
    dropped, padded = 1 - used / counts.sum().item(), 1 - used / (N_EXPERTS * C)
    print(
        f"factor {factor:4}: {dropped:6.1%} of the choices dropped, {padded:6.1%} of places empty"
    )

# %% [markdown]
# ### Who is turned away?
#
# Now the whole point. The queue decides. Three policies are common: *first come*; *by gate*, the
# choices with the largest gates first (batch prioritised routing, arXiv 2106.05974); and *random*,
# by lot. We look up the drops of every text of the batch, over five seeds for data and router.

# %%
POLICIES = ("first_come", "by_gate", "random")
DRAWS = range(5)


def drops(policy: str, seed: int) -> tuple[Tensor, Routing]:
    """Give the share of its choices that each token lost (texts, positions), and the routing."""
    torch.manual_seed(seed)
    router = Router(D_MODEL, RouterConfig(n_experts=N_EXPERTS, top_k=TOP_K))
    with torch.no_grad():
        routing = router(batch(seed).flatten(0, 1))
    C = capacity_of(N_TEXTS * N_POSITIONS, N_EXPERTS, TOP_K, capacity_factor=1.0)
    random = torch.Generator().manual_seed(seed)
    routing = apply_capacity(routing, C, policy, random)
    return (~routing.kept).float().mean(dim=1).view(N_TEXTS, N_POSITIONS), routing


# %%
lost = {policy: [drops(policy, seed)[0] for seed in DRAWS] for policy in POLICIES}
by_text = {policy: torch.stack(maps).mean(dim=2) for policy, maps in lost.items()}
show_figure(signature(lost["first_come"][0], by_text))  # by_text: (seeds, texts) for each policy

# %% tags=["nbval-check-output"]
quarter = N_TEXTS // 4
for policy, shares in by_text.items():
    first, last = shares[:, :quarter].mean(dim=1), shares[:, -quarter:].mean(dim=1)
    shown = [f"{a:.0%} to {b:.0%}" for a, b in zip(first, last, strict=True)]
    print(f"{policy:10} first quarter to last quarter of the texts: {', '.join(shown)}")
    if policy == "first_come":
        assert (first == 0).all() and (last > 1.5 * shares.mean(dim=1)).all()
    else:
        assert ((first - last).abs() < 0.2 * shares.mean(dim=1)).all()
print("PASS on 5 seeds: first come spares the first texts; the others treat texts alike")

# %% [markdown]
# **What to see.** The map is not noise. The first texts lose nothing; then expert after expert is
# full, and whoever comes later finds the popular ones closed. Whoever shares a batch with you and
# stands before you takes your place. In a server that batches strangers, *their* texts change
# *your* answer. On the right, the other two policies treat all texts alike.
#
# ### Fair to texts, but not free
#
# Do they also drop fewer?

# %%
check("4.q3", ...)

# %% tags=["nbval-check-output"]
print(" " * 20, *(f"{policy:>11}" for policy in POLICIES))
for seed in SEEDS:
    routings = {policy: drops(policy, seed)[1] for policy in POLICIES}
    n_lost = [(~r.kept).sum().item() for r in routings.values()]
    gate_lost = [(r.gates * ~r.kept).sum().item() for r in routings.values()]
    print(f"seed {seed}  choices lost", *(f"{n:11}" for n in n_lost))
    print("        gate lost   ", *(f"{gate:11.1f}" for gate in gate_lost))
    assert len(set(n_lost)) == 1
    assert gate_lost[POLICIES.index("by_gate")] == min(gate_lost)

# %% [markdown]
# How *many* are dropped is settled by the counts: each expert serves as many as it has places for.
# A policy can only choose *which* ones. By gate loses the least gate, and that is a theorem: at
# each expert it keeps the largest ones. There is a price, and it is not in the table. Guess, then
# read on to the laws.
#
# ## Laws
#
# An MoE layer may be built in a hundred ways, and every right one obeys a few laws. The library
# tests them on *any* callable. Here is your sorted layer, made of the cells above.

# %%
from moe_teach.analysis.laws import obeys

experts = Experts(N_EXPERTS, D_MODEL, d_ff=64)
w = experts.weights


def my_layer(x: Tensor) -> tuple[Tensor, Routing]:
    """The sorted way, as a layer."""
    routing = router(x)
    return by_sorting(x, routing, w), routing


def one_expert(e: int, rows: Tensor) -> Tensor:
    """What expert e answers alone; one of the laws wants to know."""
    return expert(rows, w.w_gate[e], w.w_up[e], w.w_down[e])


# %%
obeys(my_layer, d_model=D_MODEL, expert=one_expert)

# %% [markdown]
# Four laws need more than your function told them. The library's own layer tells everything:

# %% tags=["nbval-check-output"]
dropless = MoE(router, experts)
for seed in SEEDS:
    assert obeys(my_layer, d_model=D_MODEL, expert=one_expert, seed=seed)
    report = obeys(dropless, d_model=D_MODEL, seed=seed)
    assert report and all(result.outcome == "holds" for result in report)
print("\n".join(f"PASS {result.name}: {result.sentence}" for result in report))

# %% [markdown]
# ### The control that must fail
#
# A test that nothing fails tests nothing. First a plain bug: the gates are forgotten on the way
# back. The output looks healthy, its shape is right, and training would even lower the loss.


# %% tags=["nbval-check-output"]
def forgets_the_gates(x: Tensor) -> tuple[Tensor, Routing]:
    """The sorted way with every gate replaced by a one."""
    routing = router(x)
    ones = torch.ones_like(routing.gates)
    plain = Routing(routing.logits, routing.probs, ones, routing.expert_ids)
    return by_sorting(x, plain, w), routing


caught = obeys(forgets_the_gates, d_model=D_MODEL, expert=one_expert).broken
print("broken:", ", ".join(result.name for result in caught))
assert {result.name for result in caught} >= {"kept once", "router learns"}

# %% [markdown]
# Now capacity. No line of it is a bug. Which laws must it break all the same, on every seed? Read
# through the list above and guess.

# %% tags=["nbval-check-output"]
for policy in POLICIES:
    limited = MoE(router, experts, capacity_factor=1.0, drop_policy=policy)
    for seed in SEEDS:
        torch.manual_seed(seed)  # for the lots that "random" draws
        broken = {law.name for law in obeys(limited, d_model=D_MODEL, seed=seed).broken}
        assert broken >= {"batch invariance", "prefix causality"}
    print(f"{policy:10} breaks {', '.join(sorted(broken))}")

# %%
print(obeys(limited, d_model=D_MODEL)["prefix causality"].seen)

# %% [markdown]
# *Batch invariance*: your output depends on the tokens beside you. *Prefix causality*: it depends
# on tokens that come **later**. Under *first come* only because a longer batch has more room; under
# *by gate* and *random* also because a later token can take the place of an earlier one. So that is
# the price: being fair to texts lets the future into the past. In training the future is there;
# when a model writes one token at a time, it is not, and training and use disagree. DeepSeek-V3
# (arXiv 2412.19437) drops no token at all.
#
# ## Play with it
#
# Thirty-two tokens of our batch, routed as they were. The router has a preference of its own, so
# some are dropped before you move anything. Change the capacity factor, the policy and the order,
# add to the skew, and follow single choices to their places. The three things to try come first.

# %%
from moe_teach.widgets.dispatch_explorer import DispatchExplorer

with torch.no_grad():
    routing = router(batch(seed=0).flatten(0, 1)[:32])
print("\n".join(f"{n}. {text}" for n, text in enumerate(DispatchExplorer.what_to_try, start=1)))
DispatchExplorer.of(routing)

# %% [markdown]
# ## A better cure
#
# Dropping treats the symptom, and so does padding. The disease is a router that likes some experts
# more than others. Chapter 05 first builds a model of these layers; chapter 06 then teaches its
# router to spread its choices.
#
# ## What could be wrong with this result?
#
# - **The router is not trained.** The skew comes from the common part of our tokens. A trained
#   router has its own skew and drops other shares; the planned chapter 11 repeats the map with
#   one.
# - **One seed of luck in the map.** It shows one batch. The lines below it show five.
# - **The first texts are spared only while experts still have room.** With a factor far below 1,
#   the queue would be full before the first text ended. Try it.
# - **FLOPs are not time, and our time is not yours.** One thread of a processor says little about
#   an accelerator, where many small calls hurt more and rectangles less.
# - **The grouped matmul is not quite free of waste.** On a GPU it works in tiles, and the last tile
#   of every expert is partly empty. Chapter 10 counts those.
# - **Real systems drop inside groups.** GShard gives each group of tokens a capacity of its own, so
#   "the end of the queue" is the end of your group, or the last device.
#
# ## Now you
#
# In the [exercises of this chapter](../exercises/04_dispatch.ipynb) you write an expert that keeps
# nothing in memory, the sort with dropped choices, the way back, the capacity under three policies,
# the drop report that would have found the problem of the first page, and the bill of the padding.
# Then your own parts become a layer, which goes into a language model in chapter 05. At the end
# you find what is wrong with a layer that passes its demo, and choose without seeing the future.
