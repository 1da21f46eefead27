"""The prescription: one small MoE layer and what its trainer does around it, all of it sound.

Every patient of the clinic is this set-up with one thing changed. The sizes are tiny, so that a
whole examination takes about a second.
"""

import torch
from torch import Tensor, nn

from moe_teach.config import RouterConfig
from moe_teach.nn.experts import Experts
from moe_teach.nn.moe import MoE
from moe_teach.nn.router import Router
from moe_teach.ops.balance import tokens_per_expert, update_expert_bias
from moe_teach.ops.losses import load_balance_loss
from moe_teach.types import Routing

D_MODEL, N_EXPERTS, D_FF = 16, 8, 8
JITTER = 0.2
CAPACITY_FACTOR = 2.0
BALANCE_COEF = 0.3
BIAS_RATE = 0.0002


class WardLayer(MoE):
    """The library's layer with a capacity in training only: nobody is turned away later."""

    def _within_capacity(self, routing: Routing, shape: torch.Size) -> Routing:
        return super()._within_capacity(routing, shape) if self.training else routing


class SetUp:
    """What the author of the code believes to be running.

    Softmax over all experts, then the top k; gates renormalised for k >= 2 and raw for k = 1;
    jitter and capacity in training only; the balance loss of Switch, scaled so that even routing
    scores 1; a selection bias that moves once a step; the residual outside the layer.
    """

    router_class: type[Router] = Router
    layer_class: type[MoE] = WardLayer

    def __init__(self, top_k: int = 2) -> None:
        self.top_k = top_k

    def router_config(self) -> RouterConfig:
        """Describe the router; a gate that must sum to one teaches nothing at k = 1."""
        return RouterConfig(
            n_experts=N_EXPERTS,
            top_k=self.top_k,
            normalize_gates=self.top_k > 1,
            jitter=JITTER,
        )

    def layer(self, seed: int) -> MoE:
        """Build the layer; the same seed gives every patient the same weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            router = self.router_class(D_MODEL, self.router_config())
            experts = Experts(N_EXPERTS, D_MODEL, D_FF)
        return self.layer_class(router, experts, self.shared_expert(), CAPACITY_FACTOR)

    def shared_expert(self) -> nn.Module | None:
        """Nothing is always on."""
        return None

    def balance_loss(self, routing: Routing) -> Tensor:
        """Give the number that is logged as the balance loss."""
        return load_balance_loss(routing)

    def total_loss(self, task_loss: Tensor, routing: Routing) -> Tensor:
        """Give what is differentiated."""
        return task_loss + BALANCE_COEF * self.balance_loss(routing)

    def move_bias(self, router: Router, routing: Routing) -> None:
        """Move the selection bias after a step: idle experts up, busy ones down."""
        counts = tokens_per_expert(routing)
        router.expert_bias.copy_(update_expert_bias(router.expert_bias, counts, BIAS_RATE))
