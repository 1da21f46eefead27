"""What the usual slips in a language model's first loss give, for exercise 5.3 to name them."""

import math

from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, targets: Tensor) -> float:
    """Give the mean cross-entropy, in nats, of logits (B, S, V) for targets (B, S)."""
    return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten()).item()


def loss_slips(logits: Tensor, ids: Tensor, expected: float) -> dict[tuple[str, str], float]:
    """Give the loss that each slip makes of the same logits, under its cause and its cure."""
    asked, answers = logits[:, :-1], ids[:, 1:]
    return {
        (
            "Nothing is shifted: the logits at t are held against the token at t, which the model "
            "has just read.",
            "They are for the token at t + 1: drop the last logits and the first token.",
        ): cross_entropy(logits, ids),
        (
            "The shift goes the wrong way: the logits at t + 1 are held against the token at t.",
            "Drop the *last* logits and the *first* token.",
        ): cross_entropy(logits[:, 1:], ids[:, :-1]),
        (
            "The targets were rolled, so the last position of each row is asked for the first "
            "token.",
            "S tokens ask S - 1 questions: drop the last logits.",
        ): cross_entropy(logits, ids.roll(-1, dims=1)),
        (
            "This is the sum over all positions.",
            "Divide by their number, or leave out reduction='sum'.",
        ): expected * answers.numel(),
        (
            "This is the loss in bits.",
            "Nats use the natural logarithm; do not divide by ln 2.",
        ): expected / math.log(2),
        (
            "This is the perplexity.",
            "Return its logarithm, the mean loss in nats.",
        ): math.exp(expected),
        (
            "The softmax was taken twice.",
            "cross_entropy wants the logits as they are.",
        ): cross_entropy(asked.softmax(dim=-1), answers),
    }
