# %% [markdown]
# # 06b Balance in a language model
#
# **Claim: a small language model gets the same unused experts, and nobody planted anything. What
# they cost it, and where they come from, are questions of their own: the toy of lesson 06 answers
# neither for it.**
#
# The tokens of lesson 06 were made so that the effect could be seen. Here is the same question
# where nobody made it: a transformer of two layers with 16 experts each, one expert per byte, on
# the four domains of lesson 05. Most runs are stored, with five seeds; four are yours.

# %%
from dataclasses import replace
from statistics import mean, median

import numpy as np

from moe_teach.chapters.ch06_load_balancing import experiments as chapter
from moe_teach.chapters.ch06_load_balancing import text_figures as plots
from moe_teach.course import by_mode, check, show
from moe_teach.course.experiments import stored
from moe_teach.plots.style import show_figure
from moe_teach.train.differences import paired
from moe_teach.train.horizons import at_best

# %% [markdown]
# ## Half of the experts, and a loss that falls
#
# One training without any balancing, in a quarter of a minute (in fast mode your runs are shorter,
# and the texts describe the full ones). Every 25 steps: how many of the 32 experts (two layers of
# 16) are **dead**, with less than a tenth of their fair share?

# %%
seed = 0  # yours to change
text_steps, n_snapshots = by_mode(full=(250, 20), fast=(30, 6))
histories, recorders = {}, {}


def train(name: str) -> None:
    """Train under one way of balancing; a recorder looks at layer 1 for the replay below."""
    recorders[name] = chapter.Recorder(text_steps, seed, n_snapshots)
    setting = replace(chapter.TEXT[name], steps=text_steps)
    _, histories[name] = chapter.train_text(setting, seed, watch=recorders[name], progress=True)


# %%
train("no balancing")

# %%
records = histories["no balancing"].records
for step in range(24, text_steps, 25):
    state = chapter.summary(chapter.recent_load(records, step))
    loss = sum(record.task_loss for record in records[step - 9 : step + 1]) / 10
    print(
        f"step {step + 1:3}: {state['dead']:2} of 32 dead, training loss {loss:.2f} nats per byte"
    )

# %% [markdown]
# The loss falls from step to step, and a large part of the model takes no part in it. Memory was
# paid for all of it.
#
# ## Predict
#
# Balancing will wake these experts. Then the model has twice as many at work, in the same number of
# steps. What does that do to its loss on held-back text, which is about 2.3 nats per byte after
# 250 steps?

# %%
check("6.q5", ...)

# %% [markdown]
# ## Who is in use
#
# Train three more with your seed: with the Switch loss, with the bias, and with experts that
# choose.

# %%
for name in chapter.REPLAYED[1:]:
    train(name)

# %% [markdown]
# And five stored seeds for each of five ways. The **hash** has no router to balance: a fixed table
# from byte to expert.

# %%
STORED = stored("06_text")
names = ("no balancing", "Switch loss 0.01", "z-loss 0.001", "expert bias 0.001", "hash")
print(f"{'':18} dead of 32 at the end  MaxVio")
for name in names:
    ends = STORED.column(name, "validation")
    violation = median(end["max_violation"] for end in ends)
    print(f"{name:18} {[end['dead'] for end in ends]!s:22} {violation:5.1f}")


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
show_figure(plots.utilisation(courses, n_experts=32), max_colours=128)

# %% tags=["nbval-check-output"]
dead = {name: [end["dead"] for end in STORED.column(name, "validation")] for name in names}
assert min(dead["no balancing"]) >= 10 and min(dead["z-loss 0.001"]) >= 10
assert max(dead["Switch loss 0.01"]) <= 4 and max(dead["expert bias 0.001"]) <= 4
own = {name: courses[name].live[1][-1] for name in ("no balancing", "Switch loss 0.01")}
assert own["no balancing"] > own["Switch loss 0.01"]
print("PASS: without balancing a third of the experts and more are dead, for every seed")

# %% [markdown]
# **What to see**, in the stored runs: all but the Switch loss begin with a collapse, look at step
# 25. Without balancing some experts come back by themselves, and about half never do. The Switch
# loss prevents it. The bias heals it, slowly: its steps are small. The z-loss does neither.
#
# ## What it costs
#
# The right panel of the figure, in numbers: each seed against its own twin without balancing.

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
# After 250 steps at one rate for all, dead experts cost the **memory** they lie in, and no loss
# that five seeds can show: an effect of three hundredths of a nat is excluded, a smaller one is
# not. (Speed we did not measure.)
#
# In the toy, balance needed time to pay. Does it here? And is 0.004 a fair rate for everybody? You
# may answer the first question again before you go on.
#
# ### Three and ten times as long, each at a rate of its own
#
# So the six ways once more, in schedules three times as long: four rates for each, tried on a seed
# that is used for nothing else, at each length; then five new seeds at the best. Three of the ways
# run ten times as long as well.

# %%
runs = stored("06_text_horizons")
loss = {name: at_best(runs, name, "loss", chapter.BEST, range(5)) for name in chapter.COMPARED}
print(" " * 18 + "".join(f"{steps} steps".rjust(18) for steps in chapter.BEST))
for name, rows in loss.items():
    print(f"{name:18}" + "".join(f"{mean(row):18.3f}" for row in rows))

# %%
longer = {
    name: [paired(*both) for both in zip(rows, loss["no balancing"], strict=False)]
    for name, rows in loss.items()
    if name != "no balancing"
}
print("nats against no balancing, 95 % intervals over five seeds")
for name, gaps in longer.items():
    print(f"{name:18}" + "".join(f"{gap:+.3f}".rjust(18) for gap in gaps))

# %% tags=["nbval-check-output"]
ends = {name: at_best(runs, name, "validation", chapter.BEST, range(5)) for name in loss}
for row in ends["no balancing"]:
    assert min(end["dead"] for end in row) >= 10
for name in ("Switch loss 0.01", "Switch loss 0.1"):
    assert max(end["dead"] for row in ends[name] for end in row) <= 4
    assert all(max(abs(gap.low), abs(gap.high)) < 0.03 for gap in longer[name][:2])
assert longer["Switch loss 0.01"][2].high < -0.01
assert all(gap.high < -0.03 for gap in longer["hash"])
print("PASS: waking the dead third buys under 0.03 nats in 250 and 750 steps, and pays in 2,500")

# %% [markdown]
# **What to see.** More steps wake hardly anybody: without balancing a dozen and more are dead at
# 250 steps, at 750 and at 2,500. With the Switch loss nearly all 32 work. For 750 steps the loss is
# the same, to three hundredths of a nat; the bias even pays two hundredths then, just clear of
# zero.
#
# And at 2,500 steps the line turns: the balanced model is **ahead**, by about three hundredths of a
# nat, in each of five seeds, and the interval leaves out zero. As in the toy, balance buys use of
# what was paid for at once, and loss only when the training is long enough. That a longer one would
# buy more is likely and was not run; so was neither the bias nor expert choice at this length.
#
# One row stands out, at every length. The **hash** is less even than the Switch loss makes a
# router, and its loss is lower by a tenth to a fifth of a nat. Part of that may be its gate, which
# is 1, while a learned top-1 gate is a probability; lesson 05 has more of that. In any case:
# evenness did not decide it.
#
# ## Where the collapse comes from
#
# The toy collapsed as its router saw tokens that look alike, and we made them so, for good. Nobody
# gave these bytes a common part. So measure it: take the inputs of the routers, and the cosine of
# two of them, while the model learns. A new model has about 0.25. What will it be later?

# %%
check("6.q6", ...)

# %%
show(chapter.likeness)

# %%
ALIKE = stored("06_likeness")
steps = ALIKE.cells[0].result["steps"]
cosines, deaths = (
    {name: np.array(ALIKE.column(name, key)) for name in ALIKE.names}
    for key in ("likeness", "dead")
)
BALANCED = ("no balancing", "Switch loss 0.01")
show_figure(
    plots.likeness_and_dead(
        steps, {n: cosines[n] for n in BALANCED}, {n: deaths[n] for n in BALANCED}
    ),
    max_colours=64,
)

# %% tags=["nbval-check-output"]
peak = steps.index(15)
for name in BALANCED:
    assert (cosines[name][:, peak] > 0.9).all()
    assert (cosines[name][:, 0] < 0.45).all() and (cosines[name][:, -1] < 0.45).all()
both = [cosines[name][:, peak] for name in BALANCED]
assert abs(both[0] - both[1]).max() < 0.02 and deaths["no balancing"].max(axis=1).min() >= 24
print("PASS: around step 15 all tokens look alike, for ten runs of ten, balanced or not")

# %% [markdown]
# **What to see.** For some thirty steps it is like the toy, and this time nobody made it: the
# hidden states point the same way, and most experts are idle. Then the states part again, and
# experts return. In the toy it never ends. The upper curves are the same with and without
# balancing, so looking alike is no consequence of the collapse.
#
# Why does the Switch loss have twenty dead here and five in the figure before? Here each batch is
# counted alone, there ten in a row. At the peak whole batches swing from expert to expert; with the
# loss they take turns. Exercise 6.4 is about that.
#
# ### Take it away
#
# Is it the cause? The two go together; that is not enough. Do what solved the case in the toy, and
# nothing else: let every **router** see its tokens less the mean of their batch. The experts, the
# loss and all the rest stay as they are. If what the tokens share is the cause, then no expert
# dies. What do you expect at step 15, and what at step 150?

# %%
CENTRED = "none, routers centred"
print("dead of 32 in the step's own batch, five seeds")
for step in (1, 15, 25, 50, 100, 150):
    at = steps.index(step)
    with_it, without = (deaths[name][:, at].tolist() for name in ("no balancing", CENTRED))
    print(f"step {step:3}: as it is {with_it!s:22} routers centred {without}")

# %%
show_figure(
    plots.likeness_and_dead(
        steps,
        {n: cosines[n] for n in ("no balancing", CENTRED)},
        {n: deaths[n] for n in ("no balancing", CENTRED)},
    ),
    max_colours=64,
)

# %% tags=["nbval-check-output"]
early, late = steps.index(15), steps.index(50)
assert (deaths[CENTRED][:, early] <= 10).all() and (deaths["no balancing"][:, early] >= 23).all()
assert (deaths[CENTRED][:, late] >= 20).all()
gap = paired(deaths[CENTRED][:, -1].tolist(), deaths["no balancing"][:, -1].tolist())
print(f"dead at step 150, centred against as it is: {gap:+.1f}")
print("PASS: centred routers escape the first collapse, and at step 50 twenty experts are dead")

# %% [markdown]
# **What to see.** Half of our story stands. At step 15, when all tokens look alike, centred routers
# have five to ten dead experts where the others have 23 to 29: the early collapse **is** what the
# tokens share. But ten steps later the centred routers collapse as well, while the tokens part
# again, and at step 50 nobody could tell the two rows by their dead. At the end there are about
# five fewer.
#
# So the dead half of a trained model has another cause than the toy's, or a second one, and this
# page does not know it. Centring is no cure here. An earlier version of this lesson called the
# likeness the likely cause. It was, for thirty steps.
#
# (Two caveats: the mean was taken over the batch, so a router saw a trace of other tokens, the
# later ones too. And what the tokens share at step 15 we did not measure; how common each byte is
# would be a good guess.)
#
# ## Expert choice sees the future
#
# It is missing in the table above, for a reason. Lesson 06 showed that an expert which chooses
# among all tokens of a batch looks at later ones. How far does that go in a language model? Change
# the last byte of every held-back window: do earlier predictions move?

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
# Put the first number into the comparison, and expert choice looks like the best learned router in
# some seeds. Put the second one in, and it is the last. The first must not stand there: it was
# measured on another task. But is it the leak that makes it better? The second number changes two
# things: the future is gone, **and** the model is used in a way it was never trained for. Which of
# the two costs those hundredths of a nat?
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
# ## What could be wrong with these results
#
# - 2,500 steps of a model with two layers say little about 100,000 steps of one with sixty. Had we
#   stopped at 750, this page would say that imbalance costs no loss.
# - The first table has one learning rate for all; the longer ones search four on one seed. Each
#   method but the Switch loss got only one strength.
# - Held-back text is 256 windows of 64 bytes. Do not read anything into a hundredth of a nat.
# - "Dead" has a limit that we chose, a tenth of the fair share, over ten steps or in one batch.
# - The centred routers were watched for 150 steps, with one way of centring.
#
# ## Check yourself

# %%
check("6.q3", ...)

# %% [markdown]
# ## What you take with you
#
# - This language model leaves about half of its experts idle, without anybody planting anything.
#   The Switch loss prevents it, the bias heals it, the z-loss does neither.
# - In 250 and 750 steps that buys used memory and no loss that five seeds can show; in 2,500 it
#   buys three hundredths of a nat as well. **A verdict on balance needs a length.**
# - Tokens look alike for some thirty steps, and that explains the first collapse: centred routers
#   escape it. It does not explain the experts that stay dead.
# - Expert choice looks ahead. Measure it by a rule that can be kept when the model writes, such as
#   thresholds from training.
