"""The parts of a model as a file wants them; parts that are not the library's are refused."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from moe_teach.config import refuse
from moe_teach.nn.attention import Attention
from moe_teach.nn.block import Block
from moe_teach.nn.experts import Experts
from moe_teach.nn.feed_forward import DenseFFN, FeedForward
from moe_teach.nn.model import Model
from moe_teach.nn.moe import FusedMoE, MoE
from moe_teach.nn.router import Router


def demand_own_parts(model: nn.Module) -> None:
    """Refuse a model that holds parts of somebody else, or that is not as its configuration says.

    A file holds numbers and a name, never code: what another router does would be lost in it.

    Raises:
        ValueError: which part it is, in which layer.
    """
    refuse(
        type(model) is not Model,
        f"Only a moe_teach.nn.model.Model can be written as GGUF, not a {type(model).__name__}.",
    )
    for layer, block in enumerate(model.blocks):
        for part, known in _parts(block):
            refuse(
                type(part) not in known,
                f"Layer {layer} holds a {type(part).__name__}. A GGUF file holds numbers and no "
                f"program, so only the library's own parts can be written: "
                f"{', '.join(own.__name__ for own in known)}.",
            )
    _demand_shapes(model)
    _demand_rules(model)


def _parts(block: nn.Module) -> Iterator[tuple[nn.Module, tuple[type, ...]]]:
    """Give the parts of a layer, the outer ones first, each with the types it may have."""
    yield block, (Block,)
    yield block.attention, (Attention,)
    yield block.ffn, (MoE, FusedMoE, DenseFFN)
    if isinstance(block.ffn, MoE):
        yield block.ffn.router, (Router,)
        yield block.ffn.experts, (Experts,)
        if block.ffn.shared_expert is not None:
            yield block.ffn.shared_expert, (FeedForward,)


def _demand_shapes(model: Model) -> None:
    with torch.device("meta"):
        promised = Model(model.config).state_dict()
    held = model.state_dict()
    for name in sorted(promised.keys() | held.keys()):
        ours = tuple(held[name].shape) if name in held else None
        theirs = tuple(promised[name].shape) if name in promised else None
        refuse(
            ours != theirs,
            f"{name} has the shape {ours}, but the model's configuration says {theirs}: give the "
            "model the configuration of what it holds.",
        )


def _demand_rules(model: Model) -> None:
    for layer, block in enumerate(model.blocks):
        if isinstance(block.ffn, MoE):
            promised = (model.config.moe.router, model.config.moe.capacity_factor)
            held = (block.ffn.router.config, block.ffn.capacity_factor)
            refuse(
                held != promised,
                f"Layer {layer} routes by {held}, but the model's configuration says {promised}: "
                "give the model the configuration of what it holds.",
            )


def selection_bias(model: Model) -> Tensor:
    """Return the selection biases of all MoE layers in one row; nothing where there are none."""
    rows = [block.ffn.router.expert_bias for block in model.blocks if isinstance(block.ffn, MoE)]
    return torch.cat(rows) if rows else torch.zeros(0)


def by_neighbours(rows: Tensor, d_head: int) -> Tensor:
    """Reorder the rows (H * d_head, ...) of a projection for a rotation that pairs neighbours.

    Ours turns feature i with feature i + d/2; so row i of a head goes to place 2i, and row
    i + d/2 beside it. Attention does not notice, because queries and keys are reordered alike.
    """
    heads = rows.unflatten(0, (-1, 2, d_head // 2))
    return heads.transpose(1, 2).flatten(0, 2)
