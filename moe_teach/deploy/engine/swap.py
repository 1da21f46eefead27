"""Put another expert into a model that is being served, and take it out again."""

import torch
from torch import Tensor

from moe_teach.config import refuse
from moe_teach.nn.experts import Experts
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE
from moe_teach.types import ExpertWeights

_NAMES = ("w_up", "w_down", "w_gate")


class ExpertSwap:
    """The experts of a model as they were changed: every change is a version, and can be undone."""

    def __init__(self, model: Model) -> None:
        self.layers = [block.ffn for block in model.blocks if isinstance(block.ffn, MoE)]
        self.version = 0
        self._before: list[tuple[int, int, ExpertWeights]] = []

    def replace(self, layer: int, expert: int, weights: ExpertWeights) -> int:
        """Write one expert's matrices into the model; all checks come before the first write."""
        own = self._experts(layer)
        n_experts = len(own.w_up)
        refuse(
            not 0 <= expert < n_experts,
            f"There is no expert {expert}: this layer's are numbered 0 to {n_experts - 1}.",
        )
        for name in _NAMES:
            _demand_fit(name, getattr(weights, name), getattr(own, name))
        self._before.append((layer, expert, _copied(own, expert)))
        _write(own, expert, weights)
        self.version += 1
        return self.version

    def roll_back(self) -> int:
        """Undo the latest change that was not undone yet."""
        refuse(not self._before, "There is nothing to roll back: no expert was replaced.")
        layer, expert, weights = self._before.pop()
        _write(self._experts(layer), expert, weights)
        self.version += 1
        return self.version

    def _experts(self, layer: int) -> Experts:
        n_layers = len(self.layers)
        refuse(
            not 0 <= layer < n_layers,
            f"There is no MoE layer {layer}: this model has {n_layers}, counted from 0 without "
            "its dense layers.",
        )
        experts = self.layers[layer].experts
        refuse(
            not isinstance(experts, Experts),
            f"The experts of layer {layer} are {type(experts).__name__}: only those of the "
            "library keep their matrices where one can be replaced.",
        )
        return experts


def _demand_fit(name: str, new: Tensor | None, own: Tensor | None) -> None:
    if own is None and new is None:
        return
    refuse(
        own is None or new is None,
        f"{name} is {'missing' if new is None else 'not used by these experts'}: only SwiGLU "
        "experts have w_gate.",
    )
    shape = (1, *own.shape[1:])
    refuse(
        new.shape != shape or new.dtype != own.dtype,
        f"{name} must be {own.dtype} of shape {shape}, one expert of this layer, but it is "
        f"{new.dtype} of shape {tuple(new.shape)}.",
    )
    refuse(
        not bool(new.isfinite().all()),
        f"{name} holds numbers that are infinite or NaN: such an expert would silence the model.",
    )


def _copied(own: Experts, expert: int) -> ExpertWeights:
    matrices = (getattr(own, name) for name in _NAMES)
    return ExpertWeights(
        *(None if m is None else m.detach()[expert : expert + 1].clone() for m in matrices)
    )


@torch.no_grad()
def _write(own: Experts, expert: int, weights: ExpertWeights) -> None:
    for name in _NAMES:
        if (new := getattr(weights, name)) is not None:
            getattr(own, name)[expert] = new[0]
