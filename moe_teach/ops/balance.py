"""How evenly the tokens are spread over the experts, and the bias that evens them out.

Everything here counts what the router *chose*, whether or not a capacity dropped it later: balance
is about what the router wants. Where experts choose, that is their choice (`Routing.chosen`). The
rows that experts really compute are `Dispatched.tokens_per_expert`.

`real` marks the tokens that are text, (T,) bool. Padding counts nowhere: with `real`, a padded
batch gives the numbers of the unpadded one.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from moe_teach.config import refuse
from moe_teach.ops.demand import count_ids, demand_expert_ids, demand_real
from moe_teach.types import Routing


def tokens_per_expert(
    routing: Routing, real: Bool[Tensor, " T"] | None = None
) -> Int[Tensor, " E"]:
    """Count how many choices fell on each expert; where tokens choose, the sum is T * K.

    Raises:
        ValueError: if an id names no expert, or `real` is no mask of these tokens.
    """
    ids, n_experts = routing.expert_ids, routing.n_experts
    everything = count_ids(ids, n_experts)
    if real is None and routing.claimed is None:
        return everything
    # Who does not count is put down to an expert after the last one, and cut off.
    ids = ids.masked_fill(~_counted(routing, real), n_experts)
    return torch.bincount(ids.flatten(), minlength=n_experts + 1)[:n_experts]


def counts(
    routing: Routing,
    groups: Int[Tensor, " T"],
    n_groups: int,
    real: Bool[Tensor, " T"] | None = None,
) -> Int[Tensor, "G E"]:
    """Count the choices on each expert group by group of tokens: sequences, domains, positions.

    Args:
        routing: the decision.
        groups: the group of each token, from 0 to `n_groups` - 1.
        n_groups: how many groups there are (G); a group may be empty.
        real: the tokens that are text; by default all.

    Raises:
        ValueError: if a group or an expert does not exist, or sizes disagree.
    """
    ids, n_experts = routing.expert_ids, routing.n_experts
    demand_expert_ids(ids, n_experts)
    refuse(
        groups.shape != ids.shape[:1],
        f"groups has shape {tuple(groups.shape)}, but it must name one group for each of the "
        f"{len(ids)} tokens.",
    )
    refuse(
        groups.numel() > 0 and not 0 <= int(groups.min()) <= int(groups.max()) < n_groups,
        f"groups must lie between 0 and n_groups - 1 = {n_groups - 1}.",
    )
    cells = groups[:, None] * n_experts + ids
    cells = cells.masked_fill(~_counted(routing, real), n_groups * n_experts)
    found = torch.bincount(cells.flatten(), minlength=n_groups * n_experts + 1)
    return found[:-1].view(n_groups, n_experts)


def _counted(routing: Routing, real: Tensor | None) -> Tensor:
    """Tell which choices count: those that were made, of tokens that are text."""
    demand_real(real, routing)
    return routing.chosen if real is None else routing.chosen & real[:, None]


def load(
    routing: Routing | Int[Tensor, " E"], real: Bool[Tensor, " T"] | None = None
) -> Float[Tensor, " E"]:
    """Return the share of all choices that fell on each expert; the sum is 1.

    This is f_i of the Switch Transformer (arXiv 2101.03961, eq. 5), divided by K so that even
    routing gives 1 / E for every K. It takes a routing, or counts summed over many of them. With
    no tokens at all every expert has the same share.
    """
    seen = tokens_per_expert(routing, real) if isinstance(routing, Routing) else routing
    total = seen.sum()
    if total == 0:
        return torch.full_like(seen, 1 / seen.numel(), dtype=torch.float32)
    return seen / total


def mean_probs(routing: Routing, real: Bool[Tensor, " T"] | None = None) -> Float[Tensor, " E"]:
    """Return the mean probability of each expert; the sum is 1 (P_i of Switch, eq. 6).

    Sigmoid probabilities do not sum to 1 over the experts. They are divided by their sum first
    (DeepSeek-V3, arXiv 2412.19437, eq. 19); otherwise the router could lower the loss by lowering
    all of them. With no tokens the result is zero.
    """
    probs = shares_of(only_real(routing, real).probs)
    return probs.sum(dim=0) / max(len(probs), 1)


def shares_of(probs: Float[Tensor, "T E"]) -> Float[Tensor, "T E"]:
    """Divide each token's probabilities by their sum, which for sigmoid ones is not 1."""
    total = probs.sum(dim=-1, keepdim=True)
    return probs / total.clamp_min(torch.finfo(total.dtype).tiny)


def only_real(routing: Routing, real: Bool[Tensor, " T"] | None) -> Routing:
    """Leave padding out of a decision, if there is any."""
    demand_real(real, routing)
    return routing if real is None else routing.only(real)


def importance(routing: Routing, real: Bool[Tensor, " T"] | None = None) -> Float[Tensor, " E"]:
    """Return the sum of the gates each expert was given (Shazeer 2017, arXiv 1701.06538, eq. 6)."""
    routing = only_real(routing, real)
    demand_expert_ids(routing.expert_ids, routing.n_experts)
    totals = routing.gates.new_zeros(routing.n_experts)
    return totals.index_add(0, routing.expert_ids.flatten(), routing.gates.flatten())


def update_expert_bias(
    bias: Float[Tensor, " E"], tokens_per_expert: Int[Tensor, " E"], rate: float
) -> Float[Tensor, " E"]:
    """Return the bias after one step: up by `rate` for idle experts, down for busy ones.

    Wang et al. 2024 (arXiv 2408.15664, algorithm 1): only the sign of the error counts, so the
    step is as large for a small imbalance as for a large one. Call it in training only, once per
    optimiser step, with the counts of the whole batch.
    """
    # In whole numbers: a count of thousands is no number of bfloat16.
    behind = tokens_per_expert.sum() - tokens_per_expert.numel() * tokens_per_expert
    return bias + rate * torch.sign(behind).to(bias.dtype)


def max_violation(routing: Routing | Int[Tensor, " E"]) -> Float[Tensor, ""]:
    """Return by how much the busiest expert exceeds the mean: 0 is even, E - 1 is collapse.

    MaxVio of Wang et al. 2024 (arXiv 2408.15664). Takes a routing or summed counts.
    """
    share = load(routing)
    return share.max() * share.numel() - 1


def load_entropy(routing: Routing | Int[Tensor, " E"]) -> Float[Tensor, ""]:
    """Return the entropy of the load divided by log E: 1 is even, 0 is collapse.

    A single expert counts as even. Takes a routing or summed counts.
    """
    share = load(routing)
    if share.numel() == 1:
        return torch.ones_like(share[0])
    return torch.special.entr(share).sum() / math.log(share.numel())
