"""Who works on what, as shares: by domain, by token, and which experts work together.

The definitions are those of OLMoE (Muennighoff et al. 2024, arXiv 2409.02060, section 5).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.config import refuse


def domain_specialisation(
    expert_ids: Int[Tensor, "T K"], domain_ids: Int[Tensor, " T"], n_experts: int, n_domains: int
) -> Float[Tensor, "domains E"]:
    """Return the share of each domain's tokens that an expert is chosen for; rows sum to K.

    Even routing gives K / E everywhere. A domain without a token has zeros.

    Raises:
        ValueError: an id is out of range, or there is not one domain for each token.
    """
    return _shares(expert_ids, domain_ids, n_experts, n_domains)


def vocabulary_specialisation(
    expert_ids: Int[Tensor, "T K"], token_ids: Int[Tensor, " T"], n_experts: int, vocab_size: int
) -> Float[Tensor, "V E"]:
    """Return the share of a token id's occurrences that an expert is chosen for; rows sum to K.

    A token id that does not occur has zeros. A share of 1 of something that occurred once is no
    sign of anything: compare with the same table of permuted ids.

    Raises:
        ValueError: an id is out of range, or there is not one id for each token.
    """
    return _shares(expert_ids, token_ids, n_experts, vocab_size)


def co_activation(expert_ids: Int[Tensor, "T K"], n_experts: int) -> Float[Tensor, "E E"]:
    """Return for experts i and j the share of i's tokens that chose j, too: N_ij / N_i.

    The diagonal is 1 where an expert was chosen at all; a row of zeros is one that was not. Experts
    chosen independently of each other would have N_j / T in column j, which is the null.

    Raises:
        ValueError: an id is out of range.
    """
    _demand_range(expert_ids, n_experts)
    chosen = torch.zeros(len(expert_ids), n_experts, dtype=torch.float64)
    chosen.scatter_(1, expert_ids, 1.0)
    together = chosen.T @ chosen
    return together / together.diagonal().clamp(min=1)[:, None]


def _shares(
    expert_ids: Tensor, labels: Tensor, n_experts: int, n_labels: int
) -> Float[Tensor, "labels E"]:
    _demand_range(expert_ids, n_experts)
    _demand_range(labels, n_labels)
    refuse(
        labels.shape != expert_ids.shape[:1],
        f"There are {len(expert_ids)} tokens and labels of shape {tuple(labels.shape)}.",
    )
    key = labels[:, None] * n_experts + expert_ids
    counts = torch.bincount(key.flatten(), minlength=n_labels * n_experts)
    n_tokens = torch.bincount(labels, minlength=n_labels)
    return counts.view(n_labels, n_experts).double() / n_tokens.clamp(min=1)[:, None]


def _demand_range(ids: Tensor, end: int) -> None:
    refuse(
        bool(((ids < 0) | (ids >= end)).any()),
        f"Ids must lie between 0 and {end - 1}.",
    )
