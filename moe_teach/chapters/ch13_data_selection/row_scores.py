"""Chapter 13: scores of rows in float64, right ones and those of mistakes that are often made."""

import math
from typing import Any

from jaxtyping import Float
from torch import Tensor

from moe_teach.judging.reasons import Why


def scored(given: dict[str, Any], slip: str = "") -> Float[Tensor, " B"]:
    """Score the rows of a case of 13.1; `slip` names a mistake."""
    if slip == "shifted":
        logits = {name: z[:, :-1] for name, z in given.items() if name != "targets"}
        return scored(logits | {"targets": given["targets"][:, 1:]})
    targets = given["targets"]
    asked = targets > 0 if slip == "zeros" else targets != -100
    learner, reference = (
        _losses(given[name], targets, slip) for name in ("learner_logits", "reference_logits")
    )
    gap = learner - reference
    if slip == "words":
        gap = learner.exp() - reference.exp()
    elif slip == "clamped":
        gap = gap.clamp(min=0)
    gap = gap if slip == "padding" else gap * asked
    n_asked = asked.sum(1).clamp(min=1)
    by = {"sum": 1, "length": targets.shape[1], "padding": targets.shape[1],
          "batch": asked.sum().clamp(min=1) / len(targets), "one more": n_asked + 1,
          "bits": n_asked * math.log(2)}.get(slip, n_asked)  # fmt: skip
    sums = {"sign": -gap, "learner": learner * asked, "reference": -reference * asked}
    found = (sums.get(slip, gap).sum(1) / by).float()
    if slip == "ratio":
        found = ((learner * asked).sum(1) / (reference * asked).sum(1)).float()
    return found.clamp(min=0) if slip == "clamped rows" else found


def _losses(logits: Tensor, targets: Tensor, slip: str) -> Float[Tensor, "B S"]:
    z = logits.detach().double()
    if slip == "axes":
        z = z.reshape(len(z), z.shape[2], z.shape[1]).transpose(1, 2)
    return -z.log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]


SLIPS = {
    "sign": Why("The reference's loss stands first: this prefers what only the learner knows.",
                "Learner minus reference."),
    "learner": Why("This is the learner's loss alone, which noise has more of than anything else.",
                   "Take the reference's loss off it."),
    "reference": Why("The learner was not asked: what it knows long since scores as high as ever.",
                     "Learner minus reference."),
    "sum": Why("The losses of a row are summed, so that long rows win.",
               "Divide by the number of targets that the row asks for."),
    "length": Why("The sum was divided by the padded length: a short row scores near 0.",
                  "Divide by the number of targets that the row asks for."),
    "padding": Why("The padding was scored as if it were text.",
                   "A position whose target is -100 counts nowhere."),
    "batch": Why("The sum was divided by the mean number of targets of the batch.",
                 "Each row by its own: `(targets != -100).sum(1)`."),
    "words": Why("Perplexities were subtracted; the score is a difference of losses in nats.",
                 "Leave `exp` out."),
    "ratio": Why("The losses were divided by each other.",
                 "Take the reference's off the learner's: a difference, in nats."),
    "bits": Why("The scores are in bits: a logarithm to base 2.",
                "Nats are asked for, what `F.cross_entropy` gives."),
    "one more": Why("The sum was divided by one more than the number of targets.",
                    "Add nothing: `.clamp(min=1)` keeps from dividing by 0."),
    "shifted": Why("The targets were moved on by one place, and they are that already.",
                   "The logits at a position belong to the target at the same position."),
    "zeros": Why("Word 0 was taken for padding.", "Only -100 is not asked for."),
    "clamped rows": Why("Scores below 0 were set to 0.",
                        "Leave them: such a row is known better than the reference knows it."),
    "axes": Why("Logits and targets do not meet: `view` or `reshape` does not swap axes.",
                "`F.cross_entropy` wants the words on axis 1: `logits.transpose(1, 2)`."),
    "clamped": Why("Positions where the reference is worse were cut off at 0.",
                   "Leave them in: their mean is what tells noise from what can be learned."),
}  # fmt: skip
