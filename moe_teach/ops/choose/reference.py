"""The definition of the plain router, in the functions of `moe_teach.ops.route`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from moe_teach.config import RouterConfig
from moe_teach.ops.route import gates_for, score, top_experts
from moe_teach.types import Routing


def choose_reference(
    x: Tensor, weight: Tensor, expert_bias: Tensor | None, config: RouterConfig
) -> Routing:
    """Compute logits, then probabilities, then the choice, then the gates."""
    logits = precise_logits(x, weight)
    probs = score(logits, config.score_fn)
    ranking = probs if expert_bias is None else probs + expert_bias
    expert_ids = top_experts(ranking, config.top_k)
    return Routing(logits, probs, gates_for(config, logits, probs, expert_ids), expert_ids)


def precise_logits(x: Tensor, weight: Tensor) -> Tensor:
    """Compute x @ weight.T at least in float32, also where autocast asks for less.

    Rounding can swap two experts of nearly equal score, so bfloat16 is not enough here.
    """
    if torch.is_autocast_enabled(x.device.type):
        with torch.autocast(x.device.type, enabled=False):
            return precise_logits(x, weight)
    precise = torch.promote_types(x.dtype, torch.float32)
    return F.linear(x.to(precise), weight.to(precise))
