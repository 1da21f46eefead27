"""Which share of a domain, or of a word of the vocabulary, an expert is chosen for.

As OLMoE defines them (Muennighoff et al. 2024, arXiv 2409.02060, section 5):

    domain specialisation(E_i, D)     = N(E_i, D) / N(D)
    vocabulary specialisation(E_i, x) = N(E_i, x) / N(x)

where N(E_i, D) counts the tokens of D that have E_i among their K, and N(D) the tokens of D.
Chance is the expert's share over all tokens: K / E if it is as busy as any other, but a busy
expert has a large share of every domain, so a share is compared with `overall_share`.
"""

from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.analysis.specialisation.counting import share_of_tokens


def domain_specialisation(
    expert_ids: Int[Tensor, "T K"], domain_ids: Int[Tensor, " T"], n_experts: int, n_domains: int
) -> Float[Tensor, "domains E"]:
    """Return each expert's share of the tokens of each domain; rows sum to K.

    The row of a domain without tokens is NaN.

    Raises:
        ValueError: there are no tokens, lengths differ, or ids are out of range.
    """
    return share_of_tokens(expert_ids, domain_ids, n_experts, n_domains)


def vocabulary_specialisation(
    expert_ids: Int[Tensor, "T K"], token_ids: Int[Tensor, " T"], n_experts: int, vocab_size: int
) -> Float[Tensor, "V E"]:
    """Return each expert's share of the occurrences of each token id; rows sum to K.

    Ids that do not occur have rows of NaN. An id that occurs once has shares of 0 and 1 only:
    look at frequent ones, or compare with the same after the tokens were permuted.

    Raises:
        ValueError: there are no tokens, lengths differ, or ids are out of range.
    """
    return share_of_tokens(expert_ids, token_ids, n_experts, vocab_size)


def overall_share(expert_ids: Int[Tensor, "T K"], n_experts: int) -> Float[Tensor, " E"]:
    """Return each expert's share of all tokens, the chance level of both; its sum is K."""
    everybody = expert_ids.new_zeros(len(expert_ids))
    return share_of_tokens(expert_ids, everybody, n_experts, 1)[0]
