"""The MoE layer: it composes, and computes nothing itself."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from moe_teach.config import DropPolicy, MoEConfig, refuse
from moe_teach.nn.experts import Experts
from moe_teach.nn.feed_forward import FeedForward
from moe_teach.nn.router import Router
from moe_teach.ops.capacity import apply_capacity, capacity_of
from moe_teach.ops.demand import demand_rows
from moe_teach.ops.dispatch import combine, dispatch
from moe_teach.types import Routing


class MoE(nn.Module):
    """Route, dispatch, let the experts compute, combine, add the shared expert.

    Any parts fit: a router is called as `router(x) -> Routing`, experts as
    `experts(rows, expert_offsets) -> rows`, a shared expert as `shared_expert(x) -> y`. The
    residual connection is not inside. A capacity, if there is one, also holds in evaluation.

    Experts that can do the whole way themselves, from tokens to tokens, have a method
    `routed(x, routing) -> y`, and a method `prefers_tokens(x, routing)` that says when to call it.

    A router that chooses by token id says so with an attribute `reads_token_ids = True`; it is
    then called as `router(x, token_ids)`.
    """

    def __init__(
        self,
        router: nn.Module,
        experts: nn.Module,
        shared_expert: nn.Module | None = None,
        capacity_factor: float | None = None,
        drop_policy: DropPolicy = "first_come",
    ) -> None:
        super().__init__()
        self.router = router
        self.experts = experts
        self.shared_expert = shared_expert
        self.capacity_factor = capacity_factor
        self.drop_policy = drop_policy

    @classmethod
    def build(cls, d_model: int, config: MoEConfig) -> "MoE":
        """Make the layer that `config` describes out of the library's own parts."""
        refuse(
            config.bias,
            "Linear biases in routers and experts are counted by moe_teach.cost but not built by "
            "moe_teach.nn: leave bias at False to build a layer.",
        )
        shared = None
        if config.shared_width:
            shared = FeedForward(d_model, config.shared_width, config.activation)
        return cls(
            Router(d_model, config.router),
            Experts(config.router.n_experts, d_model, config.d_ff, config.activation),
            shared,
            config.capacity_factor,
            config.drop_policy,
        )

    @property
    def reads_token_ids(self) -> bool:
        """Whether the router wants to know which token each vector stands for."""
        return getattr(self.router, "reads_token_ids", False)

    def forward(
        self, x: Float[Tensor, "*batch D"], token_ids: Int[Tensor, "*batch"] | None = None
    ) -> tuple[Float[Tensor, "*batch D"], Routing]:
        """Transform every vector of `x`; also return who was chosen, for losses and plots.

        `token_ids` go to a router that reads them and to nobody else.
        """
        tokens = x.reshape(-1, x.shape[-1])
        demand_rows(tokens, "The MoE layer's input")
        asked = (tokens, token_ids) if self.reads_token_ids else (tokens,)
        routing = self._within_capacity(self.router(*asked))
        y = self._through_experts(tokens, routing)
        if self.shared_expert is not None:
            y = y + self.shared_expert(tokens)
        return y.view_as(x), routing

    def _through_experts(self, tokens: Tensor, routing: Routing) -> Tensor:
        prefers_tokens = getattr(self.experts, "prefers_tokens", None)
        if prefers_tokens is not None and prefers_tokens(tokens, routing):
            return self.experts.routed(tokens, routing)
        rows, dispatched = dispatch(tokens, routing)
        return combine(self.experts(rows, dispatched.expert_offsets), routing.gates, dispatched)

    def _within_capacity(self, routing: Routing) -> Routing:
        if self.capacity_factor is None:
            return routing
        n_tokens, n_experts, top_k = len(routing.probs), routing.n_experts, routing.top_k
        capacity = capacity_of(n_tokens, n_experts, top_k, self.capacity_factor)
        return apply_capacity(routing, capacity, self.drop_policy)
