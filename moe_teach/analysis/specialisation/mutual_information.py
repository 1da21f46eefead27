"""How much the choice of an expert tells about a label, in bits.

    I(expert; label) = sum over cells of p(e, l) * log2( p(e, l) / (p(e) * p(l)) )

Each of a token's K choices is one observation, so with K > 1 this is about one choice drawn from
the token's K; hand in `expert_ids[:, :1]` to ask about the first choice alone. Shannon 1948.

The plug-in estimate is too large: counts of chance are never quite even. Its bias is about
(E - 1) * (labels - 1) / (2 * N * ln 2) bits for N independent observations, in the conditional
case once for each value of what is given (Miller 1955), and more where the tokens of a text go
together. So every value is read beside its null (`permutation_null`), and the excess over the
null's mean is the corrected estimate.
"""

from jaxtyping import Int
from torch import Tensor

from moe_teach.analysis.specialisation.counting import choices_by_label, demand_labels
from moe_teach.config import refuse


def mutual_information(
    expert_ids: Int[Tensor, "T K"], labels: Int[Tensor, " T"], n_experts: int, n_labels: int
) -> float:
    """Return I(expert; label) in bits: 0 where they are independent, at most log2 of either number.

    Raises:
        ValueError: there are no tokens, lengths differ, or ids are out of range.
    """
    joint = choices_by_label(expert_ids, labels, n_experts, n_labels)
    bits = _entropy(joint.sum(0)) + _entropy(joint.sum(1)) - _entropy(joint)
    return max(bits, 0.0)


def conditional_mutual_information(
    expert_ids: Int[Tensor, "T K"],
    labels: Int[Tensor, " T"],
    given: Int[Tensor, " T"],
    n_experts: int,
    n_labels: int,
) -> float:
    """Return I(expert; label | given) in bits: what the choice tells beyond what is given.

    With the token's id as `given`, it is what a router knows of the domain that the token itself
    does not say. Its null must keep what is given: `permutation_null(..., within=given)`.

    Args:
        expert_ids: the choices of each token.
        labels: what may be known of it, from 0 to `n_labels` - 1.
        given: a whole number for each token, of any size.
        n_experts: how many experts there are.
        n_labels: how many labels there are.

    Raises:
        ValueError: there are no tokens, lengths differ, or ids are out of range.
    """
    demand_labels(expert_ids, labels, n_experts, n_labels)
    refuse(
        len(given) != len(labels),
        f"Each token needs one value that is given; there are {len(labels)} and {len(given)}.",
    )
    top_k = expert_ids.shape[1]
    group = given.unique(return_inverse=True)[1].repeat_interleave(top_k)
    label = labels.long().repeat_interleave(top_k)
    expert = expert_ids.long().flatten()
    with_label = group * n_labels + label
    bits = (
        _entropy(_counts(group * n_experts + expert))
        + _entropy(_counts(with_label))
        - _entropy(_counts(with_label * n_experts + expert))
        - _entropy(_counts(group))
    )
    return max(bits, 0.0)


def _counts(cells: Int[Tensor, " N"]) -> Int[Tensor, " _"]:
    """Count what occurs; most cells of a vocabulary are empty, so none is made for them."""
    return cells.unique(return_counts=True)[1]


def _entropy(counts: Int[Tensor, "..."]) -> float:
    """Return the entropy of counts in bits: log2 N - sum c * log2 c / N."""
    filled = counts[counts > 0].double()
    total = filled.sum()
    return float(total.log2() - (filled * filled.log2()).sum() / total)
