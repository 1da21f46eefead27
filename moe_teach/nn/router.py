"""The router: score every expert for every token, and choose."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from moe_teach.config import RouterConfig
from moe_teach.nn.linear import Linear, reset_parts
from moe_teach.ops.capacity import capacity_of
from moe_teach.ops.demand import demand_rows
from moe_teach.ops.route import (
    ROUTE,
    ROUTER_INPUT,
    demand_decidable,
    gates_of,
    is_plain,
    precise_logits,
    score,
    top_experts,
)
from moe_teach.ops.route.table import drawn_table, looked_up
from moe_teach.ops.route.variants import expert_choice, group_mask, jittered, noisy_logits
from moe_teach.types import Routing


class Router(nn.Module):
    """Choose experts for every token, in the way its `RouterConfig` describes.

    `proj` scores the experts. `expert_bias` steers the choice and never the mixture: it is added
    to the probabilities before top-k, and the gates are read from the probabilities without it
    (Wang et al. 2024, arXiv 2408.15664). It is a buffer: no optimiser moves it, and neither does
    this module; see `moe_teach.ops.balance.update_expert_bias`. It stays in float32 where the
    model is converted to a narrower dtype, which would swallow steps of 0.001.

    With `choice="table"` the experts of a token stand in `table`, by its id, and are not learned.
    The table is a buffer, too: K different experts for each id, drawn from a fixed seed.
    """

    expert_bias: Tensor  # (E,)
    table: Tensor  # (V, K)

    def __init__(self, d_model: int, config: RouterConfig) -> None:
        super().__init__()
        self.config = config
        # Large logits would decide before anything is learned.
        self.proj = Linear(d_model, config.n_experts, bias=config.bias, std=(0.1 / d_model) ** 0.5)
        self.noise_proj = Linear(d_model, config.n_experts, std=0.0) if config.noisy else None
        precise = torch.promote_types(torch.get_default_dtype(), torch.float32)
        self.register_buffer("expert_bias", torch.zeros(config.n_experts, dtype=precise))
        if config.table_size is not None:
            table = torch.empty(config.table_size, config.top_k, dtype=torch.int64)
            self.register_buffer("table", table)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw small weights, so that at first every expert gets a similar share.

        The variance is a tenth of 1 / D (Switch, arXiv 2101.03961, section 2.4). The noise starts
        equal for all experts, and so does the selection bias.
        """
        reset_parts(self)
        nn.init.zeros_(self.expert_bias)
        if self.config.choice == "table":
            self.table.copy_(drawn_table(*self.table.shape, self.config.n_experts, seed=0))

    def forward(
        self, x: Float[Tensor, "T D"], token_ids: Int[Tensor, "..."] | None = None
    ) -> Routing:
        """Decide for every token: x (T, D) -> `Routing`, at least in float32.

        A router is called with the tokens' ids too; this one looks at their vectors only, unless
        it has a table.
        Jitter and noise act in training only. With `choice="expert"` the record lists all E
        experts for every token, and `kept` says which of them chose it.

        Raises:
            ValueError: if `x` is not made of float rows of the right width, a logit is broken
                (not where a kernel decides, see `moe_teach.ops.route`), or token ids are needed
                and do not fit.
        """
        config, weight = self.config, self.proj.weight
        demand_rows(x, ROUTER_INPUT, weight.shape[-1])
        is_noisy = self.training and (config.jitter > 0 or config.noisy)
        if is_plain(config) and not is_noisy:
            return ROUTE(x, weight, self.expert_bias, config)
        logits = self._logits(x)
        probs = score(logits, config.score_fn)
        ranking = probs + self.expert_bias
        if not torch.compiler.is_compiling():
            demand_decidable(logits, ranking, "softmax")  # the bias may hold NaN
        if config.choice == "table":
            expert_ids = looked_up(self.table, token_ids, len(x))
            return Routing(logits, probs, gates_of(config, logits, probs, expert_ids), expert_ids)
        if config.choice == "expert":
            return self._experts_choose(logits, probs, ranking)
        return self._tokens_choose(logits, probs, ranking)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Router":
        """Convert and move this module as torch does, and keep the bias at least in float32."""
        bias = self.expert_bias
        super()._apply(fn, recurse)
        if self.expert_bias.itemsize < 4:
            self.expert_bias = bias.to(self.expert_bias.device, torch.float32)
        return self

    def _logits(self, x: Tensor) -> Tensor:
        if self.training and self.config.jitter:
            x = jittered(x.to(torch.promote_types(x.dtype, torch.float32)), self.config.jitter)
        logits = precise_logits(x, self.proj.weight, self.proj.bias)
        if self.training and self.noise_proj is not None:
            logits = noisy_logits(logits, precise_logits(x, self.noise_proj.weight))
        return logits

    def _tokens_choose(self, logits: Tensor, probs: Tensor, ranking: Tensor) -> Routing:
        config = self.config
        if config.n_groups > 1:
            may_choose = group_mask(ranking, config.n_groups, config.top_groups, config.group_score)
            ranking = ranking.masked_fill(~may_choose, -torch.inf)
        expert_ids = top_experts(ranking, config.top_k)
        return Routing(logits, probs, gates_of(config, logits, probs, expert_ids), expert_ids)

    def _experts_choose(self, logits: Tensor, probs: Tensor, ranking: Tensor) -> Routing:
        config = self.config
        n_tokens, n_experts = probs.shape
        kept = expert_choice(ranking, capacity_of(n_tokens, n_experts, config.top_k, 1.0))
        everyone = torch.arange(n_experts, device=probs.device).expand(n_tokens, -1)
        gates = gates_of(config, logits, probs.masked_fill(~kept, 0.0), everyone)
        return Routing(logits, probs, gates, everyone, kept, kept)
