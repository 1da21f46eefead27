"""Stands in for what a reader wrote in another chapter, so that a check judges one thing."""

from typing import Any

import torch
from torch import Tensor, nn

from moe_teach.judging.exercise import require
from moe_teach.types import Routing


class SmallLayer(nn.Module):
    """Stands in for the reader's layer: everyone computes, the chosen are mixed."""

    def __init__(
        self, d_model: int, n_experts: int, top_k: int, d_ff: int, normalize_gates: bool
    ) -> None:
        super().__init__()
        self.top_k, self.normalize_gates, self.route = top_k, normalize_gates, plain_route
        self.router = nn.Linear(d_model, n_experts, bias=False)
        self.w_up = nn.Parameter(torch.randn(n_experts, d_model, d_ff) / d_model**0.5)
        self.w_down = nn.Parameter(torch.randn(n_experts, d_ff, d_model) / d_ff**0.5)

    def forward(self, x: Tensor, token_ids: Tensor | None = None) -> tuple[Tensor, Routing]:
        """Return y like x, and the routing."""
        tokens = x.reshape(-1, x.shape[-1])
        logits = self.router(tokens)
        gates, ids = self.route(logits, self.top_k, self.normalize_gates)
        answers = (tokens @ self.w_up).relu() @ self.w_down  # (E, T, D)
        chosen = answers[ids, torch.arange(len(tokens))[:, None]]
        y = (gates[..., None] * chosen).sum(dim=1)
        return y.to(x.dtype).view_as(x), Routing(logits, logits.softmax(dim=-1), gates, ids)


def plain_route(logits: Tensor, top_k: int, normalize_gates: bool) -> tuple[Tensor, Tensor]:
    """Softmax over all experts, then top-k."""
    gates, ids = logits.softmax(dim=-1).topk(top_k, dim=-1)
    return gates / gates.sum(dim=-1, keepdim=True) if normalize_gates else gates, ids


def require_own_part(is_right: bool, name: str, item: str, otherwise: str, **shown: Any) -> None:
    """Reject an assembly that is right with stand-ins, and not with the reader's part `name`.

    `item` is the exercise that the part answers; `otherwise` says what happens with it.
    """
    require(
        is_right,
        f"What you wrote here is right. With your own part `{name}`, the answer to {item}, "
        f"{otherwise}",
        cause=f"The part changed since its check passed, or {item} asks for less than this.",
        cure=f'check("{item}", mine("{item}")) tells what is wrong with it.',
        **shown,
    )
