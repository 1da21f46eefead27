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

from moe_teach.config import refuse


def mutual_information(expert_ids: Int[Tensor, "T K"], labels: Int[Tensor, "..."]) -> float:
    """Return I(expert; label) in bits, between 0 and the smaller of the two entropies.

        I(e; d) = H(e) + H(d) - H(e, d)        (Shannon 1948)

    Args:
        expert_ids: whom each token chose in one layer.
        labels: one number for each token: its domain, its id, its place.

    Raises:
        ValueError: there is no token, or not one label for each.
    """
    experts, of_choice = _pairs(expert_ids, labels)
    return max(0.0, _entropy(experts) + _entropy(of_choice) - _entropy(experts, of_choice))


def conditional_information(
    expert_ids: Int[Tensor, "T K"], labels: Int[Tensor, "..."], given: Int[Tensor, "..."]
) -> float:
    """Return I(expert; label | given) in bits: what the expert says that `given` does not.

        I(e; d | x) = H(e, x) + H(d, x) - H(e, d, x) - H(x)

    Tokens that occur once, or in one domain only, add nothing; what occurs rarely in two adds
    noise, which only labels permuted within each value of `given` have as well.

    Args:
        expert_ids: whom each token chose in one layer.
        labels: one number for each token.
        given: another one, such as the token's id.

    Raises:
        ValueError: there is no token, or not one label and one value for each.
    """
    experts, of_choice = _pairs(expert_ids, labels)
    known = _pairs(expert_ids, given)[1]
    both = _entropy(experts, known) + _entropy(of_choice, known)
    return max(0.0, both - _entropy(experts, of_choice, known) - _entropy(known))


def entropy(labels: Int[Tensor, " T"]) -> float:
    """Return the entropy of a label in bits: what is there to be known about it.

    Raises:
        ValueError: there is no label.
    """
    refuse(not len(labels), "There is no token, so there is nothing to know.")
    return _entropy(labels)


def _pairs(expert_ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    refuse(
        not len(expert_ids) or labels.shape != expert_ids.shape[:1],
        f"There must be one label for each of at least one token, but there are "
        f"{len(expert_ids)} tokens and labels of shape {tuple(labels.shape)}.",
    )
    return expert_ids.flatten(), labels.repeat_interleave(expert_ids.shape[1])


def _entropy(*columns: Tensor) -> float:
    """Return the joint entropy of columns in bits."""
    key = columns[0].long()
    for column in columns[1:]:
        # Numbered anew each time, so that the key stays small whatever the ids are.
        key = key.unique(return_inverse=True)[1]
        column = column.long() - column.min()
        key = key * (column.max() + 1) + column
    share = key.unique(return_counts=True)[1].double() / len(key)
    return float(-(share * share.log2()).sum())
