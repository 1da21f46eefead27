"""The decisions of a router, one small function for each.

`moe_teach.nn.router.Router` composes them; each can be read, tested and replaced alone. "Ranking"
is what experts are chosen by (probabilities plus bias); gates are always read from the
probabilities themselves.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from moe_teach.config import RouterConfig, ScoreFn

_FEW = 1024  # numbers that are sorted as fast as searched, measured on one core


def score(logits: Float[Tensor, "T E"], score_fn: ScoreFn = "softmax") -> Float[Tensor, "T E"]:
    """Turn logits into probabilities: experts compete (softmax) or stand alone (sigmoid).

    The result is at least float32, because rounding can swap two experts of nearly equal
    probability.

    Raises:
        ValueError: if a probability is NaN; top-k would choose it first and say nothing.
    """
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    match score_fn:
        case "softmax":
            probs = precise.softmax(dim=-1)
        case "sigmoid":
            probs = precise.sigmoid()
        case _:
            raise ValueError(f"Unknown score_fn {score_fn!r}: choose 'softmax' or 'sigmoid'.")
    # Probabilities are at most one, so their sum is NaN exactly where one of them is.
    if math.isnan(probs.sum().item()):
        broken = int(probs.isnan().any(dim=-1).sum())
        raise ValueError(
            f"The router logits of {broken} of {len(logits)} tokens are NaN or infinite: look for "
            "an overflow or a division by zero before the router."
        )
    return probs


def top_experts(ranking: Float[Tensor, "T E"], top_k: int) -> Int[Tensor, "T K"]:
    """Choose the k best experts of each token, best first; at a tie the lowest id wins.

    `torch.topk` promises nothing about ties, so two machines could disagree: where there is one,
    a stable sort decides. For many tokens that takes several times as long; for a few it is the
    shorter way, and nobody looks for ties.
    """
    n_experts = ranking.shape[-1]
    if not 1 <= top_k <= n_experts:
        raise ValueError(
            f"top_k is {top_k}, but it must lie between 1 and the number of experts, {n_experts}."
        )
    if ranking.numel() > _FEW:
        values, expert_ids = ranking.topk(min(top_k + 1, n_experts), dim=-1)
        # A tie matters among the chosen, and between the last of them and the first that is not.
        if not bool((values[:, 1:] == values[:, :-1]).any()):
            return expert_ids[:, :top_k]
    return ranking.sort(dim=-1, descending=True, stable=True).indices[:, :top_k]


def gates_of(
    probs: Float[Tensor, "T E"],
    expert_ids: Int[Tensor, "T K"],
    *,
    normalize: bool = True,
    scale: float = 1.0,
) -> Float[Tensor, "T K"]:
    """Read the gates of the chosen experts, make them sum to one if asked, then scale them.

    With k = 1, `normalize` turns every gate into the constant 1, and the router gets no gradient
    from the task.
    """
    gates = probs.gather(-1, expert_ids)
    if normalize:
        gates = gates / _at_least_tiny(gates.sum(dim=-1, keepdim=True))
    return gates if scale == 1 else gates * scale


def gates_for(
    config: RouterConfig,
    logits: Float[Tensor, "T E"],
    probs: Float[Tensor, "T E"],
    expert_ids: Int[Tensor, "T K"],
) -> Float[Tensor, "T K"]:
    """Weigh the chosen experts as `config` says: by `gates_of`, or by a softmax over them alone."""
    if config.topk_first:
        gates = logits.gather(-1, expert_ids).softmax(dim=-1)
        return gates if config.gate_scale == 1 else gates * config.gate_scale
    return gates_of(probs, expert_ids, normalize=config.normalize_gates, scale=config.gate_scale)


def topk_gates(
    probs: Float[Tensor, "T E"],
    top_k: int,
    *,
    ranking: Float[Tensor, "T E"] | None = None,
    normalize: bool = True,
    scale: float = 1.0,
) -> tuple[Float[Tensor, "T K"], Int[Tensor, "T K"]]:
    """Choose by `ranking` (by `probs` when it is absent) and mix by `probs`.

    Returns:
        The gates and the ids of the chosen experts, best first.
    """
    expert_ids = top_experts(probs if ranking is None else ranking, top_k)
    return gates_of(probs, expert_ids, normalize=normalize, scale=scale), expert_ids


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
    ranking: Float[Tensor, "T E"], n_groups: int, top_groups: int
) -> Bool[Tensor, "T E"]:
    """Tell which experts a token may choose when only its best groups are open to it.

    Experts stand in `n_groups` consecutive groups of equal size. A group is as good as the sum of
    its two best experts (DeepSeek-V3, arXiv 2412.19437, section 2.1.2). Close the others with
    minus infinity: a zero would beat an expert whose biased score is negative.
    """
    groups = ranking.unflatten(-1, (n_groups, -1))  # (T, G, E / G)
    best_two = groups.topk(min(2, groups.shape[-1]), dim=-1).values.sum(dim=-1)  # (T, G)
    is_open = torch.zeros_like(best_two, dtype=torch.bool)
    is_open.scatter_(-1, top_experts(best_two, top_groups), True)
    return is_open.repeat_interleave(groups.shape[-1], dim=-1)


def expert_choice(ranking: Float[Tensor, "T E"], capacity: int) -> Bool[Tensor, "T E"]:
    """Let every expert keep its best `capacity` tokens (Zhou et al. 2022, arXiv 2202.09368).

    Every expert is then equally busy by construction. But a token may be chosen by many experts
    or by none, and which it is depends on the tokens beside and after it.
    """
    order = ranking.sort(dim=0, descending=True, stable=True).indices
    is_chosen = torch.zeros_like(ranking, dtype=torch.bool)
    return is_chosen.scatter_(0, order[:capacity], True)


def _at_least_tiny(total: Tensor) -> Tensor:
    # Sigmoid probabilities can all underflow to zero: then the gates are zero and not NaN.
    return total.clamp_min(torch.finfo(total.dtype).tiny)
