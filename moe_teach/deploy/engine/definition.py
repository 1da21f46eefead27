"""One forward pass over tokens of many texts: the definition.

It is the model's own pass, block by block, but for its end: of a piece of a prompt only the last
token's prediction is wanted, and the way from the residual stream to a large vocabulary is long.
"""

from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.deploy.engine.cache import Reading
from moe_teach.nn.model import Model
from moe_teach.types import Routing


def definition(
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
