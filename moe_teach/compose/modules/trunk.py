"""The trunk of a model: all that its routed experts share, and the name that its numbers give it.

An expert reads what the layers below it write, and answers into what the layers above it read.
It means something beside the trunk it was trained on and nowhere else; so a module carries the
trunk's digest, and goes into no other model.
"""

import json

from moe_teach.checkpoint.digests import digest_of_tensors
from moe_teach.checkpoint.model_tensors import named_tensors
from moe_teach.compose.slots import is_of_one_expert
from moe_teach.config import ModelConfig
from moe_teach.config.tables import as_table
from moe_teach.nn.model import Model


def trunk_digest(model: Model) -> str:
    """Return the SHA-256 of the configuration and of every tensor that is of no single expert.

    Embeddings, attention, norms, dense layers and shared experts count, each with its name, dtype
    and bytes; routed experts and routers do not. So two models have the same trunk if and only if
    they differ in nothing but experts and routing. A model in another dtype is another trunk.
    """
    return digest_of_tensors(
        ((name, tensor) for name, tensor in named_tensors(model) if not is_of_one_expert(name)),
        _said(model.config),
    )


def _said(config: ModelConfig) -> bytes:
    return json.dumps(as_table(config), sort_keys=True).encode()
