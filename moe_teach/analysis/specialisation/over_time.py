"""Routes along a text and along training: does a token go where the one before it went?"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.config import refuse


class Repetition(NamedTuple):
    """How often consecutive tokens share an expert, and how often they would by chance.

    `first` compares first choices, `any` all K: at least one expert in common. Chance is what the
    same choices give when the tokens of the layer are shuffled, so that a busy expert alone is no
    sign of memory.
    """

    first: float
    any: float
    first_by_chance: float
    any_by_chance: float


def repetition(
    expert_ids: Int[Tensor, "T K"],
    sequence_ids: Int[Tensor, " T"],
    *,
    n_shuffles: int = 5,
    seed: int = 0,
) -> Repetition:
    """Measure how often a token shares an expert with the token before it, in one layer.

    Mixtral (Jiang et al. 2024, arXiv 2401.04088, section 5, table 5) reports both shares, with
    1 / E and 1 - C(E-K, K) / C(E, K) as chance; that holds for even loads only, so chance is
    measured here.

    Args:
        expert_ids: whom each token chose, in the order of the text, first choice first.
        sequence_ids: which text each token belongs to; pairs across texts do not count.
        n_shuffles: how often chance is measured.
        seed: of the shuffles.

    Raises:
        ValueError: no text has two tokens.
    """
    pairs = sequence_ids[1:] == sequence_ids[:-1]
    refuse(not bool(pairs.any()), "No text has two tokens, so nothing follows anything.")
    drawn = torch.Generator().manual_seed(seed)
    first, either = _shared(expert_ids, pairs)
    chance = torch.tensor(
        [
            _shared(expert_ids[torch.randperm(len(expert_ids), generator=drawn)], pairs)
            for _ in range(n_shuffles)
        ]
    )
    return Repetition(first, either, *chance.mean(0).tolist())


def saturation(
    earlier: Int[Tensor, "T *layers K"], final: Int[Tensor, "..."]
) -> Float[Tensor, "*layers"]:
    """Return how much of the final choices was there already: the mean overlap, divided by K.

    Router saturation of OLMoE (arXiv 2409.02060, section 5.1, eq. 8). Both are choices for the
    same tokens, one from a checkpoint before the end of training. Two routers that choose at random
    overlap by K / E.

    Raises:
        ValueError: the two are of different tokens, layers or K.
    """
    refuse(
        earlier.shape != final.shape,
        f"Both must be choices for the same tokens, but they are {tuple(earlier.shape)} and "
        f"{tuple(final.shape)}.",
    )
    common = (earlier[..., :, None] == final[..., None, :]).any(-1)
    return common.double().mean((0, -1))


def _shared(expert_ids: Tensor, pairs: Tensor) -> tuple[float, float]:
    before, after = expert_ids[:-1][pairs], expert_ids[1:][pairs]
    either = (before[:, :, None] == after[:, None, :]).flatten(1).any(1)
    return float((before[:, 0] == after[:, 0]).double().mean()), float(either.double().mean())
