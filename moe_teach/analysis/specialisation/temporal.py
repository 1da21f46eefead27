"""How often a token and the next one of its text are sent to the same expert.

As Mixtral reports it (Jiang et al. 2024, arXiv 2401.04088, section 5, table 5): once for the first
choice alone, and once for "first or second": any expert among the K of both.
"""

import math

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from moe_teach.analysis.specialisation.nulls import Null, permutation_null
from moe_teach.config import refuse


def repetition(
    expert_ids: Int[Tensor, "T K"], sequence_ids: Int[Tensor, " T"], *, first_only: bool = False
) -> float:
    """Return the share of neighbours that share their first choice, or any of their K.

    Args:
        expert_ids: first choice first, the tokens in the order of their text.
        sequence_ids: the text of each token; across its border nobody is anybody's neighbour.
        first_only: compare the first choices alone.

    Raises:
        ValueError: no text has two tokens.
    """
    before, after = _neighbours(sequence_ids)
    return float(_shared(expert_ids, before, after, first_only).double().mean())


def repetition_by_chance(n_experts: int, top_k: int, *, first_only: bool = False) -> float:
    """Return what evenly and independently drawn choices would repeat.

    1 / E for the first choice, and 1 - C(E - K, K) / C(E, K) for any of K: 12.5 % and 46 % with
    Mixtral's two of eight, as its table 5 gives them.
    """
    if first_only:
        return 1 / n_experts
    return 1 - math.comb(n_experts - top_k, top_k) / math.comb(n_experts, top_k)


def repetition_null(
    expert_ids: Int[Tensor, "T K"],
    sequence_ids: Int[Tensor, " T"],
    *,
    first_only: bool = False,
    n: int = 200,
    seed: int = 0,
) -> Null:
    """Return the repetition beside that of the same texts with their tokens in another order.

    That keeps what a text's topic and an expert's load bring about, and takes the neighbourhood
    away: the excess is about time.
    """
    before, after = _neighbours(sequence_ids)
    tokens = torch.arange(len(expert_ids))

    def measure(order: Tensor) -> float:
        return float(_shared(expert_ids[order], before, after, first_only).double().mean())

    return permutation_null(measure, tokens, within=sequence_ids, n=n, seed=seed)


def _neighbours(sequence_ids: Tensor) -> tuple[Tensor, Tensor]:
    before = torch.nonzero(sequence_ids[1:] == sequence_ids[:-1]).flatten()
    refuse(not len(before), "No text has two tokens, so no token has a neighbour.")
    return before, before + 1


def _shared(
    expert_ids: Int[Tensor, "T K"], before: Tensor, after: Tensor, first_only: bool
) -> Bool[Tensor, " pairs"]:
    if first_only:
        return expert_ids[before, 0] == expert_ids[after, 0]
    return (expert_ids[before][:, :, None] == expert_ids[after][:, None, :]).any(2).any(1)
