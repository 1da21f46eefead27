"""Set-ups whose forward pass is sound and whose balancing is not.

Do not read on before you have made your diagnoses: every class names its fault. The citations say
where such a fault was reported or seen; no code comes from there.
"""

import torch
from torch import Tensor

from moe_teach.chapters.ch06_load_balancing.clinic.set_up import BALANCE_COEF, BIAS_RATE, SetUp
from moe_teach.nn.router import Router
from moe_teach.ops.balance import load, mean_probs, tokens_per_expert, update_expert_bias
from moe_teach.types import Routing


class LossNotAdded(SetUp):
    """The loss is computed, logged and forgotten (minimind, issue 140)."""

    def total_loss(self, task_loss: Tensor, routing: Routing) -> Tensor:
        """Give the task loss alone."""
        self.balance_loss(routing)
        return task_loss


class LossDetached(SetUp):
    """The loss is a number without a graph: no gradient reaches the router.

    In NVIDIA-NeMo Automodel, issue 1408, the same came about in another way: the tensor that
    carried the loss's gradient was thrown away, so the loss was neither added nor traced.
    """

    def balance_loss(self, routing: Routing) -> Tensor:
        """Give the right number, and nothing to differentiate."""
        return super().balance_loss(routing).detach()


class CoefficientTooLarge(SetUp):
    """The factor is ten times the prescribed one: no issue, a slip of the hand."""

    def total_loss(self, task_loss: Tensor, routing: Routing) -> Tensor:
        """Add the loss with a slipped decimal point."""
        return task_loss + 10 * BALANCE_COEF * self.balance_loss(routing)


class KNotDivided(SetUp):
    """The load counts K choices per token as K tokens (nanoMoE; minimind, issue 797)."""

    def balance_loss(self, routing: Routing) -> Tensor:
        """Sum a load that adds up to K."""
        share = tokens_per_expert(routing) / len(routing.expert_ids)
        return routing.n_experts * (share * mean_probs(routing)).sum()


class FirstChoiceOnly(SetUp):
    """Two experts are chosen and one is counted (Nano-MoE-JAX)."""

    def balance_loss(self, routing: Routing) -> Tensor:
        """Read the load off the first column."""
        first = torch.bincount(routing.expert_ids[:, 0], minlength=routing.n_experts)
        return routing.n_experts * (load(first) * mean_probs(routing)).sum()


class WrongAxis(SetUp):
    """Means over the experts instead of over the tokens (mindspore hyper-parallel, 752)."""

    def balance_loss(self, routing: Routing) -> Tensor:
        """Average each token's choices and probabilities, which are always the same."""
        chosen = torch.zeros_like(routing.probs).scatter(-1, routing.expert_ids, 1.0)
        share = chosen.mean(dim=-1) / routing.top_k
        return routing.n_experts**2 * (share * routing.probs.mean(dim=-1)).mean()


class LossReadsGates(SetUp):
    """The mean probability is taken from the softmax over the chosen logits (nanoMoE)."""

    def balance_loss(self, routing: Routing) -> Tensor:
        """Score the gates of the chosen where the probabilities of all belong."""
        gates = routing.logits.gather(-1, routing.expert_ids).softmax(dim=-1)
        spread = torch.zeros_like(routing.probs).scatter(-1, routing.expert_ids, gates)
        return routing.n_experts * (load(routing) * spread.mean(dim=0)).sum()


class BiasNeverMoves(SetUp):
    """The update is written and never called (MaxText 2494; DeepSeek-From-Scratch, chapter 4)."""

    def move_bias(self, router: Router, routing: Routing) -> None:
        """Leave the bias alone."""


class BiasMovesBackwards(SetUp):
    """The sign of the update is turned round: no issue, a slip of the hand."""

    def move_bias(self, router: Router, routing: Routing) -> None:
        """Raise the busy experts."""
        counts = tokens_per_expert(routing)
        router.expert_bias.copy_(update_expert_bias(router.expert_bias, counts, -BIAS_RATE))
