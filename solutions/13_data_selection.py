# %% [markdown]
# # 13 Data selection: exercises
#
# A batch can be drawn, or it can be chosen. You write the score of a row, the draw by scores, the
# score of an example that joins others, and the bill, which says when choosing pays. Then you find
# what is wrong with selectors of other people, and in the end your own one chooses in the training
# loop: the last task is open, learn more from the same number of steps.

# %%
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from moe_teach.course import check, mine

# %% [markdown]
# ## Exercise 13.1: The score of a row
#
# Two models have read the same batch: the learner, which is being trained, and the reference, which
# was trained before. The **learnability** of a row is the learner's mean loss minus the
# reference's, in nats per target, over the targets that the row asks for. Rows are padded: a target
# of -100 is not asked for, wherever it stands. A row that asks for nothing scores 0.


# %%
def row_learnability(learner_logits: Tensor, reference_logits: Tensor, targets: Tensor) -> Tensor:
    """Score each row of a batch by what is still to be learned from it.

    learner_logits, reference_logits: (B, S, V), float32 or bfloat16, of any size; compute in
    float32. targets: (B, S), whole numbers below V, or -100.
    Returns (B,) in float32, without a gradient.
    """
    ### BEGIN SOLUTION
    n_asked = (targets != -100).sum(1)
    sums = [
        F.cross_entropy(
            logits.detach().float().transpose(1, 2), targets, ignore_index=-100, reduction="none"
        ).sum(1)
        for logits in (learner_logits, reference_logits)
    ]
    return (sums[0] - sums[1]) / n_asked.clamp(min=1)
    ### END SOLUTION


# %%
check("13.1", row_learnability)

# %% [markdown]
# A learner that has seen nothing, a reference that has seen clean text, and six kinds of rows: four
# of text, shuffled bytes of it, and bytes drawn evenly. What would each score choose first?

# %% tags=["play"]
from moe_teach.chapters.ch13_data_selection.experiments.stream import CONFIG, reference, stream
from moe_teach.train.seeding import seeded_model

score = mine("13.1")
batches = stream(0.6, 80, seed=0)
batch, learner = batches.at(0), seeded_model(CONFIG, 0)
with torch.no_grad():
    ours, theirs = learner(batch.inputs).logits, reference()(batch.inputs).logits
hard = F.cross_entropy(ours.transpose(1, 2), batch.targets, reduction="none").mean(1)
by_row = {"learner's loss": hard, "learnability": score(ours, theirs, batch.targets)}
for name, scores in by_row.items():
    for number, domain in enumerate(batches.domains):
        print(f"{name:15} {domain:12} {scores[batch.domain_ids == number].mean():.2f} nats")

# %% [markdown]
# ## Exercise 13.2: Drawn, not sorted
#
# A batch is drawn: the first row is row $i$ with a probability proportional to
# $\exp(\text{scale} \cdot \text{score}_i)$, the second one with the same odds among the rows that
# are left, and so on. Then every row has a chance, and a higher score a better one.
#
# - Scores may be as large as a thousand, either way; still the odds must be right, also those of
#   two rows that are both a thousand below the best.
# - At scale 0 all rows have equal odds. An infinite scale is the limit: the highest scores are
#   taken, and **of equal scores each row with equal odds**.
# - All chance comes from `drawn`: the same state of it gives the same rows, and each call moves it
#   on.


# %%
def draw_rows(scores: Tensor, n_chosen: int, scale: float, drawn: torch.Generator) -> Tensor:
    """Draw rows without replacement, with odds exp(scale * score).

    scores: (N,), finite; n_chosen: 1 to N; scale: 0 or more, perhaps math.inf.
    Returns the places of the rows, (n_chosen,) in int64, each once and in any order.
    """
    ### BEGIN SOLUTION
    noise = -torch.empty(len(scores), dtype=torch.float64).exponential_(generator=drawn).log()
    if math.isinf(scale):
        order = noise.argsort()
        return order[scores[order].argsort(descending=True, stable=True)][:n_chosen]
    return (scale * scores.double() + noise).topk(n_chosen).indices
    ### END SOLUTION


# %%
check("13.2", draw_rows)

# %% [markdown]
# The rows above, by your score and your draw: of which kind are 16 of 80?

# %% tags=["play"]
draw = mine("13.2")
for scale in (0.0, 1.0, 4.0, math.inf):
    rows = draw(by_row["learnability"], 16, scale, torch.Generator().manual_seed(0))
    counts = torch.bincount(batch.domain_ids[rows], minlength=len(batches.domains)).tolist()
    print(f"scale {scale:3}:", dict(zip(batches.domains, counts, strict=True)))

# %% [markdown]
# ## Exercise 13.3: Who goes with whom
#
# In a contrastive batch every left name is compared with every right one. The logit of pair
# $(i, j)$ says whether left name i belongs to right name j, and only $(i, i)$ does: its loss is
# $-\log \text{sigmoid}(\text{logit})$ on the diagonal, and $-\log \text{sigmoid}(-\text{logit})$
# elsewhere. The loss of a batch is the sum over **all** pairs of its members, and its learnability
# the learner's loss minus the reference's.
#
# Some candidates are chosen already. By how much would the batch's learnability grow if candidate
# $i$ joined them?


# %%
def gain_given(learner_logits: Tensor, reference_logits: Tensor, chosen: Tensor) -> Tensor:
    """Score each candidate by what it adds to the learnability of those that are chosen.

    learner_logits, reference_logits: (N, N), of any size; chosen: the places of the chosen in
    int64, each once, perhaps none.
    Returns (N,) in float32, without a gradient; minus infinity for who is chosen already.
    """
    ### BEGIN SOLUTION
    signs = 2 * torch.eye(len(learner_logits)) - 1
    learner, reference = (
        -F.logsigmoid(signs * logits.detach()) for logits in (learner_logits, reference_logits)
    )
    scores = learner - reference
    gain = scores.diagonal() + scores[:, chosen].sum(1) + scores[chosen].sum(0)
    return gain.index_fill(0, chosen, -torch.inf)
    ### END SOLUTION


# %%
check("13.3", gain_given)

# %% [markdown]
# With your gain and your draw a batch is built in chunks: 24 of 120 pairs of names, of which six in
# ten do not belong together. Beside it the same number of pairs, each by its own score.

# %% tags=["play"]
from moe_teach.chapters.ch13_data_selection.experiments.joint import reference as pair_reference
from moe_teach.chapters.ch13_data_selection.experiments.towers import seeded_matcher
from moe_teach.data.pairs import name_pairs

gain = mine("13.3")
pairs = name_pairs("train").draw(120, junk=0.6, seed=0)
with torch.no_grad():
    ours, theirs = seeded_matcher(0)(pairs), pair_reference()(pairs)
for n_chunks in (1, 8):
    drawn, chosen = torch.Generator().manual_seed(0), torch.arange(0)
    for _ in range(n_chunks):
        scores = gain(ours, theirs, chosen)
        free = scores.isfinite().nonzero()[:, 0]
        chosen = torch.cat([chosen, free[draw(scores[free], 24 // n_chunks, 4.0, drawn)]])
    print(f"{n_chunks} chunks: {pairs.is_true[chosen].double().mean():.0%} belong together")

# %% [markdown]
# ## Exercise 13.4: The bill
#
# Selection saves steps and makes each of them dearer. In FLOPs:
#
# - learning from a row costs a model three of its own forward passes;
# - with selection, each step first scores all candidates: a forward pass of the learner and one of
#   the reference for each. Then it trains on the chosen rows, from the beginning;
# - the reference was trained before, for `reference_steps` steps of `n_chosen` rows. `n_runs` runs
#   share that evenly.
#
# A run without selection takes `n_steps` steps. How many of them must a run with selection save, at
# least, so that it costs **less** in all?


# %%
def steps_to_save(
    learner_forward: int,
    reference_forward: int,
    n_chosen: int,
    n_candidates: int,
    n_steps: int,
    reference_steps: int,
    n_runs: int,
) -> tuple[int, int | None]:
    """Count the FLOPs of a step with selection, and the least number of steps it has to save.

    learner_forward, reference_forward: FLOPs of one row's forward pass; n_chosen, n_candidates:
    rows of a step. All at least 1, reference_steps at least 0; they may be far beyond 2 ** 53.
    Returns two plain integers; the second is None where even a run of one step costs too much.
    """
    ### BEGIN SOLUTION
    plain = 3 * learner_forward * n_chosen
    per_step = plain + n_candidates * (learner_forward + reference_forward)
    reference = 3 * reference_forward * n_chosen * reference_steps
    most = (n_runs * n_steps * plain - reference - 1) // (n_runs * per_step)
    return per_step, n_steps - most if most >= 1 else None
    ### END SOLUTION


# %%
check("13.4", steps_to_save)

# %% [markdown]
# The bill of the lesson's stream: 2,500 steps of 8 rows, a reference of the same size that learned
# for 250 steps, and filter ratios from a third to 90 %.

# %% tags=["play"]
from moe_teach.chapters.ch13_data_selection.experiments.stream import BATCH, LENGTH, REFERENCE_STEPS
from moe_teach.cost.compute import forward_flops

bill = mine("13.4")
row = forward_flops(CONFIG, LENGTH // 2) * LENGTH
for n_candidates in (12, 16, 40, 80):
    for n_runs in (1, 10):
        step, saved = bill(row, row, BATCH, n_candidates, 2500, REFERENCE_STEPS, n_runs)
        cost = f"{step / (3 * row * BATCH):.2f} plain steps"
        print(f"{BATCH} of {n_candidates}, {n_runs:2} runs: a step costs {cost}; to save: {saved}")

# %% [markdown]
# ## Exercise 13.5: Find what is wrong: Selectors of other people
#
# Seven selectors draw rows by their learnability, in the loop as it stands:
# `choose(model, candidates, n_chosen, step)` gives the places of rows. A choice may depend on the
# weights, the candidates, a seed and the step, and on nothing else. One selector is right; each of
# the others has one fault:
#
# | name | the fault |
# | --- | --- |
# | `"left asleep"` | puts the model into evaluation mode and leaves it there |
# | `"twice"` | may name a row twice |
# | `"awake"` | scores the learner in the mode it finds it in, with dropout at work |
# | `"history"` | draws from a generator that lives on: stopped and resumed, it chooses others |
# | `"no step"` | draws the same luck at every step, resumed or not |
# | `"sign"` | prefers what the learner knows and the reference does not |
#
# You cannot read them, only ask them. `make()` gives the selector anew, as after a restart.
# `row_losses(model, candidates)` of the library gives each row's loss, in evaluation mode.

# %%
from moe_teach.train.selector import row_losses


# %%
def name_fault(make, model, reference, candidates, n_chosen) -> str:
    """Name a selector's fault, or "healthy".

    make: a function without arguments that gives the selector anew; model: the learner, with
    dropout, which comes in either mode and which you may put in any; reference: the one that the
    selector compares with.
    candidates: a batch of 40 rows, n_chosen: 8. Steps count from 0; ask as often as you like.
    """
    ### BEGIN SOLUTION

    def rows_of(selector, step):
        return sorted(selector.choose(model, candidates, n_chosen, step).tolist())

    steps = range(6)
    model.train()
    first = rows_of(make(), 0)
    if not model.training:
        return "left asleep"
    if len(set(first)) < n_chosen:
        return "twice"
    model.eval()
    anew = [rows_of(make(), step) for step in steps]
    selector = make()
    if [rows_of(selector, step) for step in steps] != anew:
        return "history"
    if all(rows == anew[0] for rows in anew):
        return "no step"
    model.train()
    if [rows_of(make(), step) for step in steps] != anew:
        return "awake"
    gain = row_losses(model, candidates) - row_losses(reference, candidates)
    return "healthy" if gain[torch.tensor(anew)].mean() > gain.mean() else "sign"
    ### END SOLUTION


# %%
check("13.5", name_fault)

# %% [markdown]
# What does each of them do to the rows that are chosen? Mean learnability of the chosen rows, in
# nats, over ten steps, beside that of all 40 candidates.

# %% tags=["play"]
from moe_teach.chapters.ch13_data_selection.suspects import FAULTS, case

name_it = mine("13.5")
for fault in ("", *FAULTS):
    given = case(fault, seed=8)
    gain_of = row_losses(given["model"], given["candidates"]) - row_losses(
        given["reference"], given["candidates"]
    )
    selector = given["make"]()
    chosen = [selector.choose(given["model"], given["candidates"], 8, step) for step in range(10)]
    means = f"{gain_of[torch.stack(chosen)].mean():5.2f} chosen, {gain_of.mean():.2f} all"
    print(f"{name_it(**case(fault, seed=8)):12} {means}")

# %% [markdown]
# ## Exercise 13.6: Open task: your selector in the loop
#
# Join your parts to a selector. The stream is hard and small: of 40 rows a step, 24 are noise on
# average, ten repeat one letter, and six follow a chain in which each letter has three likely
# successors. A model that is a table of bigrams learns from 8 of the 40, for 80 steps. Without
# selection it reaches 1.317 nats on clean rows, half chain and half repeated. Reach **0.8 nats** or
# less; how sharply to draw is for you to find.
#
# The loop asks for three things: `n_candidates`; a `name`, a text that is another one for another
# number of candidates and for another seed; and `choose`. That leaves the model as it was, mode
# and gradients included, and scores it in evaluation mode. A choice depends on weights,
# candidates, seed and step alone, and where it is drawn, each seed and each step has luck of its
# own. Torch's common generator is left alone: dropout draws from it.

# %%
from moe_teach.data.batches import Batch
from moe_teach.seeding import mixed


# %%
class MySelector:
    """Chooses rows for the training loop.

    n_candidates: rows of a super-batch; reference: a model in evaluation mode; both models give
    logits (B, S, V) as `model(inputs).logits`. candidates.inputs, candidates.targets: (B, S).
    choose returns n_chosen different places in int64. self.score is your answer to 13.1, self.draw
    the one to 13.2; `mixed(seed, step)` makes one seed of two numbers. A selector may be asked for
    any n_chosen, and at any step first.
    """

    def __init__(self, n_candidates: int, reference: torch.nn.Module, seed: int) -> None:
        self.score, self.draw = mine("13.1"), mine("13.2")
        ### BEGIN SOLUTION
        self.n_candidates, self.reference, self.seed = n_candidates, reference, seed
        self.name = f"mine-{n_candidates}-{seed}"
        ### END SOLUTION

    def choose(self, model: torch.nn.Module, candidates: Batch, n_chosen: int, step: int) -> Tensor:
        ### BEGIN SOLUTION
        was_training = model.training
        with torch.no_grad():
            ours = model.eval()(candidates.inputs).logits
            theirs = self.reference(candidates.inputs).logits
        model.train(was_training)
        scores = self.score(ours, theirs, candidates.targets)
        drawn = torch.Generator().manual_seed(mixed(self.seed, step))
        return self.draw(scores, n_chosen, 8.0, drawn)
        ### END SOLUTION


# %%
check("13.6", MySelector)

# %% [markdown]
# The same selector in the course's training loop, on text: 30 steps of 8 of 40 rows, six in ten of
# them junk. How many of the rows that it learned from were text?

# %% tags=["play"]
from moe_teach.train.config import TrainConfig
from moe_teach.train.loop import Trainer
from moe_teach.train.selector import selected

Mine = mine("13.6")
batches = stream(0.6, 40, seed=1)
learner, selector, clean = seeded_model(CONFIG, 1), Mine(40, reference(), 1), 0
trainer = Trainer(learner, TrainConfig(steps=30, batch_size=BATCH, seq_len=LENGTH, warmup=5))
for step in range(30):
    chosen = selected(selector, learner, batches.at(step), BATCH, step)
    clean += int((chosen.domain_ids < len(batches.domains) - 2).sum())
    trainer.advance(chosen)
print(f"{clean / (30 * BATCH):.0%} of the chosen rows are text, of all candidates 40%")
