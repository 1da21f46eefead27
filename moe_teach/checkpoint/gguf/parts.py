"""The parts of a model as a file wants them."""

import torch
from torch import Tensor

from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE


def selection_bias(model: Model) -> Tensor:
    """Return the selection biases of all MoE layers in one row; nothing where there are none."""
    rows = [block.ffn.router.expert_bias for block in model.blocks if isinstance(block.ffn, MoE)]
    return torch.cat(rows) if rows else torch.zeros(0)
