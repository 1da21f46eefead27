# %% [markdown]
# # 12 Specialise and compose
#
# **Claim: a skill can be trained into a few experts, sold as one file, put into a model while it
# serves, and taken out again without a trace. This holds where the rest of the model, the trunk,
# stays frozen; where it does not, little of what specialists know survives putting them together.**
#
# Two sentences made people curious: "targeted training gives real domain experts" and "a
# marketplace of expert modules, swapped and composed at inference time". Both are measured here,
# each beside the controls that most reports leave out. Every number is printed by a cell.

# %%
import tempfile
from copy import deepcopy
from pathlib import Path
from statistics import mean

import torch

from moe_teach.chapters.ch12_specialise_and_compose import figures as plots
from moe_teach.chapters.ch12_specialise_and_compose.experiments import (
    compose,
    targeted,
    upcycle,
    with_longer,
)
from moe_teach.chapters.ch12_specialise_and_compose.new_skill import SKILL, remainders
from moe_teach.checkpoint.native import load_model, save_model
from moe_teach.compose.modules.installed import install, list_modules, remove
from moe_teach.compose.modules.module_file import read_module, write_module
from moe_teach.compose.modules.packing import pack

# %%
from moe_teach.compose.pruning import (
    at_random,
    best_experts,
    by_load,
    by_router_weighted_activation,
    prune_experts,
)
from moe_teach.compose.relevance import expert_relevance
from moe_teach.compose.slots import read_expert, write_expert
from moe_teach.compose.trainable import training_experts
from moe_teach.course import by_mode, check, show
from moe_teach.course.experiments import stored
from moe_teach.data.batches import Batches
from moe_teach.data.corpus import DOMAINS
from moe_teach.plots.style import show_figure
from moe_teach.train.differences import paired
from moe_teach.train.horizons import Horizon, at_length
from moe_teach.train.shipped import load_shipped

# %% [markdown]
# ## A skill in a file
#
# The small model that comes with the course reads code, English, languages and arithmetic. Nobody
# taught it remainders. Some lines of the new skill, and how badly it reads them (nats a token;
# `targeted.losses` measures all five texts on held-out lines):

# %%
base, tokenizer, _ = load_shipped()
print(remainders("train")[:42].replace("\n", "   "))
BEFORE = targeted.losses(base)
print(BEFORE)

# %% [markdown]
# Which experts does the model ask for such lines? In each layer take the **one** of largest average
# gate, and train these four for some steps. All else is no parameter meanwhile: neither a gradient
# nor weight decay can reach it.

# %%
lines = Batches(targeted.sample()[0], targeted.BATCH, targeted.LENGTH, seed=0)
relevance = expert_relevance(base, [lines.at(step) for step in range(4)])  # (L, E)
PLACES = {layer: [int(row.argmax())] for layer, row in enumerate(relevance)}
specialist = deepcopy(base)
with training_experts(specialist, PLACES) as n_trained:
    targeted.tune(specialist, steps=20, lr=0.002, seed=0)
total = sum(p.numel() for p in base.parameters())
print(f"experts {PLACES}: {n_trained:,} numbers were trained, {n_trained / total:.1%} of the model")

# %% [markdown]
# Now the four experts become **one file**, with a label: the digest of the trunk beside which they
# were trained, the places, what they are for.

# %%
place = tempfile.TemporaryDirectory()
file, folder = Path(place.name) / "remainders.expert", Path(place.name) / "model"
places = [(layer, expert) for layer, (expert,) in PLACES.items()]
write_module(pack(specialist, places, SKILL, domain=SKILL, licence="MIT"), file)
label = read_module(file).manifest
print(f"{file.name}: {file.stat().st_size / 1000:.0f} kB, trunk {label.trunk[:12]}")

# %% [markdown]
# Somebody else has the model, and now gets the file.

# %%
save_model(folder, base)
install(folder, file)
INSTALLED = targeted.losses(load_model(folder).model.eval())
print([one.manifest.name for one in list_modules(folder)], INSTALLED)

# %% [markdown]
# Before you go on: the module will be removed again. What will be left of it?

# %%
check("12.q3", ...)

# %%
remove(folder, SKILL)
returned = load_model(folder).model.eval()
REMOVED = targeted.losses(returned)
STATES = {"before": BEFORE, "installed": INSTALLED, "removed": REMOVED}
shown = {state: {d: [loss] for d, loss in own.items()} for state, own in STATES.items()}
show_figure(plots.by_domain(shown, "nats a token"))

# %% tags=["nbval-check-output"]
was = base.state_dict()
assert all(torch.equal(tensor, was[name]) for name, tensor in returned.state_dict().items())
assert INSTALLED[SKILL] < BEFORE[SKILL] - 1.5
assert max(INSTALLED[d] - BEFORE[d] for d in DOMAINS) < 0.1
print("PASS: the skill came with the file, and went with it to the last bit")

# %% [markdown]
# **What to see.** With the file the new skill is there; without it, the model is the old one, bit
# for bit, in every tensor. The four old domains hardly move.
#
# Is that how modules are? Press harder: the same four experts, a larger rate, more steps.

# %%
pressed = deepcopy(base)
with training_experts(pressed, PLACES):
    targeted.tune(pressed, steps=by_mode(full=60, fast=30), lr=0.008, seed=0)
HARD = targeted.losses(pressed)
for d, loss in HARD.items():
    print(f"{d:11} before {BEFORE[d]:.2f}, installed {INSTALLED[d]:.2f}, pressed {loss:.2f}")

# %% tags=["nbval-check-output"]
assert HARD[SKILL] < INSTALLED[SKILL] and HARD["arithmetic"] > BEFORE["arithmetic"] + 1
print("PASS: more of the skill, and arithmetic is lost")

# %% [markdown]
# Remainders look like arithmetic: its lines go to the same experts, and these forget it. Freezing
# the rest protects the rest; it does not protect those who share the experts. A module is sold
# with *both* numbers, what it gains and what it costs, and who buys it measures again.
#
# ### Control: is it the content of the file?
#
# Put other experts into the same four places, where the router sends the same tokens: those that
# code needs most. If any expert did, the file would be worth nothing.

# %%
from moe_teach.data.corpus import build_corpus
from moe_teach.data.tokenizer import encode_domains

code = encode_domains({"code": build_corpus(("code",)).train["code"][:200_000]}, tokenizer)
reading = Batches(code, targeted.BATCH, targeted.LENGTH, seed=0)
liked = expert_relevance(base, [reading.at(step) for step in range(4)]).argmax(dim=-1).tolist()
other = deepcopy(base)
for layer, expert in places:
    slot, there = read_expert(base, layer, liked[layer]), read_expert(base, layer, expert)
    write_expert(other, layer, expert, type(slot)(slot.experts, there.router))
WRONG = targeted.losses(other)
print(WRONG)

# %% tags=["nbval-check-output"]
assert WRONG[SKILL] > INSTALLED[SKILL] + 1 and WRONG["arithmetic"] > BEFORE["arithmetic"] + 0.05
print("PASS: code's experts in these places teach no remainders, and cost arithmetic")

# %% [markdown]
# And a module of another trunk is refused: its experts read what other layers wrote.

# %%
stranger = deepcopy(base)
next(stranger.parameters()).data[0, 0] += 1
save_model(Path(place.name) / "stranger", stranger)
try:
    install(Path(place.name) / "stranger", file)
except ValueError as refusal:
    print(refusal)
place.cleanup()

# %% [markdown]
# ## Which experts?
#
# The experts that a text asks for most are said to be the right ones to train (ESFT, Wang et al.
# 2024, arXiv 2407.01906: the smallest set of an average gate above a share). Two controls of equal
# number belong beside them: drawn by lot, and least asked for. Predict first:

# %%
check("12.q1", ...)

# %% [markdown]
# Stored: five samples of the new skill, 20 steps of 512 tokens, nothing else in the training.
# *Relevant* is the set with 60 % of each layer's gates. The base is one trained model, so the seeds
# are samples and lots, not other bases. Harm grows with the learning rate; so first **one rate for
# all**, 0.004:

# %%
ONE = stored("12_targeted_one_rate")
AT_20 = {name: at_length(name, 20) for name in targeted.WAYS}


def harm(after: dict[str, float], domains=DOMAINS) -> float:
    """Return how much worse the old domains are read, on average."""
    return mean(after[d] - BEFORE[d] for d in domains)


# %%
def told(grid, names) -> dict[str, tuple[list[float], list[float]]]:
    """Print what each way trains, gains and harms; give harms and losses, seed by seed."""
    points = {}
    for name in names:
        own, trained = (grid.column(AT_20[name], key) for key in ("after", "trained"))
        points[name] = ([harm(a) for a in own], [a[SKILL] for a in own])
        others = mean(harm(a, DOMAINS[:3]) for a in own)
        print(f"{name:20} {trained[0] / total:6.1%} trained; skill {mean(points[name][1]):.2f}; "
              f"old {mean(points[name][0]):+.2f}, without arithmetic {others:+.2f}")  # fmt: skip
    return points


# %%
EQUAL = told(ONE, (*targeted.LONGEST, "least relevant"))
show_figure(plots.gain_and_harm(EQUAL))
relevant, lot, least = (EQUAL[n] for n in ("relevant experts", "random experts", "least relevant"))
print(f"skill, relevant against lot: {paired(relevant[1], lot[1])}")
print(f"harm, relevant against lot: {paired(relevant[0], lot[0])}")

# %% tags=["nbval-check-output"]
assert all(a < b < c for a, b, c in zip(relevant[1], lot[1], least[1], strict=True))
assert all(a > b for a, b in zip(EQUAL["everything"][0], relevant[0], strict=True))
assert not paired(relevant[0], lot[0]).high < 0
print("PASS: relevance buys the skill, in every sample; it does not spare the old domains")

# %% [markdown]
# **What to see.** Training everything learns the skill and harms the rest most. The relevant
# experts, a fifth of the weights, learn nearly as much. But look at the lot: at the same rate its
# old domains suffer *less* than with the relevant experts, for arithmetic asks for these, too. That
# little is forgotten goes together with training few weights, and not with their relevance; what
# relevance buys is the skill.
#
# Now each way at the rate that **its skill** likes best of five, whatever the harm. The lot learns
# more by a larger rate. Does it stay gentle?

# %%
TARGETED = stored("12_targeted")
OWN = told(TARGETED, targeted.WAYS)
best = {name: cell.settings["lr"] for name in targeted.WAYS for cell in TARGETED.of(AT_20[name])}
print(best)
sparing = [[harm(a, DOMAINS[:3]) for a in TARGETED.column(AT_20[name], "after")]
           for name in ("relevant experts", "random experts")]  # fmt: skip
print(f"without arithmetic, relevant against lot: {paired(*sparing)}")

# %% tags=["nbval-check-output"]
assert paired(*sparing).high < 0
print("PASS: pushed to learn as much, the lot harms code, English and languages more")

# %% [markdown]
# So relevance does spare the others in the end, by another way than it is told: relevant experts
# reach the skill at a rate that hurts less. None of these is gentle, though. A rate chosen for the
# new skill alone is a rate chosen against everybody else.
#
# Does the order stay in longer runs? Three and ten times the steps, three samples each, first at
# the one rate and then each way at its best rate of five for that length.


# %%
def every_length(name: str):
    """Join the stored runs of the shortest length and of the longer ones."""
    return with_longer(stored(name), stored(f"{name}_longer"))


# %%
AT = targeted.LENGTHS


def over(grid, name: str, value) -> list[list[float]]:
    """Read one way at every stored length."""
    return [[value(a) for a in grid.column(at_length(name, n), "after")] for n in AT]


# %%
for title in ("12_targeted_one_rate", "12_targeted"):
    grid = every_length(title)
    skills = {name: over(grid, name, lambda a: a[SKILL]) for name in targeted.LONGEST}
    harms = {name: over(grid, name, harm) for name in targeted.LONGEST}
    others = {name: over(grid, name, lambda a: harm(a, DOMAINS[:3])) for name in targeted.LONGEST}
    show_figure(plots.at_lengths(AT, {"new skill": skills, "harm to the old": harms}))
    for i, n in enumerate(AT):
        sides = [curves[f"{who} experts"][i] for curves in (harms, others)
                 for who in ("relevant", "random")]  # fmt: skip
        print(f"{title}, {n} steps, relevant minus lot: harm {paired(*sides[:2])}, "
              f"without arithmetic {paired(*sides[2:])}")  # fmt: skip

# %% [markdown]
# **What to see.** At one rate the lot is gentler for sure at 20 steps only; in the longer runs its
# samples differ so much that three cannot tell, and outside arithmetic nothing is told apart. At
# rates of their own the order is the other way round, and more so the longer it goes: the lot needs
# the highest rate that was tried to come near the skill, and the harm follows the rate. Both are
# true: **at an equal rate little is forgotten because little is learned; for an equal skill the
# relevant experts cost the others less.** A report that gives one of the two has chosen its answer.

# %% tags=["nbval-check-output"]
for i in range(len(AT)):  # the last grid: each way at its own rate
    assert paired(others["relevant experts"][i], others["random experts"][i]).high < 0
print("PASS: for the skill's own best rates, relevance spares the others at every length")

# %% [markdown]
# ## Upcycling: a dense model becomes sparse
#
# Where do models with experts come from, if a good dense one is there already? Copy its
# feed-forward into every expert, and put a new router before them (Komatsuzaki et al. 2022, arXiv
# 2212.05055). What does the model answer right after the surgery?

# %%
check("12.q2", ...)

# %% [markdown]
# One small dense model that has learned country names for some steps, and three ways to cut it.

# %%
dense = upcycle.dense(0)
upcycle.study(dense, by_mode(full=100, fast=40), 0.008, seed=0)
STEP_0 = {"dense": upcycle.recall(dense)}
for name, how in upcycle.UPCYCLED.items():
    STEP_0[name] = upcycle.recall(upcycle.upcycle(dense, upcycle.N_EXPERTS, **how))
for name, loss in STEP_0.items():
    print(f"{name:28} {loss:.3f} nats a byte")

# %% [markdown]
# Why raw gates jump, by hand: a router that knows nothing gives each of 8 experts about 1/8, and
# the answer of the one that is asked is weighed by that.

# %%
answer = torch.tensor([2.0, -1.0, 0.5])  # what every copy says
probs = torch.randn(8, generator=torch.Generator().manual_seed(0)).mul(0.05).softmax(dim=-1)
raw, two = probs.topk(1).values, probs.topk(2).values
print("raw top-1:          ", (raw[:, None] * answer).sum(dim=0))
print("top-2, sum to one:  ", ((two / two.sum())[:, None] * answer).sum(dim=0))

# %% tags=["nbval-check-output"]
assert abs(STEP_0["upcycled, gates sum to 1"] - STEP_0["dense"]) < 1e-3
assert STEP_0["upcycled, raw top-1 gates"] > STEP_0["dense"] + 0.1
print("PASS: gates that sum to one change nothing at step 0; raw top-1 gates do")

# %% [markdown]
# Top-1 with gates made to sum to 1 would not jump either; but then its gate is 1 whatever the
# router says, and the router never learns (chapter 03). With two there is something to choose.
#
# ### And then?
#
# Stored: the dense model learns n steps, then each way goes on for 0.6 n; *from scratch* has the
# same 1.6 n steps in all. Upcycled top-2 computes twice as much in its feed-forwards as dense.

# %%
UP, UP_AT = every_length("12_upcycle"), upcycle.LENGTHS


def ends(name: str) -> list[list[float]]:
    """Read the final losses of one way at every stored length."""
    return [UP.column(at_length(name, n), "loss") for n in UP_AT]


# %%
show_figure(plots.at_lengths(UP_AT, {"nats a byte": {name: ends(name) for name in upcycle.WAYS}}))
for name in upcycle.UPCYCLED:
    gaps = zip(UP_AT, ends(name), ends("stays dense"), strict=True)
    print(f"{name:26} against dense:", "; ".join(f"n {n}: {paired(a, b)}" for n, a, b in gaps))
for name in upcycle.FROM_SCRATCH:
    gaps = zip(UP_AT, ends("upcycled, gates sum to 1"), ends(name), strict=True)
    print(f"upcycled against {name}:", "; ".join(f"n {n}: {paired(a, b)}" for n, a, b in gaps))

# %% [markdown]
# **What to see.** The jump of raw gates costs steps and no model: at the end these models are not
# told apart from the dense one, with one expert a token where the others have two. At the shortest
# length all three ways are within 0.03 nats of going on with the dense model. At three and ten
# times that length the model upcycled with two experts a token is ahead of it, in every seed.
#
# But a new MoE with all 1.6 n steps is ahead of both. So it depends on who counts: who has the
# dense model already has only 0.6 n to spend, and a new MoE of 0.6 n is far behind. Upcycling saves
# what was spent on a dense model; it is no reason to train one first.

# %% tags=["nbval-check-output"]
upcycled, went_on = ends("upcycled, gates sum to 1"), ends("stays dense")
anew, anew_short = (ends(name) for name in upcycle.FROM_SCRATCH)
for i in (1, 2):  # three and ten times the shortest length
    rows = zip(anew[i], upcycled[i], went_on[i], anew_short[i], strict=True)
    assert all(new < up < dense < short for new, up, dense, short in rows)
print("PASS: in every seed of the longer runs, all steps anew < upcycled < dense < 0.6 n anew")

# %% [markdown]
# ## Branches, side by side
#
# Train copies of one dense seed apart, each on its own domain, perhaps in different houses; then
# put their feed-forwards side by side as experts and train a router. Two ways: *average*, where all
# of a branch learns and everything but feed-forwards is averaged at the end (Branch-Train-MiX,
# arXiv 2403.07816), and *frozen*, where only feed-forwards learn and the trunk stays one for all
# (FlexOlmo, arXiv 2507.07024). These differ in two things, what a branch trains and whose trunk the
# merged model has. So there is a third way, which differs from each in one: branches learn whole,
# and their feed-forwards are then put **on the seed's trunk**. The measure: of what the best branch
# for each domain (an oracle) gains over the seed, how much does the merged model have?

# %%
show(compose.recovered)

# %% [markdown]
# Your own seed first (n = 50 steps for the seed and for each of three branches, 0.4 n for the
# router), then the stored ones.

# %%
SEED = 7
yours = compose.measure_compose(Horizon("frozen", "frozen", by_mode(full=50, fast=20), 0.008), SEED)
print(f"your seed {SEED}, frozen trunk: {compose.recovered(yours):.0%} of the oracle's gain")

# %%
BTX, BTX_AT = every_length("12_compose"), compose.LENGTHS


def runs(way: str) -> list[list[dict]]:
    """Give the results of one way, a list for each stored length."""
    return [[cell.result for cell in BTX.of(at_length(way, n))] for n in BTX_AT]


def level(losses: dict[str, float]) -> float:
    """Average over the four domains."""
    return mean(losses[d] for d in DOMAINS)


# %%
MERGES = ("average", "frozen", compose.WHOLE_ON_SEED)
SHARES = {way: [[compose.recovered(r) for r in own] for own in runs(way)] for way in MERGES}
LEVELS = {
    way: [[level(r["tuned"]) for r in own] for own in runs(way)] for way in (*MERGES, "jointly")
}
show_figure(plots.at_lengths(BTX_AT, {"share of the oracle's gain": SHARES, "nats a byte": LEVELS}))
for i, n in enumerate(BTX_AT):
    frozen, average, whole = (
        SHARES[way][i] for way in ("frozen", "average", compose.WHOLE_ON_SEED)
    )
    print(f"n = {n}: frozen {mean(frozen):.0%}, average {mean(average):.0%}, whole branches on the "
          f"seed's trunk {mean(whole):.0%} of the oracle's gain")  # fmt: skip

# %% tags=["nbval-check-output"]
for frozen, average, whole in zip(*(SHARES[way] for way in ("frozen", *MERGES[::2])), strict=True):
    rows = list(zip(frozen, average, whole, strict=True))
    assert all(kept > max(0.1, mixed, put) and abs(put) < 0.05 for kept, mixed, put in rows)
print("PASS: at every length, in every seed, only the frozen trunk keeps a part of the gain")

# %% [markdown]
# The control of equal steps: **one dense model** that learns all four domains for as many steps as
# seed, branches and router together.

# %%
for i, n in enumerate(BTX_AT):
    frozen = LEVELS["frozen"][i]
    gaps = {way: paired(frozen, LEVELS[way][i]) for way in compose.WAYS if way != "frozen"}
    print(f"n = {n}: loss of frozen minus", "; ".join(f"{way} {gap}" for way, gap in gaps.items()))

# %% [markdown]
# **What to see.** With the frozen trunk the merged model keeps about a quarter of what its branches
# know, at each of three lengths. With the averaged one it keeps nothing, and in the longer runs it
# is worse than the seed that it came from. The third way says which of the two differences does
# it: without the averaging the harm is gone, and there is no gain either, for the model is the seed
# again. So averaging a trunk harms, and a trunk left alone is not enough: the experts must have
# been trained beside the trunk on which they are put.
#
# (Whole branches learn more, and so does their oracle; that makes a share smaller. The losses say
# the same without shares, where their intervals leave out 0.) No way keeps all: a router of a few
# steps does not know what the oracle is told. And the plain control beats all by far: if all texts
# may be in one place, train **one** model on them. Branches are for those who cannot share their
# texts, or have several machines and little time.
#
# ## One slot, several contents
#
# The merged model with the frozen trunk has an expert for arithmetic. Train that branch further, on
# arithmetic and the new skill, and put it into the same slot, router untouched; or put the seed's
# own feed-forward there (somebody opts out); or code's expert. Five seeds, n = 50.

# %%
FROZEN = runs("frozen")[0]
CONTENTS = {"before": "tuned", "installed": "installed", "opted out": "seed's expert",
            "code's expert": "code's expert", "rolled back": "rolled back"}  # fmt: skip
SLOT = {
    name: {d: [r[key][d] for r in FROZEN] for d in (*DOMAINS, SKILL)}
    for name, key in CONTENTS.items()
}
show_figure(plots.by_domain(SLOT, "nats a byte"))

# %%
for name in ("installed", "opted out", "code's expert"):
    moved = {d: paired(SLOT[name][d], SLOT["before"][d]) for d in (*DOMAINS, SKILL)}
    print(f"{name:14}", "; ".join(f"{d} {gap}" for d, gap in moved.items()))
tuned = [r["installed, router tuned"][SKILL] for r in FROZEN]
alone = [r["specialist"][SKILL] for r in FROZEN]
print(
    f"skill with the router tuned too: {mean(tuned):.2f}; the specialist alone: {mean(alone):.2f}"
)

# %% tags=["nbval-check-output"]
assert all(r["bitwise"] for r in FROZEN) and SLOT["rolled back"] == SLOT["before"]
assert all(a < b for a, b in zip(SLOT["installed"][SKILL], SLOT["before"][SKILL], strict=True))
wrong = zip(SLOT["code's expert"]["arithmetic"], SLOT["before"]["arithmetic"], strict=True)
assert all(a > b for a, b in wrong)
print("PASS: the skill in every seed; another domain's expert hurts in every seed")

# %% [markdown]
# **What to see.** The newcomer brings the skill without any training of the router, because the
# lines that look like arithmetic come to its place anyway. The other domains hardly move. Opting
# out costs arithmetic, and filling the slot with code's expert costs it more: what stands in a slot
# must be what the router sends there. Tuning the router as well brings more, and is no longer a
# change of one file.
#
# ### Play

# %%
from moe_teach.widgets.expert_shelf import ExpertShelf
from moe_teach.widgets.shelf_record import Measured, ShelfModule, ShelfRecord

ROW = (*DOMAINS, SKILL)
NAMES = {"arithmetic": "before", "arithmetic and remainders": "installed", "seed": "opted out",
         "code": "code's expert"}  # fmt: skip
modules = [ShelfModule(name, name, "of the seed") for name in NAMES]
losses = {n: torch.tensor([SLOT[c][d] for d in ROW]).T.numpy() for n, c in NAMES.items()}
measured = [Measured((name,), loss, losses["arithmetic"]) for name, loss in losses.items()]
ExpertShelf(
    ShelfRecord(("arithmetic's place",), modules, ("arithmetic",), ROW, measured, "of the seed")
)

# %% [markdown]
# ## Fewer experts
#
# The other way round: a customer who reads one kind of text does not need all 16. Keep half of each
# layer for code, by router weight times the size of the expert's answer (REAP, Lasby et al. 2025,
# arXiv 2510.13999), by load, or by lot; measure on held-out code. No training.

# %%
sample = [reading.at(step) for step in range(by_mode(full=4, fast=2))]
scores = {
    "router weight times activation": by_router_weighted_activation(base, sample),
    "load": by_load(base, sample),
} | {f"lot {seed}": at_random(relevance, seed) for seed in range(3)}
PRUNED = {
    name: targeted.losses(prune_experts(base, best_experts(score, 8)))["code"]
    for name, score in scores.items()
}
print(f"all 16 experts: {BEFORE['code']:.3f}")
for name, loss in PRUNED.items():
    print(f"8 kept by {name:30} {loss:.3f}")

# %% tags=["nbval-check-output"]
lots = [loss for name, loss in PRUNED.items() if name.startswith("lot")]
assert max(PRUNED["load"], PRUNED["router weight times activation"]) < min(lots)
assert min(PRUNED.values()) > BEFORE["code"]
print("PASS: either score is better than three lots; none is free")

# %% [markdown]
# ## What could be wrong with these results
#
# - Models of 0.1 to 2 million weights, one new skill, and that skill is next door to arithmetic. A
#   skill that is far from everything the model can do may need more than four experts.
# - In the tuning experiment the base is one model; seeds are samples.
# - Every way runs at its best rate of four or five, searched for each length, on one other seed.
#   Several of the tuning experiment's best rates are the highest that was tried.
# - "Equal steps" is not equal time: a merged model of four experts computes twice as much in its
#   feed-forwards as a dense one, and branches can be trained at the same time in four houses.
# - The oracle knows which domain a text is of; no router is told.
# - Nobody attacked anything here. A digest says that a module fits a trunk, and not that it is
#   honest: a module can carry what its label does not say.
#
# ## What you take with you
#
# - A module is weights, router row, trunk and *measured effects*, its harm among them. Rolled back
#   by writing the old rows, it leaves nothing.
# - The trunk is the socket. Frozen, modules of different houses fit beside each other; averaged,
#   every expert gets a trunk it was not trained beside.
# - Relevance buys the skill; low forgetting goes together with training little. Ask for the lot's
#   row.
# - Gates that sum to one make upcycling start where the dense model stopped.
# - If you have all the data in one place, training one model on it is the thing to beat.
#
# In the exercises you cut a dense layer into small experts, choose whom to train, merge branches,
# swap an expert, and find out why frozen experts moved.
