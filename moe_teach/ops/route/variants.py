"""What some routers do differently: noise before the choice, groups, experts that choose.

`moe_teach.nn.router.Router` composes these with the functions of `moe_teach.ops.route`.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from moe_teach.config import GroupScore
from moe_teach.ops.route import top_experts


def noisy_logits(
    logits: Float[Tensor, "T E"],
    noise_logits: Float[Tensor, "T E"],
    generator: torch.Generator | None = None,
) -> Float[Tensor, "T E"]:
    """Add learned noise: logits + N(0, 1) * softplus(noise_logits) (Shazeer 2017, eq. 4)."""
    noise = torch.empty_like(logits).normal_(generator=generator)
    return logits + noise * F.softplus(noise_logits)


def jittered(
    x: Float[Tensor, "T D"], jitter: float, generator: torch.Generator | None = None
) -> Float[Tensor, "T D"]:
    """Multiply every feature by a number from [1 - jitter, 1 + jitter] (Switch, appendix C)."""
    return x * torch.empty_like(x).uniform_(1 - jitter, 1 + jitter, generator=generator)


def group_mask(
    ranking: Float[Tensor, "T E"],
    n_groups: int,
    top_groups: int,
    group_score: GroupScore = "best_two",
) -> Bool[Tensor, "T E"]:
    """Tell which experts a token may choose when only its best groups are open to it.

    Experts stand in `n_groups` consecutive groups of equal size. A group is as good as the sum of
    its two best experts (DeepSeek-V3, arXiv 2412.19437, section 2.1.2), or with "best" as the best
    one alone (DeepSeek-V2, arXiv 2405.04434, section 2.2.2). Close the others with
    minus infinity: a zero would beat an expert whose biased score is negative.
    """
    groups = ranking.unflatten(-1, (n_groups, -1))  # (T, G, E / G)
    n_counted = min({"best_two": 2, "best": 1}[group_score], groups.shape[-1])
    goodness = groups.topk(n_counted, dim=-1).values.sum(dim=-1)  # (T, G)
    is_open = torch.zeros_like(goodness, dtype=torch.bool)
    is_open.scatter_(-1, top_experts(goodness, top_groups), True)
    return is_open.repeat_interleave(groups.shape[-1], dim=-1)


def expert_choice(ranking: Float[Tensor, "T E"], capacity: int) -> Bool[Tensor, "T E"]:
    """Let every expert keep its best `capacity` tokens (Zhou et al. 2022, arXiv 2202.09368).

    Every expert is then equally busy by construction. But a token may be chosen by many experts
    or by none, and which it is depends on the tokens beside and after it.
    """
    order = ranking.sort(dim=0, descending=True, stable=True).indices
    is_chosen = torch.zeros_like(ranking, dtype=torch.bool)
    return is_chosen.scatter_(0, order[:capacity], True)
