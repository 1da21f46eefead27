"""What the router of each published block answers, read into one form.

Most classes of transformers 5.23 return logits, gates and expert ids. Llama-4 returns a score for
every expert, zero for those not chosen; Switch a one-hot row, of zeros where the capacity dropped
the token; DBRX logits only, and its block chooses. A class that returns only logits, as several
did in earlier releases, is read by its rule: the choice is redone from scores and selection bias.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from moe_teach.analysis.routes.recorder import LayerRoutes, margins_of
from moe_teach.config import RouterConfig, refuse
from moe_teach.ops.route import score_of, top_experts
from moe_teach.ops.route.gates import gates_of
from moe_teach.ops.route.variants import group_mask


class Answer(NamedTuple):
    """Logits, and who was chosen with which gates, in any order; `kept` where tokens can drop."""

    logits: Float[Tensor, "T E"]
    expert_ids: Int[Tensor, "T K"]
    gates: Float[Tensor, "T K"]
    kept: Bool[Tensor, "T K"] | None = None


def read_answer(
    returned: Any, model_type: str, config: RouterConfig, bias: Float[Tensor, " E"] | None
) -> LayerRoutes:
    """Read what a router returned: the choices best first, as they were ranked.

    Args:
        returned: the output of the router's `forward`.
        model_type: the architecture, by its name in config.json.
        config: the rule of the router, from `moe_teach.checkpoint.blocks.moe_from`.
        bias: the selection bias, where there is one.

    Raises:
        ValueError: the output has a form that is not known here.
    """
    read = _READERS.get(model_type, _logits_gates_ids)
    if isinstance(returned, Tensor) and model_type not in _READERS:
        answer = redone(returned.flatten(0, -2), config, bias)
    else:
        answer = _demanded(read(returned, config), model_type, config)
    probs = score_of(answer.logits, config.score_fn)
    ranked = probs if bias is None else probs + bias
    order = ranked.gather(1, answer.expert_ids).argsort(dim=1, descending=True, stable=True)
    expert_ids = answer.expert_ids.gather(1, order)
    kept = None if answer.kept is None else answer.kept.gather(1, order)
    gates = answer.gates.gather(1, order).float()
    return LayerRoutes(expert_ids, gates, margins_of(ranked, expert_ids).float(), kept)


def answers_in_three_parts(model_type: str) -> bool:
    """Whether routers of an architecture answer logits, gates and expert ids in transformers."""
    return model_type not in _READERS


def redone(
    logits: Float[Tensor, "T E"], config: RouterConfig, bias: Float[Tensor, " E"] | None
) -> Answer:
    """Choose once more, as the rule says: scores, selection bias, open groups, the best K."""
    probs = score_of(logits, config.score_fn)
    ranked = probs if bias is None else probs + bias
    if config.n_groups > 1:
        is_open = group_mask(ranked, config.n_groups, config.top_groups, config.group_score)
        ranked = ranked.masked_fill(~is_open, -torch.inf)
    expert_ids = top_experts(ranked, config.top_k)
    return Answer(logits, expert_ids, gates_of(config, logits, probs, expert_ids))


def _logits_gates_ids(returned: Any, config: RouterConfig) -> Answer:
    logits, gates, expert_ids = returned
    return Answer(logits, expert_ids, gates)


def _dbrx(logits: Tensor, config: RouterConfig) -> Answer:
    """Choose in the precision of the model, as the block does: in bfloat16 there are ties."""
    probs = logits.softmax(-1)
    expert_ids = probs.topk(config.top_k).indices
    return Answer(logits, expert_ids, gates_of(config, logits, probs, expert_ids))


def _llama4(returned: Any, config: RouterConfig) -> Answer:
    scores, logits = returned
    gates, expert_ids = scores.topk(config.top_k)
    return Answer(logits, expert_ids, gates)


def _switch(returned: Any, config: RouterConfig) -> Answer:
    """Tell a dropped token's choice as the router made it, before the capacity took it away."""
    one_hot, gates, logits = (part.flatten(0, -2) for part in returned)
    expert_ids = logits.softmax(-1).to(gates.dtype).argmax(-1, keepdim=True)
    return Answer(logits, expert_ids, gates, one_hot.any(-1, keepdim=True))


_READERS: dict[str, Callable[[Any, RouterConfig], Answer]] = {
    "dbrx": _dbrx,
    "llama4_text": _llama4,
    "switch_transformers": _switch,
}


def _demanded(answer: Answer, model_type: str, config: RouterConfig) -> Answer:
    shapes = [part.shape[-1] for part in answer[:3]]
    refuse(
        shapes != [config.n_experts, config.top_k, config.top_k],
        f"The router of {model_type} returned parts of widths {shapes} where logits of "
        f"{config.n_experts} experts and ids and gates of {config.top_k} were expected: this "
        "release of transformers may order them otherwise; 5.23 is known here.",
    )
    return answer
