"""The parts of a model as a file wants them, and whether they are as its configuration says."""

from collections.abc import Iterator

import torch
from torch import Tensor

from moe_teach.config import ModelConfig, refuse
from moe_teach.nn.block import Block
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE


def demand_as_configured(model: Model) -> None:
    """Refuse a model that was changed after it was built: a file says what its configuration says.

    Raises:
        ValueError: what is otherwise, and where.
    """
    _demand_shapes(model)
    for layer, block in enumerate(model.blocks):
        for what, held, promised in _rules(model.config, block):
            refuse(
                held != promised,
                f"The {what} of layer {layer} is {held}, but the model's configuration says "
                f"{promised}: give the model the configuration of what it holds.",
            )


def _demand_shapes(model: Model) -> None:
    held = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    for name, shape in _promised_shapes(model.config):
        refuse(
            held.get(name) != shape,
            f"{name} has the shape {held.get(name)}, but the model's configuration says {shape}: "
            "give the model the configuration of what it holds.",
        )


def _promised_shapes(config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Say what decides about all other shapes (a model on the meta device takes seconds)."""
    width, attention, moe = config.d_model, config.attention, config.moe
    yield "embedding.weight", (config.vocab_size, width)
    for layer, has_experts in enumerate(config.layer_has_experts):
        prefix = f"blocks.{layer}."
        yield f"{prefix}attention.q_proj.weight", (attention.n_heads * attention.d_head, width)
        yield f"{prefix}attention.k_proj.weight", (attention.n_kv_heads * attention.d_head, width)
        if not has_experts or moe is None:
            yield f"{prefix}ffn.w_up.weight", (config.d_ff_dense or 0, width)
            continue
        yield f"{prefix}ffn.router.proj.weight", (moe.router.n_experts, width)
        yield f"{prefix}ffn.experts.w_up", (moe.router.n_experts, moe.d_ff, width)
        if moe.shared_width:
            yield f"{prefix}ffn.shared_expert.w_up.weight", (moe.shared_width, width)


def _rules(config: ModelConfig, block: Block) -> Iterator[tuple[str, object, object]]:
    """Give what a layer works by, and what the configuration says about it."""
    yield "attention", block.attention.config, config.attention
    yield "norm's epsilon", block.attention_norm.eps, config.norm_eps
    ffn, moe = block.ffn, config.moe
    if isinstance(ffn, MoE) and moe is not None:
        held, promised = ffn.shared_expert is not None, bool(moe.shared_width)
        yield "number of shared experts", int(held), int(promised)


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
