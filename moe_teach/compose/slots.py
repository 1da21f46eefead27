"""One expert of a layer, with what its router knows of it: read out, and written into a place.

The experts of a layer are fused, so an expert is a slice of each tensor. Its row of the router
belongs to it as much as its matrices do: an expert that stands where another's row sends the
tokens is asked the other's questions.

In its layer, for tokens that choose an expert neither before nor after another stands there, the
new matrices change nothing, bit for bit. A new row changes nothing but the rounding of their gates
where gates are normalised over the chosen, or are scores of their own (sigmoid). Raw softmax gates
are shares of all experts, so there a new row moves every token a little.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from moe_teach.config import refuse
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE

_EXPERTS, _ROUTER = "experts.", "router."


@dataclass(frozen=True, eq=False)
class ExpertSlot:
    """What stands in one place of a layer: the expert's matrices, and the router's row for it.

    Both are tensors by the names that `Experts` and `Router` give them, without the axis of
    experts: `w_up` is (F, D), the router's `proj.weight` (D,), its `expert_bias` a number.
    """

    experts: Mapping[str, Tensor]
    router: Mapping[str, Tensor]

    def tensors(self) -> dict[str, Tensor]:
        """Return all of it by name, `experts.w_up` or `router.proj.weight`."""
        return {f"{_EXPERTS}{name}": tensor for name, tensor in self.experts.items()} | {
            f"{_ROUTER}{name}": tensor for name, tensor in self.router.items()
        }

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "ExpertSlot":
        """Make a slot of what `tensors` gave."""
        strange = [name for name in tensors if not name.startswith((_EXPERTS, _ROUTER))]
        refuse(bool(strange), f"An expert has no tensors called {', '.join(sorted(strange))}.")
        experts, router = (
            {name.removeprefix(front): t for name, t in tensors.items() if name.startswith(front)}
            for front in (_EXPERTS, _ROUTER)
        )
        return cls(experts, router)


def read_expert(model: Model, layer: int, expert: int) -> ExpertSlot:
    """Copy an expert and its router's row out of a model.

    Raises:
        ValueError: there is no such layer of experts, or no such expert.
    """
    moe = moe_of(model, layer)
    _demand_expert(moe, layer, expert)
    experts, router = _parts(moe)
    return ExpertSlot(
        {name: tensor[expert].detach().clone() for name, tensor in experts.items()},
        {name: tensor[expert].detach().clone() for name, tensor in router.items()},
    )


@torch.no_grad()
def write_expert(model: Model, layer: int, expert: int, slot: ExpertSlot) -> None:
    """Write an expert and its router's row over those of one place; nothing else is touched.

    Raises:
        ValueError: there is no such place, or the slot's tensors are not of its names and shapes;
            then nothing was written.
    """
    moe = moe_of(model, layer)
    _demand_expert(moe, layer, expert)
    pairs = list(zip(_parts(moe), (slot.experts, slot.router), strict=True))
    for there, brought in pairs:
        wanted = {name: tuple(tensor.shape[1:]) for name, tensor in there.items()}
        given = {name: tuple(tensor.shape) for name, tensor in brought.items()}
        refuse(
            wanted != given,
            f"An expert of layer {layer} is made of {wanted}, and this one of {given}: it was "
            "taken out of a model of other sizes.",
        )
    for there, brought in pairs:
        for name, tensor in there.items():
            tensor[expert] = brought[name].to(tensor)


def is_of_one_expert(name: str) -> bool:
    """Say whether a tensor of this name has a row for each expert, and is none of the trunk."""
    return ".ffn.experts." in name or ".ffn.router." in name


def layers_with_experts(model: Model) -> tuple[int, ...]:
    """Return the numbers of the layers that have experts, from bottom to top."""
    return tuple(i for i, block in enumerate(model.blocks) if isinstance(block.ffn, MoE))


def moe_of(model: Model, layer: int) -> MoE:
    """Return the feed-forward of a layer, which has experts.

    Raises:
        ValueError: there is no such layer, or it is dense.
    """
    has = layers_with_experts(model)
    refuse(not has, "This model has no experts: its layers are all dense.")
    refuse(
        layer not in has,
        f"There are no experts in layer {layer}: they stand in layers {', '.join(map(str, has))}.",
    )
    return model.blocks[layer].ffn


def demand_numbers(model: Model, layer: int, experts: Sequence[int]) -> None:
    """Refuse what are no experts of a layer.

    Raises:
        ValueError: there is no such layer or expert, or one is named twice.
    """
    n_experts = len(moe_of(model, layer).experts.w_up)
    refuse(
        len(set(experts)) < len(experts) or any(not 0 <= e < n_experts for e in experts),
        f"The experts of layer {layer} are numbers from 0 to {n_experts - 1}, each named once; "
        f"these are {list(experts)}.",
    )


def demand_every_layer(
    model: Model, named: Mapping[int, Sequence[object]], what: str
) -> tuple[int, ...]:
    """Return the layers with experts, for each of which as many things must be named.

    Args:
        model: stays as it is.
        named: layer -> what is named for it.
        what: its name, in the plural, for the sentence of a refusal.

    Raises:
        ValueError: there are no experts, a layer is missing or too many, or numbers differ.
    """
    layers = layers_with_experts(model)
    refuse(not layers, "This model has no experts: its layers are all dense.")
    refuse(
        tuple(sorted(named)) != layers,
        f"There are {what} for layers {sorted(named)}, and the layers with experts are "
        f"{list(layers)}: name all of them.",
    )
    counts = [len(named[layer]) for layer in layers]
    refuse(
        len(set(counts)) > 1,
        f"A model has one number of experts, so each layer must have equally many {what}; here "
        f"they are {counts}.",
    )
    return layers


def _demand_expert(moe: MoE, layer: int, expert: int) -> None:
    n_experts = len(moe.experts.w_up)
    refuse(
        expert not in range(n_experts),
        f"There is no expert {expert} in layer {layer}: they are counted from 0 to "
        f"{n_experts - 1}.",
    )


def _parts(moe: MoE) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Give the tensors of a layer that have a row for every expert, the router's table left out."""
    refuse(
        parametrize.is_parametrized(moe.experts),
        "Experts of this layer are being trained apart from the others, or have adapters: end that "
        "first.",
    )
    experts = dict(moe.experts.named_parameters())
    router = {
        name: tensor
        for name, tensor in moe.router.state_dict(keep_vars=True).items()
        if isinstance(tensor, Tensor) and name != "table"
    }
    return experts, router
