"""Exercise 6.6: the step without faults, and what known mistakes log for even routing."""

import torch
from torch import Tensor

from moe_teach.chapters.ch06_load_balancing.inputs import balance
from moe_teach.judging.exercise import generator
from moe_teach.judging.reasons import Why


def draw_logits(n_tokens: int, n_experts: int, seed: int) -> Tensor:
    """Draw logits for tokens and experts."""
    # As a router gives them that keeps its experts in rows: transposed in memory.
    return torch.randn(n_experts, n_tokens, generator=generator(seed)).T


def even_logits(n_experts: int) -> Tensor:
    """Let every expert come first, second, ... equally often, and by a hair's breadth only."""
    ranks = (torch.arange(n_experts)[:, None] + torch.arange(n_experts)) % n_experts
    return 1e-3 * ranks.float()


def crowd_of_seconds(n_tokens: int, n_experts: int, seed: int) -> Tensor:
    """Let all tokens agree on their second choice, and on nothing else."""
    logits = draw_logits(n_tokens, n_experts, seed).clamp(-1, 1)
    logits[torch.arange(n_tokens), torch.arange(n_tokens) % (n_experts - 1)] = 4.0
    logits[:, -1] = 3.0
    return logits


def right_step(logits: Tensor, top_k: int, task_loss: Tensor, coef: float) -> tuple[Tensor, ...]:
    """Route, log and add, without faults."""
    probs = logits.softmax(dim=-1)
    gates, ids = probs.topk(top_k)
    logged = balance(probs, ids)
    gates = gates / gates.sum(dim=-1, keepdim=True) if top_k > 1 else gates
    return gates, ids, logged, task_loss + coef * logged


OTHER = Why(
    "Even shares times mean probabilities do not sum to 1 / E here, or the factor E is missing.",
    "`logged` is E times the sum of (share of the choices) times (mean probability).",
)


def even_slips(n_experts: int) -> tuple[tuple[Tensor, Why], ...]:
    """Give what known mistakes log for even routing, and the reason."""
    coef, task_loss = 0.25, 2.0  # those of the check
    swapped = Why("This is the total.", "Return `logged` third and the total last.")
    weighed = Why("The factor `coef` is in it.", "It belongs into the total alone.")
    moved = Why("1 was subtracted.", "Log the loss as it is.")
    no_factor = Why("The factor E is missing.", "Multiply by the number of experts.")
    return (
        (torch.tensor(task_loss + coef), swapped),
        (torch.tensor(coef), weighed),
        (torch.tensor(0.0), moved),
        (torch.tensor(1 / n_experts), no_factor),
    )
