# %% [markdown]
# # 03 The router
#
# **Claim: a router is one matrix and a rule for reading it. All rules below look alike, and some of
# them leave the router without a teacher, silently.**
#
# You will swap two words of a configuration and watch a router stop learning. Then you take the
# rule apart: what is chosen, what is mixed, and where the gradient goes. Numbers of real models
# appear with their source; every other number is printed by a cell of this page.
#
# Two things of notation: `by_mode(full=..., fast=...)` gives the first number, or the second where
# `MOE_TEACH_FAST=1` shortens the course. Letters behind a tensor are its shape: T tokens, D
# features of a token, E experts, K experts chosen for a token.

# %%
import math
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor

from moe_teach.chapters.ch03_router.figures import (
    audit_and_entropy,
    training_by_rule,
    walk_across_a_tie,
)
from moe_teach.config import RouterConfig
from moe_teach.course import by_mode, check
from moe_teach.nn.router import Router
from moe_teach.ops.route import score, top_experts, topk_gates
from moe_teach.plots.style import show_figure
from moe_teach.types import Routing

# %% [markdown]
# ## Two words
#
# Here are tokens of four kinds. Each kind wants a linear map of its own, so one expert per kind
# would do. Nobody tells the layer the kinds: the router has to find them.


# %%
def four_kinds(seed: int, n_tokens: int) -> tuple[Tensor, Tensor]:
    """Tokens x (T, 8) and targets (T, 2); the signs of two features decide the kind."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n_tokens, 8, generator=random)
    kind = 2 * (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    maps = torch.randn(4, 8, 2, generator=random) / math.sqrt(8)
    return x, torch.einsum("td,tdf->tf", x, maps[kind])


# %% [markdown]
# The layer is as small as a layer can be. Each expert is one matrix, and the output is the sum of
# the chosen experts' outputs, each times its gate: $y = \sum_{i \in \text{chosen}} g_i\, E_i(x)$
# (Shazeer et al. 2017, arXiv 1701.06538, eq. 1).


# %%
def layer(routing: Routing, x: Tensor, experts: Tensor) -> Tensor:
    """Mix the chosen experts: x (T, D), experts (E, D, F) -> (T, F)."""
    outputs = torch.einsum("td,edf->tef", x, experts)  # everyone computes; fine for a toy
    rows = torch.arange(len(x))[:, None]
    return (routing.gates[..., None] * outputs[rows, routing.expert_ids]).sum(dim=1)


# %%
def train(config: RouterConfig, seed: int, n_steps: int, make=torch.optim.Adam, lr=0.02) -> dict:
    """Train router and experts together; say how well it ends and what the router did."""
    torch.manual_seed(seed)
    x, target = four_kinds(seed, n_tokens=512)
    router = Router(8, config)
    experts = torch.nn.Parameter(0.1 * torch.randn(4, 8, 2))
    before = router.proj.weight.detach().clone()
    optimiser = make([router.proj.weight, experts], lr=lr)
    for _ in range(n_steps):
        loss = (layer(router(x), x, experts) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    change = (router.proj.weight.detach() - before).norm() / before.norm()
    return {"loss": loss.item() / target.var().item(), "moved": change.item()}


# %% [markdown]
# Two routers with one expert per token. They choose the **same** expert for every token. The first
# takes the softmax and then the best expert, the second takes the best expert and then the softmax.
# Loss 1.0 means "no better than a constant guess".

# %%
n_steps = by_mode(full=300, fast=60)
softmax_first = RouterConfig(n_experts=4, top_k=1, normalize_gates=False)
top_first = RouterConfig(n_experts=4, top_k=1, topk_first=True)

for name, config in (("softmax, then top-1", softmax_first), ("top-1, then softmax", top_first)):
    run = train(config, seed=0, n_steps=n_steps)
    print(f"{name}: loss {run['loss']:.2f}, the router moved by {run['moved']:.0%} of its size")

# %% [markdown]
# The second router has not moved. Not a little: not at all. No error, no warning, a falling loss
# (the experts still learn), and a router that keeps its random first opinion for ever.
#
# ## Predict
#
# Which rule starves the router, and is there more than one? Decide before you go on. You will see
# the answer measured in a moment, and may answer again. The next cell asks; put your letter where
# the dots are.

# %%
check("3.q1", ...)

# %% [markdown]
# ## The rule by hand
#
# Three tokens, four experts. The router's matrix has one row per expert; a logit is the product of
# a token with that row.

# %%
torch.manual_seed(1)
x = torch.randn(3, 8)
w_router = torch.randn(4, 8) / math.sqrt(8)
logits = x @ w_router.T  # (T, E)
probs = logits.softmax(dim=-1)
print(probs.numpy().round(3))

# %% [markdown]
# Choose two experts per token. `gates` are their weights in the mixture, `expert_ids` their names.

# %%
raw_gates, expert_ids = probs.topk(2, dim=-1)
gates = raw_gates / raw_gates.sum(dim=-1, keepdim=True)
print("chosen      ", expert_ids.tolist())
print("raw         ", raw_gates.numpy().round(3).tolist())
print("renormalised", gates.numpy().round(3).tolist())

# %% [markdown]
# The library does the same. With the same matrix, it must give the same record.

# %%
router = Router(8, RouterConfig(n_experts=4, top_k=2))
with torch.no_grad():
    router.proj.weight.copy_(w_router)
routing = router(x)

# %% tags=["nbval-check-output"]
assert routing.expert_ids.tolist() == expert_ids.tolist()
torch.testing.assert_close(routing.gates, gates)
print("PASS: by hand and by library, the same experts and the same gates")

# %% [markdown]
# What you saw is the whole router, but for two more choices. In the order in which things happen:
#
# | | the rule | more below |
# | --- | --- | --- |
# | `logits` | one product for each token and expert | *Float32 for the scores* |
# | `probs` | a softmax over all experts, or a sigmoid of each | *Sigmoid: no competition* |
# | ranking | `probs`, plus a bias for each expert where there is one | *A bias that chooses* |
# | `expert_ids` | the k largest of the ranking | *Ties* |
# | `gates` | `probs` of the chosen, divided by their sum if so told | *The gradient audit* |
#
# The ranking decides **who** is chosen, `probs` decide **how much** each counts. In a
# configuration `normalize_gates` says whether gates are divided by their sum; with `topk_first`
# the gates are a softmax over the chosen logits alone. The first four names are what a `Routing`
# record holds:

# %%
print({name: tuple(getattr(routing, name).shape) for name in
       ("logits", "probs", "gates", "expert_ids")})  # fmt: skip

# %% [markdown]
# ## Softmax before or after top-k
#
# A softmax keeps the order of the logits, so both orders choose the same experts. Renormalised
# gates are then the same numbers too, because the softmax's denominator cancels:
#
# $$\frac{p_i}{\sum_{j \in S} p_j} = \frac{e^{l_i}}{\sum_{j \in S} e^{l_j}}
# \qquad S = \text{the chosen experts}$$


# %%
def both_orders(seed: int, top_k: int) -> tuple[bool, float, float]:
    """Same choice? Largest gate difference with and without renormalising."""
    logits = torch.randn(1000, 8, generator=torch.Generator().manual_seed(seed))
    chosen, after_ids = logits.topk(top_k, dim=-1)
    after = chosen.softmax(dim=-1)
    raw, before_ids = logits.softmax(dim=-1).topk(top_k, dim=-1)
    renormalised = raw / raw.sum(dim=-1, keepdim=True)
    gaps = [(after - gates).abs().max().item() for gates in (renormalised, raw)]
    return torch.equal(before_ids, after_ids), *gaps


# %%
for top_k in (1, 2, 4, 8):
    results = [both_orders(seed, top_k) for seed in range(3)]
    same, renormalised, raw = zip(*results, strict=True)
    print(f"k={top_k}: same experts {all(same)}; largest gap renormalised {max(renormalised):.0e},",
          f"raw {max(raw):.2f}")  # fmt: skip
    assert all(same) and max(renormalised) < 1e-6

# %% [markdown]
# So there are two cases, not three. *Softmax after top-k* **is** *softmax before, renormalised*.
# Mixtral is usually described by the first and coded as the second, and both are right. Raw gates
# are another rule: Switch (arXiv 2101.03961, eq. 2) uses them with k = 1. Only k = E makes all the
# same.
#
# One thing does depend on the order. A balancing loss needs the mean probability of **every**
# expert. A router that computes the softmax of the chosen logits only has no such numbers, so our
# `Routing` keeps `probs` for all experts in every case.
#
# ## Sigmoid: no competition
#
# With a softmax, an expert can only rise if others fall. With a sigmoid each expert is scored
# alone. Raise one logit by 2 and watch the other three.

# %%
one_token = torch.tensor([[1.0, 0.5, 0.0, -0.5]])
raised = one_token + torch.tensor([0.0, 0.0, 2.0, 0.0])
for score_fn in ("softmax", "sigmoid"):
    before, after = score(one_token, score_fn), score(raised, score_fn)
    print(f"{score_fn}: {before.numpy().round(2)} -> {after.numpy().round(2)}")

# %% [markdown]
# The sigmoids of the chosen experts sum to anything between 0 and k. DeepSeek-V3 (arXiv 2412.19437,
# section 2.1.2) therefore divides them by their sum, and then multiplies by a constant, our
# `gate_scale`; its published configuration says 2.5 with k = 8. What does such a factor do? Mix k
# independent expert outputs of size 1 and measure the size of the mixture.


# %%
def mixture_size(top_k: int, normalize: bool, seed: int) -> float:
    """Root mean square of the mixed output, when every expert's output has size 1."""
    random = torch.Generator().manual_seed(seed)
    probs = score(torch.randn(500, 64, generator=random), "sigmoid")
    gates, _ = topk_gates(probs, top_k, normalize=normalize)
    outputs = torch.randn(500, top_k, 16, generator=random)
    return (gates[..., None] * outputs).sum(dim=1).square().mean().sqrt().item()


# %%
for top_k in (1, 2, 8):
    raw, normal = (median(mixture_size(top_k, n, s) for s in range(3)) for n in (False, True))
    print(f"k={top_k}: raw {raw:.2f}, normalised {normal:.2f}, times 2.5 {2.5 * normal:.2f}")

# %% [markdown]
# Gates that sum to one average the experts, and an average of independent outputs shrinks like
# $1/\sqrt{k}$. At k = 8 a factor of 2.5 brings the routed experts back to about the size of one
# expert. That is what it does here; the paper does not give this as its reason.
#
# ## The gradient audit
#
# Now the question of the beginning, for every rule. Take the gradient of a task loss with respect
# to the router's matrix, and write down its norm.


# %%
def router_gradient(router: Router, seed: int) -> float:
    """Norm of the task's gradient on the router's matrix; random experts, random targets."""
    random = torch.Generator().manual_seed(seed)
    x, target = torch.randn(2, 256, 16, generator=random)
    experts = torch.randn(8, 16, 16, generator=random) / 4
    loss = (layer(router(x), x, experts) - target).square().mean()
    if not loss.requires_grad:
        return 0.0
    (gradient,) = torch.autograd.grad(loss, router.proj.weight)
    return gradient.norm().item()


# %%
RULES = {
    "softmax, raw": {"normalize_gates": False},
    "softmax, renormalised": {"normalize_gates": True},
    "top-k, then softmax": {"topk_first": True},
    "sigmoid, raw": {"score_fn": "sigmoid", "normalize_gates": False},
    "sigmoid, renormalised": {"score_fn": "sigmoid", "normalize_gates": True},
}
KS = (1, 2, 4, 8)


# %%
def audit(rule: dict, top_k: int, seed: int, router_class: type[Router] = Router) -> float:
    """Audit one fresh router of width 16 with 8 experts."""
    torch.manual_seed(seed)
    router = router_class(16, RouterConfig(n_experts=8, top_k=top_k, **rule))
    return router_gradient(router, seed)


n_seeds = by_mode(full=7, fast=3)
norms = {
    name: [median(audit(rule, k, seed) for seed in range(n_seeds)) for k in KS]
    for name, rule in RULES.items()
}

# %% [markdown]
# For the right half of the figure we need one more idea. **Temperature** divides the logits before
# the softmax. Low temperature: one gate takes all. High temperature: all gates are equal. The
# entropy $-\sum_i g_i \ln g_i$ says where between the two we are; divided by its maximum $\ln k$ it
# runs from 0 to 1.


# %%
def relative_entropy(gates: Tensor) -> float:
    """Mean entropy of rows that sum to one, as a share of the largest possible."""
    entropy = torch.special.entr(gates).sum(dim=-1)  # entr(0) is 0, as it should be
    return (entropy.mean() / math.log(gates.shape[-1])).item()


temperatures = [10 ** (step / 6 - 1.5) for step in range(19)]  # about 0.03 to 30
logits = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
entropies = {
    f"k = {k}" + (" (all)" if k == 8 else ""): [
        relative_entropy((logits / t).topk(k, dim=-1).values.softmax(dim=-1)) for t in temperatures
    ]
    for k in (2, 4, 8)
}

# %%
show_figure(audit_and_entropy(norms, KS, temperatures, entropies))

# %% tags=["nbval-check-output"]
dead = {name for name, row in norms.items() if row[0] < 1e-6 * max(row)}
assert dead == {"softmax, renormalised", "top-k, then softmax", "sigmoid, renormalised"}
assert norms["top-k, then softmax"][0] == 0.0, "exactly zero, not merely small"
assert all(min(row[1:]) > 1e-4 for row in norms.values()), "from k = 2 on, everyone is taught"
for curve in entropies.values():
    assert curve == sorted(curve) and curve[0] < 0.35 and curve[-1] > 0.98
print("PASS: at k = 1 three of five rules are dead; entropy only rises with temperature")

# %% [markdown]
# **What to see.** One gate that has to sum to one *is* the number 1. It does not depend on the
# logits, so its gradient is zero. Renormalising costs nothing for k ≥ 2: two gates can still trade
# weight. And in the last column, k = 8 = E, the three softmax rules agree to the last digit shown,
# because they are then the same function.
#
# Switch keeps k = 1 alive with the first row: the gate stays a probability. That has a price, too.
# At the start every probability is near 1/E, so the layer whispers:

# %%
torch.manual_seed(0)
switch = Router(16, RouterConfig(n_experts=8, top_k=1, normalize_gates=False))
gates = switch(torch.randn(500, 16)).gates
print(f"mean gate of a new top-1 router over 8 experts: {gates.mean():.2f}")

# %% [markdown]
# ### Zero and almost zero
#
# Two cells say *rounding*, not *exactly*. In exact arithmetic g/g has no gradient; in float32 its
# two halves cancel to the last digit or to the one before. A gradient of 1e-9 is nothing for plain
# gradient descent. But Adam divides every gradient by its own size. It makes steps out of dust. How
# far they lead is dust, too, another on every machine, so the cell says it in words:

# %% tags=["nbval-check-output"]
renormalised = RouterConfig(n_experts=4, top_k=1)
for name, make, lr in (("SGD", torch.optim.SGD, 0.3), ("Adam", torch.optim.Adam, 0.02)):
    moved = [train(renormalised, seed, n_steps, make, lr)["moved"] for seed in range(3)]
    words = ["at rounding level" if share < 1e-5 else "by more than 1%" for share in moved]
    assert all(share < 1e-5 or share > 0.01 for share in moved)
    print(f"{name:4}: the dead router moved", ", ".join(words))

# %% [markdown]
# So "the weights change" is no proof that a router learns. With Adam this one wanders on rounding
# errors. Is it at least harmless, and does a dead router matter at all? Train all rules over five
# seeds.

# %%
LABELS = ("softmax\nraw", "softmax\nrenormalised", "top-k, then\nsoftmax", "sigmoid\nraw")
seeds = range(by_mode(full=5, fast=3))
losses = {
    label: [train(RouterConfig(n_experts=4, top_k=1, **rule), s, n_steps)["loss"] for s in seeds]
    for label, rule in zip(LABELS, RULES.values(), strict=False)
}
show_figure(training_by_rule(losses))

# %% tags=["nbval-check-output"]
alive = [*losses["softmax\nraw"], *losses["sigmoid\nraw"]]
starved = [*losses["softmax\nrenormalised"], *losses["top-k, then\nsoftmax"]]
assert max(alive) < min(starved)
print("PASS: every living top-1 router ends below every dead one, for every seed")

# %% [markdown]
# On this task it matters: the kinds hang on two of eight features, and a random router does not
# know which. Do not expect the same gap everywhere. Where any fixed split of the tokens is good
# enough, a router that never learns can keep up, and you would not notice that yours is one.
#
# It happens to real projects. In 2026 somebody trained minimind's mixture of 198 million parameters
# and its dense model of 64 million on the same text, and the dense one was better. The default was
# k = 1 with renormalised gates: the only thing that ever taught that router was its balancing loss
# (jingyaogong/minimind, issue 858; mended in 859).
#
# ## Control: an audit that cannot fail is worth nothing
#
# Here is a router with a real bug: somebody detached the gates, perhaps to log them. The audit has
# to call it dead for **every** k.


# %%
class LoggedRouter(Router):
    """A router whose author cut the graph by accident."""

    def forward(self, x: Tensor, token_ids: Tensor | None = None) -> Routing:
        routing = super().forward(x, token_ids)
        return replace(routing, gates=routing.gates.detach())


# %% tags=["nbval-check-output"]
cut = [audit(RULES["softmax, raw"], k, seed=0, router_class=LoggedRouter) for k in KS]
print("gradients of the cut router:", cut)
assert cut == [0.0] * len(KS), "the audit missed a dead router"

# %% [markdown]
# ## Noise, in training only
#
# A new router prefers some experts by accident, and the others are never tried. Noise lets the
# runner-up win now and then. Two recipes. **Noisy top-k** has a second matrix beside the router's,
# and adds normal noise of the size that this matrix asks for to the logits (Shazeer et al. 2017,
# eq. 4). **Jitter** multiplies the input by uniform noise near 1 (Switch uses ±1 %). You write the
# first in exercise 3.2.


# %%
def share_changed(a: Tensor, b: Tensor) -> float:
    """Share of tokens whose *set* of experts differs; the order within a row does not count."""
    return (a.sort(dim=-1).values != b.sort(dim=-1).values).any(dim=-1).float().mean().item()


# %%
recipes = {"noisy": {"noisy": True}, "jitter 0.01": {"jitter": 0.01}}
for name, recipe in recipes.items():
    for mode in ("train", "eval"):
        changes = []
        for seed in range(3):
            torch.manual_seed(seed)
            router = Router(32, RouterConfig(n_experts=8, top_k=2, **recipe))
            router.train(mode == "train")
            x = torch.randn(2000, 32)
            changes.append(share_changed(router(x).expert_ids, router(x).expert_ids))
        shares = ", ".join(f"{share:.1%}" for share in changes)
        print(f"{name}, {mode}: the same tokens, routed twice, differ for {shares}")
        assert (max(changes) == 0) == (mode == "eval")

# %% [markdown]
# That is a second control. Forget `model.eval()`, and two evaluations of one model disagree with
# each other. With the learned noise of a new router, whose logits are still small, the choice is
# nearly a lottery: the noise starts with standard deviation softplus(0) ≈ 0.69.
#
# ## Ties
#
# Four experts, all equal. Who is chosen?

# %%
equal = torch.zeros(1, 16)
print("torch.topk:", equal.topk(2).indices.tolist()[0], "(may differ on your machine)")

# %% tags=["nbval-check-output"]
print("ours:", top_experts(equal, 2).tolist()[0])
assert top_experts(equal, 2).tolist() == [[0, 1]]

# %% [markdown]
# `torch.topk` promises nothing about ties, so two machines may send a token to different experts.
# The library sorts with `stable=True`: the lower number wins, everywhere.
#
# Exact ties are rare with real numbers. **Near** ties are not. Let one token walk in a straight
# line and watch one coordinate of the output, together with the **margin**: how far the last chosen
# logit is ahead of the first one left out.


# %%
def walk(top_k: int, n_steps: int = 400) -> tuple[Tensor, Tensor, Tensor]:
    """Positions, one output coordinate, and the margin along a walk from one token to another."""
    torch.manual_seed(4)
    router = Router(16, RouterConfig(n_experts=8, top_k=top_k))
    experts = torch.randn(8, 16, 16) / 4
    start, end = torch.randn(2, 16)
    positions = torch.linspace(0, 1, n_steps)
    x = start + positions[:, None] * (end - start)
    routing = router(x)
    best = routing.logits.sort(dim=-1, descending=True).values
    margin = best[:, top_k - 1] - best[:, top_k] if top_k < 8 else torch.full_like(positions, 1)
    return positions, layer(routing, x, experts)[:, 0].detach(), margin.detach()


# %%
positions, sparse, margins = walk(top_k=2)
_, dense, _ = walk(top_k=8)
show_figure(
    walk_across_a_tie(
        positions.numpy(), {"top 2 of 8": sparse.numpy(), "all 8": dense.numpy()}, margins.numpy()
    )
)

# %% [markdown]
# The output jumps where the margin is zero. A test that says "outputs must be close when inputs are
# close" cannot hold for this layer, however correct it is. Real projects have met this: rasbt's
# LLMs-from-scratch skips an MoE cache test on one platform, because its expert routing is not
# deterministic there.
#
# The cure is to look at the margin. When no logit moves by more than δ, a choice can only change if
# its margin is at most 2δ. Push the tokens a little and see:


# %%
def push(size: float, seed: int) -> tuple[float, bool]:
    """Share of tokens that change experts, and whether all of them had a margin below 2 delta."""
    torch.manual_seed(seed)
    router = Router(32, RouterConfig(n_experts=16, top_k=2)).eval()
    x = torch.randn(by_mode(full=50_000, fast=20_000), 32)
    with torch.no_grad():
        before, after = router(x), router(x + size * torch.randn_like(x))
    delta = (before.logits - after.logits).abs().amax(dim=-1)
    best = before.logits.sort(dim=-1, descending=True).values
    ids = [routing.expert_ids.sort(dim=-1).values for routing in (before, after)]
    changed = (ids[0] != ids[1]).any(dim=-1)
    unsure = best[:, 1] - best[:, 2] <= 2 * delta
    return changed.float().mean().item(), bool(unsure[changed].all())


# %%
for size in (1e-1, 1e-2, 1e-3, 1e-4):
    results = [push(size, seed) for seed in range(3)]
    shares = ", ".join(f"{share:.3%}" for share, _ in results)
    print(f"inputs pushed by {size:g}: {shares} of the tokens change experts")
    assert all(explained for _, explained in results), "a choice changed that had a margin"

# %% [markdown]
# Ten times less push, ten times fewer changes, and never a token that had a margin. So a good test
# of an MoE layer compares `expert_ids` first, as integers, sets tokens without a margin aside, and
# compares floats for the rest. You write that margin report in exercise 3.5.
#
# ## Float32 for the scores
#
# The next push comes from us: bfloat16 keeps 8 significant bits. Routers in published models
# compute in float32 even where everything else is bfloat16 (Switch, section 2.4). Is that
# superstition? Feed the same bfloat16 inputs and weights to a router computed three ways, and
# compare with float64.


# %%
def swaps(n_experts: int, top_k: int, seed: int) -> list[float]:
    """Share of tokens with other experts than in float64: float32, bf16 logits, bf16 softmax."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(by_mode(full=8192, fast=4096), 256, generator=random).bfloat16()
    w = (torch.randn(n_experts, 256, generator=random) / 16).bfloat16()
    exact = top_experts(x.double() @ w.double().T, top_k)
    rough = x @ w.T
    versions = (x.float() @ w.float().T, rough.float(), rough.softmax(dim=-1).float())
    return [share_changed(exact, top_experts(version, top_k)) for version in versions]


# %%
swapped = {}
for n_experts, top_k in ((8, 2), (64, 8), (256, 8)):
    per_seed = [swaps(n_experts, top_k, seed) for seed in range(3)]
    swapped[n_experts] = precise, rough, rougher = [median(v) for v in zip(*per_seed, strict=True)]
    print(f"{n_experts:3} experts, k={top_k}: float32 {precise:.3%}, bf16 logits {rough:.2%},",
          f"bf16 softmax {rougher:.2%} of the tokens change experts")  # fmt: skip
    assert precise < rough / 20

# %% [markdown]
# More experts stand closer together, so rounding swaps more of them. And a model has many layers.
# DeepSeek-V3 has 58 with experts (61 layers, the first 3 dense). If layers were independent, which
# they are not, how many tokens would keep all their experts?

# %%
kept = (1 - swapped[256][1]) ** 58
print(f"256 experts, bf16 logits, 58 layers: {kept:.0%} of the tokens would keep every expert")

# %% [markdown]
# Most swapped experts were nearly equal in score, so quality may hardly suffer. Repeatability does:
# training, evaluation and serving no longer agree on who answered.
#
# ## A bias that chooses and never weighs
#
# To steer the load without a loss, DeepSeek-V3 adds a bias to each score **for the choice only**
# (Wang et al. 2024, arXiv 2408.15664). Chapter 06 uses it; here we check its promise.

# %%
torch.manual_seed(0)
router = Router(32, RouterConfig(n_experts=8, top_k=2, score_fn="sigmoid", normalize_gates=False))
x = torch.randn(1000, 32)
before = router(x)
router.expert_bias.copy_(0.1 * torch.randn(8))
after = router(x)

# %%
changed = (before.expert_ids.sort(-1).values != after.expert_ids.sort(-1).values).any(dim=-1)
print(f"the bias gave other experts to {changed.float().mean():.0%} of the tokens")
own_scores = after.probs.gather(-1, after.expert_ids)
assert torch.equal(after.gates, own_scores), "a gate must be the expert's own unbiased score"

# %% [markdown]
# Every gate is still exactly the expert's own score. Now the classic bug: read the gates from the
# tensor that was used for the choice. It has been fixed in vLLM (12002) and in transformers
# (41647). How far would the gates be off, normalised as in DeepSeek-V3?

# %%
leaky = (after.probs + router.expert_bias).gather(-1, after.expert_ids)
leaky, clean = (gates / gates.sum(dim=-1, keepdim=True) for gates in (leaky, own_scores))
print(f"gates are off by {(leaky - clean).abs().mean():.3f} on average, in the units of a gate")

# %% [markdown]
# A property test that catches it without knowing the formula: adding the **same** number to all
# biases changes nobody's rank, so nothing at all may change.

# %%
router.expert_bias += 0.25
shifted = router(x)

# %% tags=["nbval-check-output"]
assert torch.equal(shifted.expert_ids, after.expert_ids)
assert torch.equal(shifted.gates, after.gates)
print("PASS: a constant shift of the bias changes nothing")

# %% [markdown]
# ## Play
#
# Token and experts are vectors in the plane. Drag them. Each region is one set of chosen experts;
# the bars show who is chosen by what, and who is mixed with what.

# %%
from moe_teach.widgets.router_playground import RouterPlayground

RouterPlayground()

# %% [markdown]
# Three things to try:
#
# 1. Raise the bias of an expert that is left out until it is chosen. Where does its gate come from?
# 2. Set k to 1 and walk through the five gate rules. Find the ones whose slope is 0.
# 3. Carry the token to a border until the margin is below 0.01. Switch training and a little noise
#    on, and draw again.

# %%
check("3.q4", ...)

# %% [markdown]
# ## What could be wrong with these results
#
# - The audit uses random experts and random targets. It shows where a gradient *can* flow, not that
#   it points anywhere useful.
# - Norms of different rows are not comparable as "more learning": a sigmoid's gates are larger, and
#   so are its outputs. Only zero against non-zero is the claim.
# - The task of the training figure was made so that the router matters. Another task, another gap.
# - The tokens and logits here are Gaussian. Real logits cluster, and their margins differ; measure
#   `share_changed` on your own model before you quote our percentages.
# - Independent layers in the estimate of 58 layers: wrong in detail, right in direction.
#
# ## Check yourself
#
# Two more. The first wants a number, the second a letter.

# %%
check("3.q2", ...)

# %%
check("3.q3", ...)

# %% [markdown]
# ## What you take with you
#
# - Choosing and weighing are two decisions. Bias and noise act on the first; keep them out of the
#   second, or know why not.
# - Renormalise for k ≥ 2 if you like. At k = 1 a gate that sums to one teaches the router nothing.
# - A gradient audit costs one backward pass. Run it before you train, and make sure it can fail.
# - Score in float32, break ties by rule, and compare ids before floats.
#
# In the exercises you write three routing rules, the audit, the margin report and a judge of single
# choices. Then you hunt a published mistake, and press a router into three bits.
