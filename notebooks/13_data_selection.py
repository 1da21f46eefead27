# %% [markdown]
# # 13 Data selection
#
# **Claim: which examples a model learns from matters; on a stream with junk, choosing them saves
# most of the steps. What that is worth depends on what is counted and on what there is to leave
# out: you will draw the same runs over other axes, and then take the junk away.**
#
# JEST (Evans et al. 2024, arXiv 2406.17711) reports 13 times fewer iterations and 10 times less
# computing for training on images and their captions. That sentence went round the world as "data
# selection makes training many times cheaper". Here you take it apart at a size where every part of
# it runs: a small language model, a stream of known junk, and a matching task whose truth is known.

# %%
from dataclasses import replace
from statistics import mean, median

import torch

from moe_teach.chapters.ch13_data_selection import figures as plots
from moe_teach.chapters.ch13_data_selection.experiments import stream
from moe_teach.chapters.ch13_data_selection.experiments.reading import prices, reached
from moe_teach.course import by_mode, check, show
from moe_teach.course.experiments import stored
from moe_teach.data.corpus import DOMAINS
from moe_teach.data.pairs import name_pairs
from moe_teach.data.selection.choosing import choose_independently, choose_jointly
from moe_teach.data.selection.scores import learnability
from moe_teach.data.tokenizer import ByteTokenizer
from moe_teach.plots.style import show_figure
from moe_teach.train.differences import paired
from moe_teach.train.experiment import Cell
from moe_teach.train.horizons import Horizon
from moe_teach.train.selector import ScoreSelector, row_losses, selected

# %% [markdown]
# ## The curve that people quote
#
# A stream of bytes: 40 % is text of the course's four domains, 60 % is junk, half of it text whose
# bytes were shuffled, half random bytes. Two copies of one model learn from it. One takes what
# comes, 8 rows a step. The other looks at 40 rows, gives each a score, and learns from 8 of them.
# Both are measured on clean text that neither has seen, five seeds each.

# %%
runs = stored("13_stream")


def cells(name: str, steps: int = 250, grid=runs) -> tuple[Cell, ...]:
    return grid.of(f"{name}, {steps} steps")


junk = {name: cells(f"{name}, junk") for name in ("uniform", "learnability")}
LOSS = "loss on clean text (nats a byte)"
show_figure(plots.over_axes(junk, "loss", LOSS, axes=("steps",)))

# %%
bought = prices(
    runs, "learnability, junk, 250 steps", "uniform, junk, 250 steps", "loss", lowest=True
)
fewer = [1 / one.steps for one in bought]
print("times fewer steps, seed by seed:", "  ".join(f"{times:.1f}" for times in fewer))

# %% [markdown]
# **What to see.** The one that chooses is where the other one ends after a small part of the steps,
# with every seed. This is a real effect, and a curve like it is what is quoted.
#
# ## What the score is
#
# The score is **learnability** (Mindermann et al. 2022, arXiv 2206.07137; JEST, section 3.1): the
# loss of the model that learns, minus the loss of a **reference**, a model that was trained before
# on text known to be good.
#
# $$s(x) = \ell_\text{learner}(x) - \ell_\text{reference}(x)$$
#
# Noise is hard for both, and what is known is easy for both; what is left is what the learner does
# not know yet and can learn. Here is the reference, and a learner at its very beginning.

# %%
reference = stream.reference()
learner = stream.seeded_model(stream.CONFIG, 0)
candidates = stream.stream(junk=0.6, n_rows=40, seed=0).at(0)
KINDS = (*DOMAINS, "shuffled", "random")
kinds = [KINDS[i] for i in candidates.domain_ids.tolist()]

# %%
ours, theirs = row_losses(learner, candidates), row_losses(reference, candidates)
score = learnability(ours, theirs)
for kind in KINDS:
    rows = torch.tensor([kind == own for own in kinds])
    if rows.any():
        print(
            f"{kind:11} learner {ours[rows].mean():.2f}  reference {theirs[rows].mean():.2f}  "
            f"score {score[rows].mean():+.2f}"
        )

# %% [markdown]
# The learner finds everything equally hard. Only the reference tells text from junk, and it does so
# without anybody having told it what junk is.
#
# ## From scores to a batch
#
# Taking the eight highest would be greedy: the same few rows whenever they come along. JEST draws
# instead, row $i$ with odds $e^{\tau s_i}$, none twice. A trick does it in one line: add noise of
# Gumbel's distribution and take the highest (Kool et al. 2019, arXiv 1903.06059).

# %%
drawn = torch.Generator().manual_seed(0)
noise = -torch.empty(40).exponential_(generator=drawn).log()
by_hand = (8.0 * score + noise).topk(8).indices
print("chosen:", ", ".join(kinds[i] for i in by_hand))

# %%
show(choose_independently)

# %% tags=["nbval-check-output"]
odds = torch.tensor([0.0, 1.0])
draws = [int(choose_independently(odds, 1, drawn)) for _ in range(4000)]
expected = float(odds.softmax(0)[1])
assert abs(mean(draws) - expected) < 0.03
print("PASS: a row comes as often as the odds of its score say")

# %% [markdown]
# In the loop, a **selector** stands between stream and step: it is handed 40 rows and gives back 8.
# Its choice depends on the weights, the rows, the seed and the step and on nothing else, so a run
# that was stopped goes on as if it had not been.

# %%
selector = ScoreSelector("learnability", 40, reference)
batch = selected(selector, learner, candidates, 8, step=0)
print(f"{len(batch.inputs)} of {len(candidates.inputs)} rows:", batch.domain_ids.tolist())

# %% [markdown]
# ## Your own two runs
#
# Now train both, with a seed of your own; they are drawn dotted over the stored ones.

# %%
N_STEPS = by_mode(full=250, fast=20)
MY_SEED = 7
mine = {}
for name in ("uniform", "learnability"):
    setting = stream.COMPARED[f"{name}, junk"]
    found = stream.measure_stream(Horizon(name, setting, N_STEPS, 0.004), MY_SEED)
    mine[name] = replace(junk[name][0], seed=MY_SEED, result=found)
    print(f"{name:13} {found['final']:.3f} nats after {N_STEPS} steps")

# %% [markdown]
# ## Predict
#
# A step that chooses is not one step. It sends 40 rows through two models before it learns from 8.

# %%
check("13.q1", ...)

# %% [markdown]
# The bill of a step, in units of one row's forward pass. Learning from a row takes three (forward,
# and a backward pass of twice its cost; `moe_teach.cost`), scoring one for each model that is
# asked.

# %%
plain, with_scores = 8 * 3, 8 * 3 + 40 * 2
print(f"uniform {plain}, learnability {with_scores}: {with_scores / plain:.2f} times as much")

# %% tags=["nbval-check-output"]
counted = {name: own[0].result["flops_per_step"] for name, own in junk.items()}
assert abs(counted["learnability"] / counted["uniform"] - with_scores / plain) < 0.01
print("PASS: the FLOPs that the library counts have the same ratio")

# %% [markdown]
# ## The same runs, three axes
#
# Nothing is trained anew here. Every point keeps its height and moves to where its price is.

# %%
show_figure(plots.over_axes(junk, "loss", LOSS, live=mine))

# %%
for axis in ("steps", "flops", "seconds", "with_reference"):
    shares = [getattr(one, axis) for one in bought]
    print(
        f"{axis:15} {median(shares):5.2f} of uniform's until its last loss is reached "
        f"({min(shares):.2f} to {max(shares):.2f})"
    )

# %% tags=["nbval-check-output"]
assert all(one.steps < one.flops < one.with_reference for one in bought)
assert max(one.steps for one in bought) < 0.5
print("PASS: with every seed fewer than half the steps, and what is saved shrinks with what counts")

# %% [markdown]
# **What to see.** On the left the lead that is quoted. In the middle the same lead, divided by the
# price of a step: about nothing is left. In seconds a little is: on this machine a forward pass of
# many rows takes less time for each operation than a step on few. The last line adds the
# reference: its training counts once, and here it serves one run. A reference that serves a hundred
# runs costs each of them a hundredth; who trains one model once pays all of it.
#
# ## Where does the gain come from?
#
# Four rules, by what they chose. "Easy" takes what the reference finds likely, "hard" what the
# learner finds unlikely.

# %%
RULES = ("uniform", "learnability", "easy", "hard")
clean = {name: [cell.result["clean_share"] for cell in cells(f"{name}, junk")] for name in RULES}
show_figure(plots.shares(clean, 0.4, "share of the chosen rows that are text"))

# %%
last = {name: [cell.result["final"] for cell in cells(f"{name}, junk")] for name in RULES}
for name in RULES[1:]:
    gap = paired(last[name], last["uniform"])
    print(f"{name:13} {mean(last[name]):.3f} nats, {gap} against uniform")

# %% [markdown]
# Learnability learns nearly only from text. But so does "easy", more so even, and after 250 steps
# it ends higher: leaving out junk is not all. And "hard", which is what a teacher would call
# ambitious, learns noise. "Easy" asks one model only, the reference, so its steps are cheaper:

# %%
for name in ("learnability", "easy"):
    own = prices(runs, f"{name}, junk, 250 steps", "uniform, junk, 250 steps", "loss", lowest=True)
    shares = sorted(one.flops for one in own)
    print(f"{name:13} is at uniform's end after {shares[0]:.2f} to {shares[-1]:.2f} of its FLOPs")

# %% [markdown]
# Over all that is computed, the simplest filter is not behind the clever score up to there; it is
# later that it has nothing more to give. To see how much of the gain is the junk, take the junk
# away.

# %%
check("13.q2", ...)

# %%
tidy = {name: cells(f"{name}, clean") for name in ("uniform", "learnability")}
show_figure(plots.over_axes(tidy, "loss", LOSS, axes=("steps", "flops")))

# %%
ends = {name: [cell.result["final"] for cell in own] for name, own in tidy.items()}
on_clean = paired(ends["learnability"], ends["uniform"])
on_junk = paired(last["learnability"], last["uniform"])
print(f"learnability against uniform, nats: {on_junk} with junk, {on_clean} without")

# %% tags=["nbval-check-output"]
assert on_junk.high < 0
assert abs(on_clean.mean) < 0.25 * abs(on_junk.mean)
print("PASS: without junk, less than a quarter of the gain is left")

# %% [markdown]
# This is the control that takes away the cause and nothing else: same models, same rule, same
# number of candidates. What is left on clean text is small, and the interval says whether it is
# anything at all.
#
# ## Longer runs
#
# A gain in the first 250 steps may be a head start that the others make up for. Three and ten times
# the length, three seeds; each rule at its best rate of four, searched at 250 and at 750 steps.

# %%
GRIDS = {250: runs, 750: stored("13_stream_longer"), 2500: stored("13_stream_longest")}
for kind in ("junk", "clean"):
    for steps, grid in GRIDS.items():
        end = f"{kind}, {steps} steps"
        pair = [grid.column(f"{name}, {end}", "final") for name in ("learnability", "uniform")]
        own = prices(grid, f"learnability, {end}", f"uniform, {end}", "loss", lowest=True)
        there = [one.flops for one in own if one.flops is not None]
        paid = f"{median(there):.2f} of its FLOPs" if there else "no price"
        print(
            f"{end:18} {paired(*pair)} nats; uniform's end reached by {len(there)} of {len(own)}, "
            f"at {paid}"
        )

# %% [markdown]
# **What to see.** With junk the lead in nats shrinks as the runs get longer, and over operations it
# swings around nothing: a little saved at 750 steps, more spent at 2,500. On clean text nothing is
# told apart at 250 and 750 steps, and at 2,500 learnability is *worse* than uniform. That goes
# together with something else: the reference learned for 250 steps on clean text, as long as
# uniform in the figure above, and the longer runs leave it behind. A score that asks what the
# reference knows better has little left to say then.
#
# Is that why? Take it away and nothing else: the same runs of 2,500 steps, and a reference that
# learned for 2,500 steps itself.

# %%
LONG_REFERENCE = stored("13_reference")
WITH = {}
for kind in ("junk", "clean"):
    taught = LONG_REFERENCE.column(f"{kind}, 2500 steps", "final")
    sides = (GRIDS[2500].column(f"{name}, {kind}, 2500 steps", "final")
             for name in ("uniform", "learnability"))  # fmt: skip
    WITH[kind] = [paired(taught, side) for side in sides]
    print(f"{kind:5} against uniform {WITH[kind][0]}, against the short reference {WITH[kind][1]}")

# %% tags=["nbval-check-output"]
assert all(against_short.high < 0 for _, against_short in WITH.values())
assert WITH["clean"][0].low < 0 < WITH["clean"][0].high
print("PASS: a reference that is not left behind does no harm on clean text, and helps no more")

# %% [markdown]
# So it is: with a reference that keeps up, the harm on clean text is gone, and the lead with junk
# is larger. It costs ten times the training, and on clean text it still buys nothing that is told
# from nothing.

# %% [markdown]
# ## How many to look at
#
# JEST calls the share that is thrown away the **filter ratio**. More candidates make a better batch
# and a dearer step.

# %%
filters = stored("13_filters")
for ratio in ("50%", "80%", "90%"):
    own = filters.of(f"filter {ratio}")
    there = [
        reached(cell.result["steps"], cell.result["loss"], mean(last["uniform"]), lowest=True)
        for cell in own
    ]
    price = own[0].result["flops_per_step"] / counted["uniform"]
    print(
        f"{ratio}: a step costs {price:.1f}, uniform's end after {median(there):.0f} steps, that "
        f"is {median(there) * price / 250:.2f} of its FLOPs"
    )

# %% [markdown]
# ## Jointly
#
# The J of JEST is for *joint*: it does not choose rows, it chooses a **batch**. That needs a loss
# in which the rows of a batch depend on each other, and the language model has no such loss. A
# contrastive one is of that kind: names of countries, languages and currencies in ten languages
# (Babel's), a batch of pairs, and for every left and every right name the question whether they
# belong together.

# %%
pairs, text = name_pairs("train").draw(5), ByteTokenizer()
for names in zip(pairs.left, pairs.right, strict=True):
    print(" = ".join(text.decode(b for b in name.tolist() if b) for name in names))

# %% [markdown]
# The sigmoid loss (SigLIP, arXiv 2303.15343) is a sum over all pairs $i, j$ of a batch, and so is
# its score. What a candidate adds to those chosen already, $C$, is then
#
# $$s(i \mid C) = s_{ii} + \sum_{k \in C} (s_{ik} + s_{ki})$$
#
# JEST builds the batch in chunks by this score (algorithm 1). By hand, for three candidates:

# %%
s = torch.tensor([[3.0, -5.0, 0.0], [-5.0, 3.0, 0.0], [0.0, 0.0, 2.0]])
first = int(s.diagonal().argmax())
given = s.diagonal() + s[:, first] + s[first, :]
given[first] = -torch.inf
print(f"first {first}, then {int(given.argmax())}; alone, 0 and 1 have the highest scores")

# %% tags=["nbval-check-output"]
together = choose_jointly(s, 2, n_chunks=2, drawn=torch.Generator(), scale=float("inf"))
assert together.tolist() == [first, int(given.argmax())]
print("PASS: by hand and by library, the same batch")

# %% [markdown]
# Now the race, at 200 steps and five seeds, with a control. "Mixed up" chooses in chunks as "joint"
# does, but each candidate gets the interactions of another one: numbers as large, which mean
# nothing for it. What it gains is not gained by knowing who else is in the batch.

# %%
matching = stored("13_joint")
WAYS = ("uniform", "independent", "joint", "mixed up", "easy", "hard")
FOUND = "held-back names matched"
shown = {way: matching.of(f"{way}, junk, 200 steps") for way in WAYS[:4]}
show_figure(plots.over_axes(shown, "matched", FOUND, axes=("steps", "flops")))


# %%
def matched(way: str, kind: str, steps: int = 200, grid=matching) -> list[float]:
    return grid.column(f"{way}, {kind}, {steps} steps", "final")


RACES = (
    ("independent", "uniform"),
    ("joint", "independent"),
    ("joint", "mixed up"),
    ("mixed up", "independent"),
)
for kind in ("junk", "clean"):
    print(kind, "  ".join(f"{way} {mean(matched(way, kind)):.2f}" for way in WAYS))
    for way, other in RACES:
        print(f"   {way} - {other}: {paired(matched(way, kind), matched(other, kind)):+.3f}")

# %% tags=["nbval-check-output"]
assert paired(matched("independent", "junk"), matched("uniform", "junk")).low > 0
print("PASS: choosing helps here, with junk")

# %% [markdown]
# **What to see.** Choosing singly gains much where there is junk. Choosing jointly gains nothing
# beyond that: the interval of the second line holds 0. Beside "mixed up" it may look better; but
# that is because false interactions harm, as the fourth line shows, and not because true ones help.
# Without the fourth line one would have told the story of the third.

# %%
LATER = {200: matching, 600: stored("13_joint_longer"), 2000: stored("13_joint_longest")}
for kind in ("junk", "clean"):
    for steps, grid in LATER.items():
        own = {way: matched(way, kind, steps, grid) for way in WAYS[:3]}
        gain = paired(own["independent"], own["uniform"])
        more = paired(own["joint"], own["independent"])
        print(
            f"{kind:6} {steps:5} steps: chosen singly {gain:+.3f}, jointly beyond that {more:+.3f}"
        )

# %% [markdown]
# **What to see.** With junk, choosing singly helps at every length. On clean pairs its gain is
# there at 200 and 600 steps and no longer told from nothing at 2,000. Jointly adds nothing
# anywhere.
#
# ## What is left of 13 and 10
#
# All runs of the first figure once more, to be moved by yourself.

# %%
from moe_teach.widgets.loss_axes import Curve, LossAxes

curves = [
    Curve(
        f"{name}, {kind}",
        cell.result["steps"],
        cell.result["loss"],
        cell.result["flops_per_step"],
        cell.result["cpu_seconds"][-1] / cell.result["steps"][-1],
        cell.seed,
    )
    for kind in ("junk", "clean")
    for name in ("uniform", "learnability")
    for cell in cells(f"{name}, {kind}")
]
LossAxes.of(curves)

# %% [markdown]
# Three things to try:
#
# 1. Steps, and the budget at a quarter of the axis. Who leads, and by how much?
# 2. The same budget over FLOPs. Who leads among the two on the noisy stream? And on the clean one?
# 3. Look for a budget at which learnability on clean text leads over uniform on clean text.

# %%
check("13.q3", ...)

# %% [markdown]
# ## What could be wrong with this result
#
# - **The size.** A model of some 100,000 parameters for seconds. JEST's gains are of runs of
#   billions of examples; web-scraped pairs hold far less junk than 60 %, but junk of a kind that a
#   filter does not see.
# - **The reference is strong.** It saw clean text of the same domains as the test. JEST's does too:
#   its paper says that all depends on a curated set. A reference on other text would choose other
#   rows.
# - **Rates.** Each rule had its best of four, by one seed, searched at the shortest length and at
#   three times that. The longest runs and other filter ratios kept those.
# - **Scoring could be cheaper.** JEST scores with a coarser picture and reports 10 times less
#   computing in that way; here scoring is done in full, and the reference's losses are computed
#   anew every time, although they could be stored.
# - **Joint choice** had one loss, one number of chunks and one scale here.
#
# ## Exercises
#
# In [the exercises](../exercises/13_data_selection.ipynb) you write the score and the sampler,
# build a joint batch, settle the bill, find what is wrong with a selector, and put yours into the
# loop.
