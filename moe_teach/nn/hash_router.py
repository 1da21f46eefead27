"""The router that learns nothing: a fixed table from token to experts."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from moe_teach.config import refuse
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE
from moe_teach.ops.demand import demand_rows
from moe_teach.ops.route.table import drawn_table, looked_up
from moe_teach.types import Routing

NEVER = -80.0  # the logit of an expert outside the table: exp(-80) is nothing beside 1


class HashRouter(nn.Module):
    """Send every token to the experts that a fixed table holds for its id.

    Hash layers (Roller et al. 2021, arXiv 2106.04426): no parameters, nothing to balance, and the
    baseline that a learned router has to beat. The table is drawn from `seed`: each token id gets
    `top_k` different experts, all equally likely. Every gate is 1 / top_k.

    The choice depends on token ids, so ids must come with the vectors, as `MoE` and `Model` hand
    them to every router.
    """

    table: Tensor  # (V, K)

    def __init__(self, vocab_size: int, n_experts: int, top_k: int = 1, seed: int = 0) -> None:
        super().__init__()
        refuse(vocab_size < 1, f"vocab_size must be at least 1, but it is {vocab_size}.")
        refuse(
            not 1 <= top_k <= n_experts,
            f"top_k must lie between 1 and n_experts = {n_experts}, but it is {top_k}.",
        )
        self.n_experts, self.seed = n_experts, seed
        self.register_buffer("table", torch.empty(vocab_size, top_k, dtype=torch.int64))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table from the seed, the same on every device."""
        vocab_size, top_k = self.table.shape
        self.table.copy_(drawn_table(vocab_size, top_k, self.n_experts, self.seed))

    def forward(
        self, x: Float[Tensor, "T D"], token_ids: Int[Tensor, "..."] | None = None
    ) -> Routing:
        """Look every token up: token_ids, T of them in any shape -> `Routing`; `x` is not read.

        `probs` are the gates spread over all experts, 1 / top_k where chosen and 0 elsewhere (to
        rounding), and `logits` their logarithm with `NEVER` for 0. So auxiliary losses can be
        computed and describe the table truly, but they are constants: no loss moves a table.

        Raises:
            ValueError: if there are no token ids, not one for each row, or one not in the table.
        """
        demand_rows(x, "The router's input")
        expert_ids = looked_up(self.table, token_ids, len(x))
        top_k = expert_ids.shape[-1]
        dtype = torch.promote_types(x.dtype, torch.float32)
        gates = torch.full(expert_ids.shape, 1 / top_k, dtype=dtype, device=x.device)
        nobody = torch.full((len(x), self.n_experts), NEVER, dtype=dtype, device=x.device)
        logits = nobody.scatter(-1, expert_ids, gates.log())
        return Routing(logits, logits.softmax(dim=-1), gates, expert_ids)

    def extra_repr(self) -> str:
        """Say the sizes when the module is printed."""
        vocab_size, top_k = self.table.shape
        return f"{vocab_size=}, n_experts={self.n_experts}, {top_k=}"


def use_hash_routers(model: Model, seed: int = 0) -> Model:
    """Put a `HashRouter` in the place of every router of `model`, and return the model.

    Each layer gets a table of its own; sizes are those of the routers that were there. Do this
    before an optimiser is made: the old routers' parameters are gone afterwards.

    Raises:
        ValueError: if the model has no MoE layer.
    """
    layers = [module for module in model.modules() if isinstance(module, MoE)]
    refuse(not layers, "This model has no MoE layer whose router could be replaced.")
    vocab_size, device = model.config.vocab_size, model.embedding.weight.device
    for depth, layer in enumerate(layers):
        sizes = layer.router.config.n_experts, layer.router.config.top_k
        layer.router = HashRouter(vocab_size, *sizes, seed=1000 * seed + depth).to(device)
    return model
