"""The MoE layer: it composes, and computes nothing itself."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from moe_teach.config import DropPolicy, GatesOn, MoEConfig, refuse
from moe_teach.nn.experts import Experts
from moe_teach.nn.feed_forward import FeedForward, GatedFeedForward
from moe_teach.nn.router import Router
from moe_teach.ops.capacity import apply_capacity, capacity_of
from moe_teach.ops.demand import demand_routing_of, demand_rows
from moe_teach.ops.dispatch import DISPATCH, combine
from moe_teach.ops.mixing import gates_of_rows, without_identity
from moe_teach.ops.routed_ffn import routed_ffn
from moe_teach.types import Routing


class MoE(nn.Module):
    """Route, dispatch, let the experts compute, combine, add the shared expert.

    Any parts fit: a router is called as `router(x, token_ids) -> Routing`, experts as
    `experts(rows, expert_offsets) -> rows`, a shared expert as `shared_expert(x) -> y`. The
    residual connection is not inside.

    A capacity, if there is one, also holds in evaluation, where what a token is answered then
    depends on the others in its batch. Random drops draw afresh in training only: in evaluation
    the same batch draws the same lots every time.

    `capacity`, `gates_on` and `n_identity_experts` are explained in `MoEConfig`. The experts module
    holds those experts only that compute.
    """

    def __init__(
        self,
        router: nn.Module,
        experts: nn.Module,
        shared_expert: nn.Module | None = None,
        capacity_factor: float | None = None,
        drop_policy: DropPolicy = "first_come",
        *,
        capacity: int | None = None,
        gates_on: GatesOn = "output",
        n_identity_experts: int = 0,
    ) -> None:
        super().__init__()
        self.router = router
        self.experts = experts
        self.shared_expert = shared_expert
        self.capacity_factor = capacity_factor
        self.drop_policy = drop_policy
        self.capacity = capacity
        self.gates_on = gates_on
        self.n_identity_experts = n_identity_experts

    @classmethod
    def build(cls, d_model: int, config: MoEConfig, residual_scale: float = 1.0) -> "MoE":
        """Make the layer that `config` describes out of the library's own parts.

        `residual_scale` multiplies the first weights of every matrix that answers into the
        residual stream.
        """
        refuse(
            config.d_latent is not None,
            "Experts in a latent space are counted by moe_teach.cost but not built by "
            "moe_teach.nn: leave d_latent at its default to build a layer.",
        )
        inner = config.nonlinearity, residual_scale
        shared = None
        if config.shared_width:
            kind = GatedFeedForward if config.shared_gate else FeedForward
            shared = kind(d_model, config.shared_width, *inner)
        n_experts, d_ff = config.n_computing_experts, config.d_ff
        return cls(
            Router(d_model, config.router),
            Experts(n_experts, d_model, d_ff, *inner, config.bias),
            shared,
            config.capacity_factor,
            config.drop_policy,
            capacity=config.capacity,
            gates_on=config.gates_on,
            n_identity_experts=config.n_identity_experts,
        )

    def forward(
        self, x: Float[Tensor, "*batch D"], token_ids: Int[Tensor, "*batch"] | None = None
    ) -> tuple[Float[Tensor, "*batch D"], Routing]:
        """Transform every vector of `x`; also return who was chosen, for losses and plots.

        `token_ids` go to the router, which may look at them.
        """
        tokens = x.reshape(-1, x.shape[-1])
        ids = None if token_ids is None else token_ids.reshape(-1)
        routing = self._within_capacity(self._decided(tokens, ids), x.shape)
        y = self._mixture(tokens, routing)
        if self.shared_expert is not None:
            y = y + self.shared_expert(tokens)
        return y.view_as(x), routing

    def _decided(self, tokens: Tensor, token_ids: Tensor | None) -> Routing:
        try:
            return self.router(tokens, token_ids)
        except RuntimeError:  # of a router that does not look at its input before it multiplies
            demand_rows(tokens, "The MoE layer's input")
            raise

    def _mixture(self, tokens: Tensor, routing: Routing) -> Tensor:
        if not self.n_identity_experts:
            return self._through_experts(tokens, routing)
        others, returned = without_identity(routing, self.n_identity_experts)
        y = self._through_experts(tokens, others)
        return y + (returned[:, None] * tokens).to(y.dtype)

    def _through_experts(self, tokens: Tensor, routing: Routing) -> Tensor:
        demand_routing_of(tokens, routing)
        rows, dispatched = DISPATCH(tokens, routing)
        gates = routing.gates
        if self.gates_on == "input":
            rows = (gates_of_rows(gates, dispatched)[:, None] * rows).to(rows.dtype)
            gates = torch.ones_like(gates)
        return combine(self.experts(rows, dispatched.expert_offsets), gates, dispatched)

    @property
    def drops(self) -> bool:
        """Whether an expert may be full."""
        return self.capacity_factor is not None or self.capacity is not None

    def _within_capacity(self, routing: Routing, shape: torch.Size) -> Routing:
        if not self.drops:
            return routing
        n_tokens, n_experts, top_k = len(routing.probs), routing.n_experts, routing.top_k
        capacity, n_sequences = self.capacity, shape[:-2].numel()
        if capacity is None:
            n_sequences = 1
            capacity = capacity_of(n_tokens, n_experts, top_k, self.capacity_factor)
        lots = None
        if self.drop_policy == "random" and not self.training:
            lots = torch.Generator(routing.gates.device).manual_seed(0)
        return apply_capacity(
            routing, capacity, self.drop_policy, lots, n_sequences=max(1, n_sequences)
        )


class FusedMoE(MoE):
    """The same layer with the whole way of a token through its experts in one operation.

    `routed_ffn` reads the experts' matrices and picks the fastest way through them, so the
    experts are never called as a module: a hook on them, or another `forward`, would be passed
    by. Parts of your own belong into an `MoE`. Where gates weigh what experts read, the layer goes
    step by step.
    """

    def __init__(self, router: nn.Module, experts: Experts, *more: object, **named: object) -> None:
        refuse(
            type(experts) is not Experts,
            f"FusedMoE reads the matrices of the library's Experts and would never call "
            f"{type(experts).__name__}: put it into an MoE.",
        )
        super().__init__(router, experts, *more, **named)

    def _through_experts(self, tokens: Tensor, routing: Routing) -> Tensor:
        if self.gates_on == "input":
            return super()._through_experts(tokens, routing)
        experts = self.experts
        return routed_ffn(tokens, routing, experts.weights, experts.activation)
