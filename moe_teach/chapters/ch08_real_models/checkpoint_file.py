"""A checkpoint of a few layers in the spelling of a family, read tensor by tensor."""

import gc
import random
import weakref
from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.exercise import Words, generator

SPELLING = {
    "mixtral": ("block_sparse_moe", ("w1", "w3", "w2")),
    "olmoe": ("mlp", ("gate_proj", "up_proj", "down_proj")),
    "qwen3_moe": ("mlp", ("gate_proj", "up_proj", "down_proj")),
}


class File:
    """A checkpoint file that sees what is read, and how many tensors are in memory.

    `layers` says for each layer how many experts it has; none makes it a dense layer.
    """

    def __init__(
        self,
        layers: dict[int, int],
        d_model: int,
        d_ff: int,
        seed: int,
        kind: str = "mixtral",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.block, self.parts = SPELLING[kind]
        self.read_names: list[str] = []
        self.most_at_once = 0
        self._numbers, self._dtype = generator(seed), dtype
        self._tensors: dict[str, Tensor] = {}
        self._alive: list[weakref.ref] = []
        for layer, n_experts in layers.items():
            self._put(f"model.layers.{layer}.input_layernorm.weight", d_model)
            if n_experts:
                self._put(self.prefix(layer) + "gate.weight", n_experts, d_model)
            owners = [f"experts.{e}." for e in range(n_experts)] or [""]
            for owner in owners:
                shapes = ((d_ff, d_model), (d_ff, d_model), (d_model, d_ff))
                for part, shape in zip(self.parts, shapes, strict=True):
                    self._put(f"{self.prefix(layer)}{owner}{part}.weight", *shape)
        self.names = list(self._tensors)
        random.Random(seed).shuffle(self.names)

    def _put(self, name: str, *shape: int) -> None:
        drawn = torch.randn(shape, generator=self._numbers) / shape[-1] ** 0.5
        self._tensors[name] = drawn.to(self._dtype)

    def prefix(self, layer: int) -> str:
        """What the names of a layer's block begin with."""
        return f"model.layers.{layer}.{self.block}."

    def read(self, name: str) -> Tensor:
        """Read one tensor from the file, anew each time."""
        if name not in self._tensors:
            raise KeyError(f"There is no tensor called {name!r} in this file.")
        self.read_names.append(name)
        gc.collect(0)
        tensor = self._tensors[name].clone()
        self._alive = [one for one in self._alive if one() is not None] + [weakref.ref(tensor)]
        self.most_at_once = max(self.most_at_once, len(self._alive))
        return tensor

    def router(self, layer: int) -> Tensor:
        """The router's matrix of a layer."""
        return self._tensors[self.prefix(layer) + "gate.weight"]

    def fused(
        self, layer: int, places: tuple[int, ...] = (0, 1, 2), order: list[int] | None = None
    ) -> tuple[Tensor, ...]:
        """Fuse gate, up and down matrices of a layer: right, or as a slip would."""
        numbers = range(len(self.router(layer))) if order is None else order
        prefix = self.prefix(layer) + "experts."
        return tuple(
            torch.stack([self._tensors[f"{prefix}{e}.{self.parts[place]}.weight"] for e in numbers])
            for place in places
        )

    def facts(self, layer: int) -> dict[str, Any]:
        """What a failing example shows."""
        shown = f"{len(self.names)} of them, e.g. {self.names[0]}"
        return {"names": Words(shown), "layer": layer}
