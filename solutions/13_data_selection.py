# %% [markdown]
# # 13 Data selection: exercises
#
# A batch can be drawn, or it can be chosen. You write the score of a row, the draw by scores, the
# score of an example that joins others, and the bill, which says when choosing pays. Then you find
# what is wrong with selectors of other people, and in the end your own one chooses in the training
# loop: the last task is open, learn more from the same number of steps.

# %%
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
# Three kinds of rows, a learner that has seen nothing, and a reference that has seen clean text:
# Python, shuffled bytes of it, and bytes drawn evenly. What would each score choose first?

# %% tags=["play"]
from moe_teach.chapters.ch13_data_selection.experiments.stream import CONFIG, reference, stream
from moe_teach.train.seeding import seeded_model

score = mine("13.1")
batches = stream(0.6, 80, seed=0)
batch, learner = batches.at(0), seeded_model(CONFIG, 0)
with torch.no_grad():
    ours, theirs = learner(batch.inputs).logits, reference()(batch.inputs).logits
by_row = {
    "learner's loss": F.cross_entropy(
        ours.transpose(1, 2), batch.targets, reduction="none"
    ).mean(1),
    "learnability": score(ours, theirs, batch.targets),
}
for name, scores in by_row.items():
    for number, domain in enumerate(batches.domains):
        print(f"{name:15} {domain:12} {scores[batch.domain_ids == number].mean():.2f} nats")
