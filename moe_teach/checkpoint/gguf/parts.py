"""The parts of a model as a file wants them."""

import torch
from torch import Tensor

from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE


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
