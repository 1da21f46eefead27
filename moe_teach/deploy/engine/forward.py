"""One forward pass over tokens of many texts: the definition, and which pass a model gets.

It is the model's own pass, block by block, but for its end: of a piece of a prompt only the last
token's prediction is wanted, and the way from the residual stream to a large vocabulary is long.
"""

from collections.abc import Callable
from functools import partial

from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.config import refuse
from moe_teach.deploy.engine.cache import Reading
from moe_teach.deploy.engine.lean import LeanForward
from moe_teach.nn.mode import twin
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE
from moe_teach.nn.router import Router
from moe_teach.types import Routing

Forward = Callable[[Tensor, Reading, Tensor], tuple[Tensor, list[Routing]]]


def forward(
    model: Model, token_ids: Int[Tensor, " T"], reading: Reading, wanted: Int[Tensor, " n"]
) -> tuple[Float[Tensor, "n V"], list[Routing]]:
    """Read one token a row; return logits of the `wanted` rows, and the routing of every MoE layer.

    `reading` is filled with the new keys and values.
    """
    ids = token_ids[:, None]
    x, routings = model.embedding(ids), []
    for layer, block in enumerate(model.blocks):
        x, routing = block(x, reading, layer, ids)
        if routing is not None:
            routings.append(routing)
    return model.unembedding(model.norm(x[wanted, 0])), routings


def pass_through(model: Model) -> Forward:
    """Choose the way through a model: the lean one on a CPU in float32, else the definition."""
    return LeanForward(model) if LeanForward.serves(model) else partial(forward, model)


def serving(model: Model) -> Model:
    """Return the model ready to serve: in evaluation mode, and no expert ever full."""
    routers = [module for module in model.modules() if isinstance(module, Router)]
    refuse(
        any(router.config.choice == "expert" for router in routers),
        "Here the experts choose among all tokens they see, so an answer would depend on who else "
        "is served: serve a model with choice='token'.",
    )
    ready = twin(model).eval()
    for module in ready.modules():
        if isinstance(module, MoE):
            module.capacity_factor = None
    return ready
