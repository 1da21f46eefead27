"""Scores of examples, all in nats: the higher, the sooner an example is chosen.

`learner` is the loss of the model that is trained, `reference` that of one that was trained before
on text known to be good. Each works on one loss an example and, for joint choice, on one loss a
pair of examples. Definitions of Mindermann et al. 2022 (arXiv 2206.07137) and JEST (Evans et al.
2024, arXiv 2406.17711, section 3.1).
"""

from jaxtyping import Float
from torch import Tensor


def learnability(
    learner: Float[Tensor, "*n"], reference: Float[Tensor, "*n"]
) -> Float[Tensor, "*n"]:
    """Return learner - reference: what is still to be learned and can be.

    Noise is hard for both, and what is known is easy for both: neither scores high.
    """
    return learner - reference


def easy_for_the_reference(reference: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Return -reference: what the reference finds likely, whether or not it is known already."""
    return -reference


def hard_for_the_learner(learner: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Return the learner's loss: what it finds unlikely, noise above all."""
    return learner
