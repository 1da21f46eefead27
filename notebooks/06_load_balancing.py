# %% [markdown]
# # 06 Load balancing
#
# **Claim: a router to which all tokens look alike gives most of its experts nothing to do. Three
# cures spread the work, and a fourth that is often named with them does not. Spread work is used
# capacity; whether that is a better model depends on the task and on the length of training.**
#
# You will watch a router collapse within seconds, find out why, and cure it. Then you price the
# cures, and repeat everything in a small language model, where the bill looks different. Every
# number here is printed by a cell or comes with its source.

# %%
import math
from dataclasses import replace
from statistics import median

import numpy as np
import torch
from torch import Tensor

from moe_teach.analysis.laws import LAWS, obeys
from moe_teach.chapters.ch06_load_balancing import experiments as chapter
from moe_teach.chapters.ch06_load_balancing import figures as plots
from moe_teach.chapters.ch06_load_balancing.experiments import METHODS, tokens_of_kinds, train_kinds
from moe_teach.config import MoEConfig, RouterConfig
from moe_teach.course import by_mode, check, show
from moe_teach.course.experiments import stored
from moe_teach.nn.moe import MoE
from moe_teach.nn.router import Router
from moe_teach.ops.balance import load_entropy, max_violation, update_expert_bias
from moe_teach.ops.losses import load_balance_loss, router_z_loss
from moe_teach.plots.horizons import over_lengths
from moe_teach.plots.style import show_figure
from moe_teach.train.differences import paired
from moe_teach.train.horizons import at_best, best_rates, read_at
from moe_teach.types import Routing

# %% [markdown]
# ## Eight experts, and most of them asleep
#
# Here are tokens of eight kinds. Each kind hides a yes or no in its features, and each kind hides
# it in a way of its own. Eight small experts wait for them, one router chooses one expert per
# token, and nobody tells it the kinds. Train for a few seconds. Then ask who was given the test
# tokens.

# %%
seed = 0  # yours to change
n_steps = by_mode(full=500, fast=200)
alone = train_kinds(replace(METHODS["no balancing"], steps=n_steps), seed)
share = alone.test_counts / alone.test_counts.sum()
print("share of the test tokens, in per cent:", (100 * share).round().int().tolist())
print(f"{alone.alive} of 8 experts in use; {alone.accuracy:.0%} right, where guessing gives 50%")

# %% [markdown]
# The experts are there, they take memory, and most of them are never asked. This is **expert
# collapse**. Nothing crashed, and the loss went down all the time.
#
# ## Predict
#
# The usual cure is a second loss that makes busy experts dear. Suppose it works with a coefficient
# of 0.1. What would a hundred times as much do? Put your letter where the dots are; you may answer
# again later.

# %%
check("6.q1", ...)

# %% [markdown]
# ## Why it happens
#
# Look at how the tokens are made. They have a large part in common. We put it there; whether a
# language model has such a part is a question for later, and you will measure it.

# %%
show(tokens_of_kinds)


# %%
def first_impression(shared: float, seed: int) -> tuple[float, float]:
    """Median cosine between two tokens, and the busiest expert's share with a new router."""
    torch.manual_seed(seed)
    x = tokens_of_kinds(seed, 1000, shared).x
    unit = x / x.norm(dim=-1, keepdim=True)
    counts = Router(16, RouterConfig(n_experts=8, top_k=1))(x).expert_ids.flatten().bincount()
    return (unit[:500] * unit[500:]).sum(dim=-1).quantile(0.5).item(), counts.max().item() / len(x)


# %%
for shared in (4.0, 0.0):
    cosines, shares = zip(*(first_impression(shared, s) for s in range(5)), strict=True)
    print(f"shared part {shared:g}: cosine of two tokens {median(cosines):.2f}; a new router sends",
          ", ".join(f"{share:.0%}" for share in shares), "to one expert")  # fmt: skip

# %% [markdown]
# To a new router all tokens are nearly the same token, so nearly all get the same expert. That is
# no collapse yet. The story told most often goes on with a loop: only the chosen expert learns, so
# it becomes the better one, so its gate is pushed up, so it is chosen again. **The rich get
# richer.** If so, the first leader should stay the leader. Watch who is busiest in your run:

# %%
loads = alone.counts / alone.counts.sum(dim=-1, keepdim=True)
for step in (0, 5, 10, 20, 50, n_steps - 1):
    top = int(loads[step].argmax())
    print(f"step {step:3}: expert {top} is the busiest, with {loads[step, top]:.0%} of the batch")

# %% [markdown]
# The leader changes. So which is it: the shared part, or the loop? Take the shared part away,
# change nothing else, balance nothing:

# %%
centred = train_kinds(chapter.Setting(shared=0.0, steps=n_steps), seed)
print(f"nothing in common: {centred.alive} of 8 experts in use, {centred.accuracy:.0%} right")
KINDS = stored("06_kinds")
print("stored seeds, experts in use: with a shared part", KINDS.column("no balancing", "alive"),
      "and without", KINDS.column("nothing in common", "alive"))  # fmt: skip

# %% tags=["nbval-check-output"]
assert max(KINDS.column("no balancing", "alive")) <= 4
assert min(KINDS.column("nothing in common", "alive")) >= 6
assert centred.alive > alone.alive
print("PASS: the router collapses in all five stored seeds, and in none without the shared part")

# %% [markdown]
# ### One thing at a time
#
# Without the shared part everything is another task, for router and experts alike. A cause is shown
# by taking away **it alone**. Stored runs do that, one thing each:
#
# - *all experts learn* from all tokens, each as if it had been chosen; the router's gradient is as
#   ever. Nobody gets richer.
# - *told how good each expert is*: the router's gradient compares the errors of all experts, and no
#   longer knows the chosen one's alone.
# - *router sees it centred*, or *experts see it centred*: the mean of the training tokens is taken
#   off in front of the router only, or of the experts only.
#
# Which of the four will save the experts? Decide, then run the cell. The runs last up to ten times
# as long as yours, five seeds, five learning rates; for each row and length the rate that was best
# on two other seeds.

# %%
causes = read_at(stored("06_causes"))
cause_rates = best_rates(causes, "accuracy", lowest=False, seeds=chapter.SEARCH_SEEDS)
in_use = {
    name: at_best(causes, name, "alive", cause_rates, chapter.SEEDS) for name in chapter.CAUSES
}
print(f"{'experts in use, five seeds':29} 500 steps       1,500 steps     5,000 steps")
for name, by_length in in_use.items():
    print(f"{name:29}", *(str(seeds) for seeds in by_length))

# %%
SHOWN = ("as it is", "all experts learn", "told how good each expert is", "experts see it centred")
SHOWN += ("router sees it centred",)
show_figure(
    over_lengths(chapter.LENGTHS, {"experts in use, of 8": {n: in_use[n] for n in SHOWN}}),
    alt="Experts in use after 500, 1,500 and 5,000 steps. Only with a centred router are seven or "
    "eight in use, at every length. As it is, with all experts learning, with a router that is "
    "told all errors and with centred experts it is one to five.",
)

# %% tags=["nbval-check-output"]
for name in SHOWN[:-1]:
    assert max(in_use[name][0]) <= 4 and max(in_use[name][-1]) <= 5, name
assert min(min(seeds) for seeds in in_use["router sees it centred"]) >= 7
print("PASS: only the router's own view decides: centred, it uses 7 or 8 experts at every length")

# %% [markdown]
# **What to see.** The loop is not needed: with all experts learning from everything the router
# collapses just the same. Nor is it that the router hears of one expert only. What has to go is the
# shared part **in what the router sees**; leave it to the experts, and nothing collapses. A router
# is a linear map. If all tokens have a large part in common, each of its steps moves the logits of
# all tokens together, whatever the step was for.
#
# Two rows that the figure leaves out: with frozen experts it collapses less, and a router at a
# tenth of the rate collapses as well. And look along the first row: left alone, a few experts come
# back with time.
#
# Keep that in mind: the cures below fight the symptom. They do not ask why the tokens look alike.
#
# ## How uneven is uneven?
#
# Ten choices, four experts. The **load** of an expert is its share of all choices; the fair share
# is 1/E. Three numbers say what is wrong with a load.

# %%
counts = torch.tensor([6, 3, 1, 0])
load = counts / counts.sum()
fair = 1 / len(load)
entropy = -sum(f * math.log(f) for f in load.tolist() if f > 0)
print("MaxVio, the busiest over the fair share, minus 1:", round(load.max().item() / fair - 1, 2))
print("entropy over its maximum:", round(entropy / math.log(4), 2))
print("dead, below a tenth of the fair share:", int((load < 0.1 * fair).sum()))

# %% tags=["nbval-check-output"]
assert math.isclose(max_violation(counts), load.max() / fair - 1, rel_tol=1e-6)
assert math.isclose(load_entropy(counts), entropy / math.log(4), rel_tol=1e-6)
print("PASS: by hand and by library, the same numbers")

# %% [markdown]
# MaxVio (Wang et al. 2024, arXiv 2408.15664) is what parallel training waits for: the slowest is
# the busiest. Dead experts are memory that was paid for. Entropy sums up, and hides both.
#
# ## Cure 1: make busy experts dear
#
# With $f_i$ the load of expert $i$ and $P_i$ its mean probability, the loss of the Switch
# Transformer (Fedus et al. 2021, arXiv 2101.03961, eq. 4 to 6; the product is from GShard,
# arXiv 2006.16668, as we remember it) is
#
# $$L = E \sum_{i=1}^{E} f_i\, P_i \qquad
# f_i = \frac{\text{choices of } i}{T \cdot K} \qquad P_i = \frac{1}{T} \sum_t p_i(x_t)$$
#
# Switch has K = 1; we divide by K as well. Then even routing costs exactly 1 for every k. Some
# published code divides by T alone, and even routing costs k: a coefficient means nothing without
# its formula.


# %%
def balance_by_hand(probs: Tensor, expert_ids: Tensor) -> Tensor:
    """E times the sum of load times mean probability."""
    n_experts = probs.shape[-1]
    load = torch.bincount(expert_ids.flatten(), minlength=n_experts) / expert_ids.numel()
    return n_experts * (load * probs.mean(dim=0)).sum()


def routing_of(logits: Tensor, top_k: int) -> Routing:
    """Top-k of a softmax, as in lesson 03."""
    probs = logits.softmax(dim=-1)
    gates, expert_ids = probs.topk(top_k, dim=-1)
    return Routing(logits, probs, gates, expert_ids)


# %%
random = torch.Generator().manual_seed(1)
for top_k in (1, 2, 4):
    logits = torch.randn(16, 8, generator=random)
    routing = routing_of(logits, top_k)
    dealt = torch.arange(16 * top_k).view(16, top_k) % 8  # every expert equally often
    even = balance_by_hand(routing.probs, dealt)
    uneven = balance_by_hand(routing.probs, routing.expert_ids)
    print(f"k = {top_k}: dealt like cards {even:.3f}, as the router likes {uneven:.3f}")
    torch.testing.assert_close(uneven, load_balance_loss(routing))

# %% [markdown]
# ### The gradient takes the other door
#
# A count is an integer. It has no gradient. So what does this loss push? Only $P_i$: the count
# stands there like a price, $\partial L / \partial p_i(x_t) = E f_i / T$, the same for every token.

# %%
logits = (torch.randn(64, 8, generator=random) + torch.linspace(1.5, -1.5, 8)).requires_grad_()
routing = routing_of(logits, top_k=1)
load = torch.bincount(routing.expert_ids.flatten(), minlength=8) / 64
print("does the load know its gradient?", load.requires_grad)
loss = balance_by_hand(routing.probs, routing.expert_ids)
(price,) = torch.autograd.grad(loss, routing.probs, retain_graph=True)
torch.testing.assert_close(price, (8 * load / 64).expand(64, 8))

# %%
(gradient,) = torch.autograd.grad(loss, logits)
push = -gradient.mean(dim=0)
show_figure(
    plots.push_per_expert(load.numpy(), push.numpy()),
    alt="Left: the load of eight experts falls from the first to the last. Right: the push of the "
    "balancing loss on their logits is downwards for the busy ones and upwards for the others.",
)

# %% [markdown]
# Busy experts are pushed down, for all tokens alike, and idle ones up. It is a tax, not a plan:
# nothing says *which* tokens should move.
#
# ### A trap: 1 does not mean balanced
#
# Even routing costs 1. The reverse is not true. Let the probabilities be almost equal and all
# choices fall on one expert, as with the new router above.

# %%
undecided = torch.zeros(100, 8)
undecided[:, 3] = 1e-3  # a hair's breadth, for every token
routing = routing_of(undecided, top_k=1)
print(f"loss {load_balance_loss(routing):.4f}, MaxVio {max_violation(routing):.0f} (7 is collapse)")

# %% [markdown]
# So never read balance off this loss. Log the load itself.
#
# ## Cure 2, which is none: the z-loss
#
# ST-MoE (Zoph et al. 2022, arXiv 2202.08906, eq. 5) adds another loss, often named in the same
# breath: the mean over tokens of $\left(\log \sum_i e^{l_i}\right)^2$. It keeps logits small, so
# that low precision can still tell experts apart. Does it know who is busy?

# %%
logits = torch.randn(64, 8, generator=random)
versions = {
    "as it is": logits,
    "all logits + 5": logits + 5,
    "each token's best moved to expert 0": logits.sort(dim=-1, descending=True).values,
}
for name, changed in versions.items():
    routing = routing_of(changed, top_k=1)
    print(f"{name:36} z-loss {router_z_loss(routing):5.2f}, MaxVio {max_violation(routing):.2f}")

# %% [markdown]
# It reacts to a shift that no softmax can see. To total collapse, in the last line, it says
# nothing. You will see below what it does to a load in training.
#
# ## Cure 3: a bias and no loss
#
# Wang et al. (2024, arXiv 2408.15664, algorithm 1) let the task's gradient alone. Each expert has a
# bias that is added to its score **for the choice only** (lesson 03). After each step the bias of
# an idle expert rises by a fixed rate and that of a busy one falls. Here the router does not learn
# at all; only the bias moves.

# %%
torch.manual_seed(seed)
router = Router(16, RouterConfig(n_experts=8, top_k=1))
x = tokens_of_kinds(seed, 1024).x
for step in range(302):
    counts = torch.bincount(router(x).expert_ids.flatten(), minlength=8)
    if step in (0, 10, 30, 300, 301):
        print(f"after {step:3} steps: {counts.tolist()}, MaxVio {max_violation(counts):.2f}")
    router.expert_bias.copy_(update_expert_bias(router.expert_bias, counts, rate=0.01))

# %% [markdown]
# Only the sign of the error counts, so the bias never comes to rest: compare the last two lines.
# Try `rate=0.1`, and it flies past the balance again and again. The rate must fit the differences
# between scores and the length of the run; the paper's 0.001 was chosen for sigmoid scores and long
# runs.
#
# ## Cure 4: let the experts choose
#
# Zhou et al. (2022, arXiv 2202.09368) turn the question around. Each expert takes the T · K / E
# tokens that it scores highest. The load is even by construction, at every step, without a loss and
# without a rate. Is there a catch? Ask the laws of lesson 04.

# %%
choosing = RouterConfig(n_experts=4, top_k=1, normalize_gates=False, choice="expert")
chosen = replace(choosing, choice="token")
causality = [law for law in LAWS if law.name == "prefix causality"]
for name, config in (("tokens choose", chosen), ("experts choose", choosing)):
    torch.manual_seed(0)
    layer = MoE.build(16, MoEConfig(router=config, d_ff=16))
    (result,) = obeys(layer, d_model=16, laws=causality)
    print(f"{name}: prefix causality {result.outcome}")

# %% [markdown]
# An expert compares all tokens of the batch, the later ones too. So a later token can take a place
# away from an earlier one: the future leaks into the past. For a language model that is fatal, and
# we shall measure how far it goes.
#
# ## All of them, same seed
#
# Same data, same first weights, same batches. Only the balancing differs. The last one is a control
# without any learning: samples are dealt to the experts like cards, by their number.

# %%
show(chapter.total_loss)

# %%
runs = {
    name: train_kinds(replace(setting, steps=n_steps), seed) for name, setting in METHODS.items()
}
notes = {name: f"{run.alive} of 8 in use, {run.accuracy:.0%} right" for name, run in runs.items()}
show_figure(
    plots.load_over_training({name: run.counts.numpy() for name, run in runs.items()}, notes),
    alt="Six panels of stacked load over training. Without balancing and with the z-loss two or "
    "three bands fill the panel. With the Switch loss, the bias, expert choice and dealt cards "
    "eight bands share it; the notes give experts in use and accuracy on test tokens.",
    max_colours=96,
)

# %% tags=["nbval-check-output"]
alive = {name: KINDS.column(name, "alive") for name in METHODS}
assert max(alive["no balancing"]) <= 4 and max(alive["z-loss"]) <= 4
assert min(alive["Switch loss"]) == 8 and min(alive["expert bias"]) >= 6
assert min(KINDS.column("expert choice", "entropy_in_training")) > 0.999
assert runs["no balancing"].alive <= 4 < runs["Switch loss"].alive
assert runs["z-loss"].alive <= 4 and runs["expert bias"].alive > runs["no balancing"].alive
assert len(set(runs["expert choice"].counts.flatten().tolist())) == 1, "even at every step"
print("PASS: collapse without balancing and with the z-loss; cured by loss, bias and choice")

# %% [markdown]
# **What to see.** The bands of the first and the third panel: a few experts own everything. The
# Switch loss and the bias wake all eight. The bias needs a while, because it walks in small steps.
# Expert choice is even from the first step on, but look at its note: in the test *tokens* choose,
# one by one, as they must in use, and the learned scores alone do not spread them.
#
# The stored runs of five seeds say the same in numbers:

# %%
print(f"{'':18} in use (test)     MaxVio, median    accuracy of each seed")
for name in (*METHODS, "one expert", "told the kind"):
    violation = median(KINDS.column(name, "max_violation"))
    accuracy = "  ".join(f"{share:.2f}" for share in KINDS.column(name, "accuracy"))
    print(f"{name:18} {KINDS.column(name, 'alive')!s:17} {violation:6.1f}             {accuracy}")

# %% [markdown]
# ## Balance is not quality
#
# Read the last columns again. Cards are dealt perfectly evenly, and the result is worse than with
# the Switch loss in every seed: each expert meets all kinds. And "told the kind", where expert 1
# gets kind 1 and so on, is far better than any learned router after these 500 steps. The balanced
# routers use all experts; they have not found the kinds yet.
#
# How hard should one push, then? Every strength, five seeds, 500 steps, stored:

# %%
prices = {
    method: [
        plots.Price(strength, KINDS.column(name, "max_violation"), KINDS.column(name, "accuracy"))
        for strength in strengths
        for name in [chapter.strength_name(method, strength)]
    ]
    for method, (_, strengths) in chapter.STRENGTHS.items()
}
anchors = {name: KINDS.column(name, "accuracy") for name in ("no balancing", "dealt like cards")}
show_figure(
    plots.trade_off(prices, anchors),
    alt="Accuracy against MaxVio for three methods, one mark per strength. For the Switch loss "
    "accuracy first rises as imbalance falls and then drops at coefficients of 1 and 10 while "
    "the load stays even. The z-loss never reaches an even load.",
)

# %% tags=["nbval-check-output"]
accuracy = {name: KINDS.column(name, "accuracy") for name in KINDS.names}
for mild, brutal, cards in zip(
    accuracy["Switch loss 0.1"], accuracy["Switch loss 10"], accuracy["dealt like cards"],
    strict=True,
):  # fmt: skip
    assert brutal < mild - 0.04 and cards < mild - 0.05
assert min(KINDS.column("Switch loss 10", "alive")) == 8
print("PASS: in every seed, too much balancing loss costs accuracy with all experts in use")

# %% [markdown]
# **What to see.** Weak: uneven and poor. In the middle: even and better. Strong: even and poor
# again. The router now serves the tax collector and not the task. Your answer to the first question
# can be checked with this figure.
#
# Is the middle better than no balancing for certain? Compare seed by seed:

# %%
gains = [a - b for a, b in zip(accuracy["Switch loss 0.1"], accuracy["no balancing"], strict=True)]
print("gain of the Switch loss 0.1 in accuracy, seed by seed:", [round(gain, 2) for gain in gains])

# %% [markdown]
# Mostly, not always, after 500 steps at one learning rate. On this task one collapsed router had
# luck.
#
# ### Ten times as long, each at its best rate
#
# Again five learning rates, and up to 5,000 steps. What do you expect of the gap between the
# balanced router and the one that is told the kinds? And of the gain over no balancing?

# %%
cures = read_at(stored("06_cures"))
cure_rates = best_rates(cures, "accuracy", lowest=False, seeds=chapter.SEARCH_SEEDS)
NONE, CENTRED = "no balancing", "none, router centred"
right = {
    label: at_best(causes, name, "accuracy", cause_rates, chapter.SEEDS)
    for label, name in ((NONE, "as it is"), (CENTRED, "router sees it centred"))
}
LONG = ("Switch loss 0.1", "expert bias 0.01", "z-loss 0.01", "dealt like cards", "told the kind")
for name in LONG:
    right[name] = at_best(cures, name, "accuracy", cure_rates, chapter.SEEDS)

# %%
show_figure(
    over_lengths(chapter.LENGTHS, {"accuracy on test tokens": right}),
    alt="Accuracy after 500, 1,500 and 5,000 steps. All learned routers rise. The Switch loss ends "
    "within 0.03 of the router that is told the kinds, and so does the centred router without any "
    "balancing. Dealt cards stay near 0.6.",
)


# %%
def gaps(name: str, reference: str) -> list:
    """Compare two rows at each length, seed by seed, with 95 % intervals."""
    return [paired(*both) for both in zip(right[name], right[reference], strict=True)]


for name in list(right)[1:]:
    print(f"{name:20} against none:", "  ".join(f"{gap:+.2f}" for gap in gaps(name, NONE)))
to_truth = gaps("told the kind", "Switch loss 0.1")
print("told the kind against the Switch loss:", "  ".join(f"{gap:+.2f}" for gap in to_truth))

# %% tags=["nbval-check-output"]
assert to_truth[0].mean > 3 * to_truth[-1].mean and to_truth[-1].mean < 0.05
assert gaps("Switch loss 0.1", NONE)[1].clear
assert all(gap.clear for gap in gaps(CENTRED, NONE))
assert all(gap.high < 0.05 for gap in gaps("dealt like cards", NONE))
print("PASS: with time the balanced router finds the kinds; balance without choice never does")

# %% [markdown]
# **What to see.** "They have not found the kinds" was true of step 500. At 5,000 the Switch loss is
# within three points of the truth. Its gain over no balancing has the same sign at every length and
# a wide interval, as one unbalanced seed never recovers; only at 1,500 steps is it clear of zero.
# For the bias the interval holds zero everywhere: from a loss of a few points to a gain of more
# than ten, all would fit. And a router that sees centred tokens needs **no balancing at all**.
#
# ### The z-loss where it was made for
#
# It is no cure, and was not meant as one. ST-MoE adds it for routers that compute in bfloat16, in
# long runs, where logits grow until rounding decides. So: the toy with logits in bfloat16 (eight
# bits of precision), 5,000 steps, with the Switch loss.

# %%
narrow = read_at(stored("06_narrow"))
ROUNDED = ("bfloat16, Switch loss 0.1", "bfloat16, Switch loss 0.1, z-loss 0.001")
for lr in (0.005, 0.02):
    for name in ROUNDED:
        same_rate = {steps: {name: lr} for steps in chapter.LENGTHS}
        print(f"rate {lr:g}, {name}")
        for key in ("log_sum", "logit_size", "flips", "accuracy"):
            rows = at_best(narrow, name, key, same_rate, chapter.SEEDS)
            print(f"    {key:11} after 500, 1,500 and 5,000 steps:",
                  "  ".join(f"{median(row):6.3f}" for row in rows))  # fmt: skip

# %% tags=["nbval-check-output"]
ends = {
    key: [at_best(narrow, n, key, {5000: {n: 0.02}}, chapter.SEEDS)[0] for n in ROUNDED]
    for key in ("log_sum", "logit_size", "flips")
}
assert min(ends["log_sum"][0]) > 5 and max(map(abs, ends["log_sum"][1])) < 1
assert median(ends["logit_size"][1]) > 0.8 * median(ends["logit_size"][0])
assert max(max(flips) for flips in ends["flips"]) < 0.01
print("PASS: the z-loss holds log-sum-exp at 0, not the largest logit; rounding flips below 1%")

# %% [markdown]
# `log_sum` is the mean log-sum-exp, `logit_size` the mean of each token's largest logit in absolute
# value, `flips` the share of tokens whose expert would be another one without rounding. The z-loss
# does what its formula says: it holds the first at zero. The logits grow with the steps and with
# the rate all the same, downwards instead of upwards. Rounding moves fewer than one token in a
# hundred in either case, and with each row at its best rate the accuracies are:

# %%
narrow_rates = best_rates(narrow, "accuracy", lowest=False, seeds=chapter.SEARCH_SEEDS)
plain, held = (at_best(narrow, n, "accuracy", narrow_rates, chapter.SEEDS) for n in ROUNDED)
for steps, *both in zip(narrow_rates, held, plain, strict=True):
    print(f"{steps:5} steps: z-loss against none {paired(*both):+.3f}")

# %% [markdown]
# No interval is clear of zero. So we have not met the disease that the z-loss is for: 5,000 steps
# of a router with 16 inputs do not make logits large enough. That is a limit of this toy and no
# verdict on the z-loss.
#
# ## Control: a loss that reaches nobody
#
# A balancing loss whose probabilities were detached still shows a value in the log, and still adds
# to the total. It must change **nothing**, to the last bit. If it did, our cure would not be the
# loss.

# %%
cut = replace(METHODS["Switch loss"], detached=True, steps=n_steps)
detached = train_kinds(cut, seed)

# %% tags=["nbval-check-output"]
assert torch.equal(detached.weights, alone.weights)
assert torch.equal(detached.counts, alone.counts)
print("PASS: the detached loss leaves the collapsed router bit for bit as it was")

# %% [markdown]
# ## A small language model
#
# Tokens of kinds were made to show the effect. Now measure it where nobody made it: a transformer
# of two layers with 16 experts each, one expert per byte, on the four domains of lesson 05. First
# the stored runs of five seeds, then your own.

# %%
STORED = stored("06_text")
names = ("no balancing", "Switch loss 0.01", "z-loss 0.001", "expert bias 0.001", "hash")
print(f"{'':18} dead of 32 at the end  MaxVio   nats per byte on held-back text")
for name in names:
    ends = STORED.column(name, "validation")
    losses = "  ".join(f"{loss:.3f}" for loss in STORED.column(name, "loss"))
    violation = median(end["max_violation"] for end in ends)
    print(f"{name:18} {[end['dead'] for end in ends]!s:22} {violation:5.1f}    {losses}")

# %% [markdown]
# Yours: four short trainings with your seed. A recorder looks at layer 1 twenty times on the way,
# for the replay further down.

# %%
text_steps, n_snapshots = by_mode(full=(250, 20), fast=(30, 6))
histories, recorders = {}, {}
for name in chapter.REPLAYED:
    recorders[name] = chapter.Recorder(text_steps, seed, n_snapshots)
    setting = replace(chapter.TEXT[name], steps=text_steps)
    _, histories[name] = chapter.train_text(setting, seed, watch=recorders[name], progress=True)


# %%
def course_of(name: str) -> plots.Course:
    """Put the stored seeds of a method and the run of this page together."""
    cells = [cell.result for cell in STORED.of(name)]
    dead, violation = (np.array([c[key] for c in cells]) for key in ("dead", "max_violation"))
    live = None
    if name in histories:
        steps = [step for step in cells[0]["steps"] if step <= text_steps]
        own = [
            chapter.summary(chapter.recent_load(histories[name].records, step - 1))
            for step in steps
        ]
        live = (steps, [s["dead"] for s in own], [s["max_violation"] for s in own])
    return plots.Course(cells[0]["steps"], dead, violation, [cell["loss"] for cell in cells], live)


# %%
courses = {name: course_of(name) for name in names}
show_figure(
    plots.utilisation(courses, n_experts=32),
    alt="Left: dead experts over training. Without balancing and with the z-loss about half of 32 "
    "stay dead; with the Switch loss a few and with the bias none at the end. Middle: MaxVio in "
    "the same order. Right: losses of all seeds; the learned routers overlap, the hash is lower.",
    max_colours=128,
)

# %% tags=["nbval-check-output"]
dead = {name: [end["dead"] for end in STORED.column(name, "validation")] for name in names}
assert min(dead["no balancing"]) >= 10 and min(dead["z-loss 0.001"]) >= 10
assert max(dead["Switch loss 0.01"]) <= 4 and max(dead["expert bias 0.001"]) <= 4
own = {name: courses[name].live[1][-1] for name in ("no balancing", "Switch loss 0.01")}
assert own["no balancing"] > own["Switch loss 0.01"]
print("PASS: without balancing a third of the experts and more are dead, for every seed")

# %% [markdown]
# **What to see.** The collapse of the toy is there: look at step 25, with the bias too. Without
# balancing some experts come back by themselves, and about half never do. The Switch loss prevents,
# the bias heals, slowly. The z-loss does neither. And now the right panel, in numbers:

# %%
base = STORED.column("no balancing", "loss")
lost = {name: paired(STORED.column(name, "loss"), base) for name in names[1:]}
for name, gap in lost.items():
    print(f"{name:18} against no balancing: {gap:+.3f} nats, 95 % interval over five seeds")

# %% tags=["nbval-check-output"]
for name in ("Switch loss 0.01", "expert bias 0.001"):
    assert max(abs(lost[name].low), abs(lost[name].high)) < 0.03
print("PASS: after 250 steps, waking the dead half changes the loss by less than 0.03 nats")

# %% [markdown]
# After 250 steps of this model, dead experts cost the **memory** they lie in, and no loss that five
# seeds can show: an effect of three hundredths of a nat is excluded, a smaller one is not. (Speed
# we did not measure.) Longer runs of the language model were not made. In the toy balance needed
# time to pay, so do not carry this line over to long trainings; the papers report losses at a
# thousand times this scale.
#
# One line does stand out. The **hash** has no router to balance: a fixed table from byte to expert.
# It is less even than the Switch loss makes a router, and its loss is lower in every seed. Part of
# that may be its gate, which is 1, while a learned top-1 gate is a probability; lesson 05 has more
# of that. In any case: evenness did not decide it.
#
# ### Do they look alike here, too?
#
# The toy collapsed as its router saw tokens alike, and we made them so, for good. Nobody gave these
# bytes a common part. Take the inputs of the routers, and the cosine of two of them, while the
# model learns: five stored seeds, without balancing and with the Switch loss.

# %%
show(chapter.likeness)

# %%
ALIKE = stored("06_likeness")
steps = ALIKE.cells[0].result["steps"]
cosines, deaths = (
    {name: np.array(ALIKE.column(name, key)) for name in ALIKE.names}
    for key in ("likeness", "dead")
)
show_figure(
    plots.likeness_and_dead(steps, cosines, deaths),
    alt="Above: the median cosine of two tokens rises from 0.25 to 0.95 within fifteen steps and "
    "falls back to 0.4, the same with and without balancing. Below: the dead experts of the "
    "batch rise and fall with it; without balancing more of them, and more of them for good.",
)

# %% tags=["nbval-check-output"]
peak = steps.index(15)
for name in ALIKE.names:
    assert (cosines[name][:, peak] > 0.9).all()
    assert (cosines[name][:, 0] < 0.45).all() and (cosines[name][:, -1] < 0.45).all()
both = [cosines[name][:, peak] for name in ALIKE.names]
assert abs(both[0] - both[1]).max() < 0.02 and deaths["no balancing"].max(axis=1).min() >= 24
print("PASS: around step 15 all tokens look alike, for ten runs of ten, balanced or not")

# %% [markdown]
# **What to see.** For some thirty steps it is like the toy, and this time nobody made it: the
# hidden states point the same way, and most experts are idle. Then the states part again, and
# experts return. In the toy it never ends. The upper curves are the same with and without
# balancing, so looking alike is not a consequence of the collapse. That it is the cause here, too,
# is likely and not shown: the two go together, and nobody centred these routers. (What the states
# share, we did not measure. How common each byte is would be a good guess.)
#
# Why does the Switch loss have twenty dead here and five in the figure before? Here each batch is
# counted alone, there ten in a row. At the peak whole batches swing from expert to expert; with the
# loss they take turns.
#
# ### Expert choice sees the future
#
# It is missing in the figure above, for a reason. Change the last byte of every held-back window:
# do earlier predictions move?

# %%
for name in ("no balancing", "expert choice"):
    leaks = ", ".join(f"{share:.1%}" for share in STORED.column(name, "leaks"))
    print(f"{name}: logits at {leaks} of the earlier places move")
for cell in STORED.of("expert choice"):
    seen, honest = cell.result["loss_with_the_future"], cell.result["loss"]
    print(f"seed {cell.seed}: expert choice scores {seen:.3f} with experts choosing, {honest:.3f} "
          "when tokens choose as in use")  # fmt: skip

# %% tags=["nbval-check-output"]
assert max(STORED.column("no balancing", "leaks")) == 0
assert min(STORED.column("expert choice", "leaks")) > 0
assert all(c.result["loss_with_the_future"] < c.result["loss"] for c in STORED.of("expert choice"))
print("PASS: expert choice leaks, and its loss is better when experts choose")

# %% [markdown]
# Put the first number into the table above, and expert choice looks like the best learned router in
# some seeds. Put the second one in, and it is the last. The first must not stand there: it was
# measured on another task. But is it the leak that makes it better? The second number changes two
# things: the future is gone, **and** the model is used in a way it was never trained for.
#
# Take away the leak alone. During training each expert keeps the lowest probability with which it
# still took a token (a moving average). In the test it takes whoever is above that, and asks nobody
# else in the batch.

# %%
causal = stored("06_causal")
for name in causal.names:
    tokens, experts, thresholds = (
        causal.column(name, key) for key in ("tokens", "experts", "thresholds")
    )
    print(f"{name}: tokens choose {median(tokens):.3f}, experts choose {median(experts):.3f}, "
          f"thresholds {median(thresholds):.3f} nats")  # fmt: skip
    print(f"    leak (thresholds - experts) {paired(thresholds, experts):+.4f}, "
          f"mismatch (tokens - thresholds) {paired(tokens, thresholds):+.4f}")  # fmt: skip

short = causal.column("250 steps", "thresholds")
print(f"thresholds against no balancing, 250 steps: {paired(short, base):+.3f} nats")

# %% tags=["nbval-check-output"]
assert max(share for name in causal.names for share in causal.column(name, "leaks")) == 0
for name in causal.names:
    tokens, experts, thresholds = (
        causal.column(name, key) for key in ("tokens", "experts", "thresholds")
    )
    leak, mismatch = paired(thresholds, experts), paired(tokens, thresholds)
    assert abs(leak.mean) < 0.01 < mismatch.low, name
print("PASS: without the leak expert choice keeps its loss; the change of rule is what costs it")

# %% [markdown]
# So the first suspicion was wrong, and ours as well: an earlier version of this lesson said that
# expert choice is better *only with the leak*. The future is worth a thousandth or two of a nat
# here. Nearly all of the gap was the change of rule between training and test, and thresholds close
# it without looking ahead. That the leak is small in this model makes it no smaller a mistake:
# where it pays to look, a larger model may learn to. Encoders, which may look at everything, have
# no such problem.
#
# ## Play
#
# Your four runs, step by step: the load of layer 1, the loss of each expert's tokens, and the
# expert of every byte of a small text.

# %%
from moe_teach.widgets.balance_replay import BalanceReplay, Replay

BalanceReplay.of(
    {name: Replay(**recorder.fields) for name, recorder in recorders.items()},
    note=f"Your runs: layer 1, {text_steps} steps, seed {seed}.",
)

# %% [markdown]
# Three things to try:
#
# 1. Press play and watch the text. From which step on do the routes hardly flip?
# 2. Stop where all bars reach the fair share. Are the experts equally good?
# 3. Follow one byte through all four runs. Does it end at the same expert, and would that mean
#    anything?
#
# The same, four times as long, from stored runs:

# %%
long_runs = {cell.name: Replay(**cell.result) for cell in stored("06_replay").cells}
BalanceReplay.of(long_runs, note="Stored runs: layer 1, 1000 steps, seed 0.")

# %% [markdown]
# ## The bug clinic
#
# Until here the code was sound, and only the method was in question. Published code is not always
# sound. minimind computed a balancing loss and did not add it (issue 140). nanoMoE's load sums to
# k. In vLLM (12002) and in transformers (41647) the selection bias leaked into the gates. None of
# these raises an error, and the loss falls all the same.
#
# Twelve patients lie in our clinic, A to L. Each is the library's own layer, or its trainer, with
# **one** such mistake built in; one of the twelve is healthy. You get their charts and nothing
# else. This is what all twelve believe they are running:

# %%
from moe_teach.chapters.ch06_load_balancing.clinic.set_up import SetUp
from moe_teach.course import clinic

show(SetUp)

# %% [markdown]
# Everybody is put through the same examination. It has eight panels, and the point of each is that
# the healthy answer is known **before** anybody looks:
#
# 1. **Load** over a short training: each band is an expert.
# 2. **The loss it logs** for routings made by hand: even ones at k = 1, 2, 4 (healthy: 1); a crowd
#    at two experts; even first choices with all second choices at one expert.
# 3. **Gradients on the router**: of the task's loss; of the balance loss as logged; and of what the
#    total contains of it, divided by the prescribed coefficient. The last two should be equal.
# 4. **Gates**: their sum for one token; and the largest change when *all* biases rise by 0.25.
# 5. **Bias**: what one batch with a crowd at experts 0 and 1 does to each expert's bias.
# 6. **Evaluated twice**: the same tokens, the same weights.
# 7. **In a batch or alone**: by how much a token's output changes when others are beside it.
# 8. **Output over input**: as it is; with the weights of all routed experts at zero; and how
#    much that silent output looks like the input.

# %%
clinic.show("health")

# %% tags=["nbval-check-output"]
health = clinic.examined("health")
assert all(abs(value - 1) < 1e-5 for value in health.even) and health.crowd > 1.5
assert np.allclose(health.own_gradient, health.arriving) and min(health.task_gradient) > 0.01
assert max(health.gate_moves) < 1e-6 and max(health.company) < 1e-4
assert health.other_output == 0 and health.silent == 0
print("PASS: the healthy layer gives every answer that was known beforehand")

# %% [markdown]
# ### One patient together
#
# The practice patient lies in no bed of the ward. Hollow diamonds are the healthy layer, with the
# same seed and the same first weights. Find the panels in which orange and diamonds part.

# %%
clinic.show("practice")

# %%
practice = clinic.examined("practice")
print(f"sum of the gates at k = 2: {practice.gate_sums[1]:.2f}, healthy {health.gate_sums[1]:.2f}")
print(f"output / input: {practice.speaking:.2f}, healthy {health.speaking:.2f}")

# %% [markdown]
# The gates of a token do not sum to one, although k is 2 or 4. So nobody divided them by their sum.
# That explains panel 8 as well: smaller gates, a quieter mixture. The task's gradient of panel 3
# differs too, as it must, and nothing is left unexplained. **A diagnosis has to explain every panel
# that differs, and predict no difference where there is none.** These are the words for it:

# %%
clinic.vocabulary()

# %% [markdown]
# ### The ward
#
# Twenty words, twelve patients. Write your guess beside each letter before you scroll on.

# %%
for case in "ABCD":
    clinic.show(case)

# %%
for case in "EFGH":
    clinic.show(case)

# %%
for case in "IJKL":
    clinic.show(case)

# %% [markdown]
# How far would you get with panel 1 alone, the plot that everybody draws?

# %% tags=["nbval-check-output"]
charts = {case: clinic.examined(case) for case in clinic.cases()}
uneven = sum(chart.violation > 0.65 for chart in charts.values())
print(f"{uneven} of {len(charts)} patients have an uneven load, and {len(charts) - uneven} do not")
assert uneven == 3

# %% [markdown]
# Three patients stand out, with three different faults. Of the other nine, eight are ill: they
# train, they balance, and they are wrong. The findings as numbers, if you prefer to read them:

# %%
clinic.table()

# %% [markdown]
# Hand in your diagnoses in exercise 6.5; a wrong one is answered with an observation that speaks
# against it. In exercise 6.6 you repair a patient. `clinic.show("A", seed=1)` examines a patient
# again, with other weights and other tokens.
#
# The clinic is kinder than life. Its patients have one fault each, they are tiny, and a healthy
# twin lies beside them. What carries over is the list of observations: each takes a few lines, and
# has an answer that you know beforehand.

# %% [markdown]
# ## What could be wrong with these results
#
# - The toy was made to collapse: we chose how much its tokens share. Without that part it does not
#   collapse. The language model does it by itself, for a while; how much your hidden states share
#   is something to measure, not to assume.
# - The strengths of the trade-off were compared at 500 steps and one learning rate. A bias rate
#   that is right for 500 steps is wrong for 50,000.
# - Accuracy gaps between methods of the toy hang on its size and on experts too small for two
#   kinds. The order of loss and bias may turn on another task.
# - "Best rate" is the best of five, judged on two seeds; the rate stays the same during a run.
# - 250 steps of a model with two layers say nothing about 100,000 steps of one with sixty. That
#   imbalance costs no loss *here* is a statement about here.
# - Held-back text is 256 windows of 64 bytes. Do not read anything into a hundredth of a nat.
# - "Dead" has a limit that we chose, a tenth of the fair share.
#
# ## Check yourself
#
# One number, one letter.

# %%
check("6.q2", ...)

# %%
check("6.q3", ...)

# %% [markdown]
# ## What you take with you
#
# - In the toy a router collapses as long as what it sees has a large part in common. Centre its
#   input, and it does not. That only the chosen learn is not needed for it: a good story, and no
#   cause.
# - The balancing loss acts through probabilities, at the price of the counts. The bias acts on the
#   choice alone. The z-loss balances nothing. Expert choice is even and not causal, unless its
#   thresholds come from training.
# - Log the load, MaxVio and dead experts. The value of the balancing loss is no substitute.
# - Balance means that capacity is used. Whether it is used well, only the task can say.
#
# In the exercises you write both losses, the bias step and the report, and then diagnose layers
# that somebody else broke.
