"""One MoE block of a published architecture, small and random."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from moe_teach.bench.blocks.grok import GrokBlock

Chosen = Callable[[nn.Module, Tensor, list[Any], int], Tensor]
"""From a block, its input, what its router returned, and E: who was chosen, (T, E)."""


def from_ids(block: nn.Module, x: Tensor, returned: list[Any], n_experts: int) -> Tensor:
    """Find the ids among what a router returns."""
    ids = next(part for part in returned[0] if not part.is_floating_point())
    return nn.functional.one_hot(ids, n_experts).sum(dim=1).bool()


def from_mask(block: nn.Module, x: Tensor, returned: list[Any], n_experts: int) -> Tensor:
    """Read a router that returns zeros for those who were not chosen, first of all."""
    return returned[0][0].reshape(-1, n_experts) > 0


def from_logits(block: nn.Module, x: Tensor, returned: list[Any], n_experts: int) -> Tensor:
    """Ask a block that chooses by itself, after its router (DBRX)."""
    return from_ids(block, x, [block.route_tokens_to_experts(returned[0])], n_experts)


def from_vectors(block: nn.Module, x: Tensor, returned: list[Any], n_experts: int) -> Tensor:
    """Ask an oracle about every vector."""
    ids = torch.stack([block.chosen(row)[1] for row in x.flatten(0, -2)])
    return from_ids(block, x, [(ids,)], n_experts)


@dataclass(frozen=True)
class BlockCase:
    """One block: where transformers keeps it, and with which settings it is built here.

    `title` is what its classes begin with, `block` what the block's name ends with. `rounds` says
    that its router computes in float32 whatever the block is converted to, and `layer` which layer
    of the model it is, where they differ.
    """

    name: str
    room: str
    title: str
    settings: Mapping[str, Any]
    block: str = "SparseMoeBlock"
    config: str = "Config"
    router: str = "gate"
    rounds: bool = True
    layer: int | None = None
    chosen: Chosen = field(default=from_ids)

    def build(self) -> tuple[Any, nn.Module]:
        """Give the configuration and the block, with random weights and buffers, in evaluation."""
        config, block = self._classes()
        config = config(**self.settings)
        _speak_plainly(config)
        built = block(config) if self.layer is None else block(config, self.layer)
        return config, randomised(built, config).eval()

    def _classes(self) -> tuple[Callable[..., Any], Callable[..., nn.Module]]:
        if self.room == "grok":
            return SimpleNamespace, GrokBlock
        place = f"transformers.models.{self.room}"
        config = import_module(f"{place}.configuration_{self.room}")
        block = import_module(f"{place}.modeling_{self.room}")
        return getattr(config, self.title + self.config), getattr(block, self.title + self.block)


def _speak_plainly(config: Any) -> None:
    """Ask for the experts written as a loop, which compute in any dtype."""
    config._experts_implementation = "eager"
    if hasattr(config, "ffn_config"):
        config.ffn_config._experts_implementation = "eager"


@torch.no_grad()
def randomised(block: nn.Module, config: Any) -> nn.Module:
    """Draw everything: biases too, and of a table K different experts for each token."""
    for name, tensor in [*block.named_parameters(), *block.named_buffers()]:
        if tensor.is_floating_point():
            nn.init.normal_(tensor, std=0.3 if "bias" in name else tensor.shape[-1] ** -0.5)
        else:
            lots = torch.rand(len(tensor), config.n_routed_experts)
            tensor.copy_(lots.topk(tensor.shape[-1]).indices)
    return block
