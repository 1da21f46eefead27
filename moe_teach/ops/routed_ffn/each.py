"""Visit the chosen experts one by one, without laying out any rows.

With a handful of choices the small operations of dispatch and combine take longer than the
matmuls between them. This way needs none of them, and each visited expert is read only once.
"""

import torch
from torch import Tensor

from moe_teach.config import Nonlinearity
from moe_teach.ops.activation import expert_ffn
from moe_teach.ops.demand import (
    demand_expert_id,
    demand_no_biases,
    experts_in_one_precision,
)
from moe_teach.types import ExpertWeights, Routing


def routed_ffn_each(
    x: Tensor, routing: Routing, weights: ExpertWeights, activation: Nonlinearity
) -> Tensor:
    """Add each answer to its token as soon as it is there; outside training only."""
    demand_no_biases(weights)
    y = torch.zeros_like(x, dtype=torch.promote_types(x.dtype, routing.gates.dtype))
    rows, weights = experts_in_one_precision(x, weights)
    fused = (weights.w_up, weights.w_down, weights.w_gate)
    gates = routing.gates.flatten().tolist()
    for expert, pairs in _visits(routing).items():
        tokens = [pair // routing.top_k for pair in pairs]
        own = (None if matrix is None else matrix[expert] for matrix in fused)
        answers = expert_ffn(_stacked(rows, tokens), *own, activation)
        for answer, token, pair in zip(answers, tokens, pairs, strict=True):
            y[token].add_(answer, alpha=gates[pair])
    return y.to(x.dtype)


def _stacked(rows: Tensor, tokens: list[int]) -> Tensor:
    first = rows[tokens[0] : tokens[0] + 1]
    return first if len(tokens) == 1 else torch.cat([first, *(rows[t : t + 1] for t in tokens[1:])])


def _visits(routing: Routing) -> dict[int, list[int]]:
    """Name the pairs t * K + k to carry out, for each expert."""
    visits: dict[int, list[int]] = {}
    keeps = None if routing.kept is None else routing.kept.flatten().tolist()
    for pair, expert in enumerate(routing.expert_ids.flatten().tolist()):
        demand_expert_id(expert, routing.n_experts)
        if keeps is None or keeps[pair]:
            visits.setdefault(expert, []).append(pair)
    return visits
