"""What each layer of experts was given and decided while a model read a text."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from moe_teach.compose.slots import layers_with_experts, moe_of
from moe_teach.config import refuse
from moe_teach.data.batches import Batch, text_mask
from moe_teach.nn.mode import in_evaluation
from moe_teach.nn.model import Model
from moe_teach.types import Routing


@dataclass(frozen=True, eq=False)
class Work:
    """One layer's share of a batch: the vectors that it was given, and its decision about them."""

    layer: int
    tokens: Float[Tensor, "T D"]
    routing: Routing


@torch.no_grad()
def work_of(model: Model, batches: Iterable[Batch]) -> Iterator[Work]:
    """Send text through a model in evaluation mode; give each layer's work, batch by batch.

    Padding, and positions that no target asks for, are left out. So a batch with a mask needs no
    other treatment than one without.

    Raises:
        ValueError: the model has no experts, or there is no batch.
    """
    layers = layers_with_experts(model)
    refuse(not layers, "This model has no experts: its layers are all dense.")
    device, had_work = next(model.parameters()).device, False
    for batch in batches:
        had_work = True
        here = batch.to(device)
        text = text_mask(here.targets, here.real)
        # With a mask, a layer is handed the text alone.
        wanted = text.flatten() if here.real is None else text[here.real]
        given: dict[int, Tensor] = {}
        with in_evaluation(model), ExitStack() as watched:
            for layer in layers:
                hook = moe_of(model, layer).register_forward_pre_hook(_keeper(given, layer))
                watched.callback(hook.remove)
            routings = here.through(model).routings
        for layer, routing in zip(layers, routings, strict=True):
            mine = routing.only(text.flatten())
            yield Work(layer, given[layer].reshape(-1, given[layer].shape[-1])[wanted], mine)
    refuse(not had_work, "There was no batch, so the experts had no work.")


def _keeper(given: dict[int, Tensor], layer: int):
    def keep(_module: torch.nn.Module, arguments: tuple) -> None:
        given[layer] = arguments[0]

    return keep
