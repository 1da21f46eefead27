"""The definitions of dispatch and combine."""

import torch
import torch.nn.functional as F
from torch import Tensor

from moe_teach.ops.demand import demand_expert_ids
from moe_teach.types import Dispatched, Routing


def dispatch_reference(x: Tensor, routing: Routing) -> tuple[Tensor, Dispatched]:
    """Collect the tokens of expert 0, then of expert 1, and so on, each in token order."""
    expert_ids, n_experts = routing.expert_ids, routing.n_experts
    demand_expert_ids(expert_ids, n_experts)
    kept = torch.ones_like(expert_ids, dtype=torch.bool) if routing.kept is None else routing.kept

    slot = torch.full_like(expert_ids, -1)
    tokens, n_rows = [], 0
    for expert in range(n_experts):
        token, choice = torch.where((expert_ids == expert) & kept)
        slot[token, choice] = n_rows + torch.arange(len(token), device=x.device, dtype=slot.dtype)
        tokens.append(token)
        n_rows += len(token)

    tokens_per_expert = torch.tensor([len(token) for token in tokens], device=x.device)
    token_idx = torch.cat(tokens)
    offsets = tokens_per_expert.cumsum(0).to(torch.int32)
    return x[token_idx], Dispatched(token_idx, slot, tokens_per_expert, offsets)


def combine_reference(y: Tensor, gates: Tensor, dispatched: Dispatched) -> Tensor:
    """Gather the K answers of each token and sum them with its gates."""
    # A dropped choice has slot -1, which reads the row of zeros appended here.
    answers = F.pad(y, (0, 0, 0, 1))[dispatched.slot]  # (T, K, D)
    precise = torch.promote_types(y.dtype, gates.dtype)
    return (gates[..., None].to(precise) * answers.to(precise)).sum(dim=1).to(y.dtype)
