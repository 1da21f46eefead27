"""Blocks of every published architecture, each built once: what is watched is left as it was."""

import copy
from functools import cache

import torch
from torch import nn

from moe_teach.bench.blocks.cases import CASES

PUBLISHED = [case for case in CASES if case.room != "grok"]  # of which transformers has none
BY_NAME = {case.name: case for case in CASES}


class Alone(nn.Module):
    """One block as a model of as many layers as the block's number asks for."""

    def __init__(self, case) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.config, block = case.build()
        self.layers = nn.ModuleDict({str(case.layer or 0): block})
        self.name = case.name

    @property
    def block(self) -> nn.Module:
        return next(iter(self.layers.values()))

    @property
    def width(self) -> int:
        return self.config.d_model if hasattr(self.config, "d_model") else self.config.hidden_size

    def inputs(self, shape=(2, 9)):
        torch.manual_seed(1)
        # Switch turns its router's matrix into float32 when it is first used.
        x = torch.randn(*shape, self.width).to(next(self.block.experts.parameters()).dtype)
        hashed = self.name.endswith("hash layer")
        return (x, *((torch.randint(50, shape),) if hashed else ()))


@cache
def alone(name: str, dtype: torch.dtype = torch.float32) -> Alone:
    """Give the block of an architecture, the same one to every test."""
    if dtype is not torch.float32:
        return copy.deepcopy(alone(name)).to(dtype)
    return Alone(BY_NAME[name])
