"""Makes a module of experts of a model, and finds the experts that a training changed."""

from collections.abc import Sequence
from typing import Any

import torch

from moe_teach.compose.modules.manifest import Manifest, Measured, Place
from moe_teach.compose.modules.module_file import ExpertModule
from moe_teach.compose.modules.trunk import trunk_digest
from moe_teach.compose.slots import read_expert
from moe_teach.config import refuse
from moe_teach.nn.model import Model


def pack(
    model: Model,
    places: Sequence[tuple[int, int]],
    name: str,
    *,
    domain: str = "",
    licence: str = "",
    note: str = "",
    measured: Sequence[Measured] = (),
) -> ExpertModule:
    """Take experts out of a model as a module; the model stays as it is.

    Args:
        model: whose experts they are; its trunk is the one that the module fits.
        places: (layer, expert), at most one of a layer.
        name: a word by which commands call the module.
        domain: what the experts are for.
        licence: on which terms they may be used, as an SPDX name.
        note: a sentence for whoever reads the label.
        measured: what the module changes, text by text.

    Raises:
        ValueError: there is no such layer or expert, or the label is not one.
    """
    where = tuple(Place(*place) for place in sorted(places))
    slots = {place: read_expert(model, *place) for place in where}
    manifest = Manifest(
        name=name,
        trunk=trunk_digest(model),
        places=tuple(tuple(place) for place in where),
        **sizes(model),
        domain=domain,
        licence=licence,
        note=note,
        measured=tuple(measured),
    )
    return ExpertModule(manifest, slots)


def sizes(model: Model) -> dict[str, Any]:
    """Return what a label says of the model that its module fits."""
    moe = model.config.moe
    return {
        "d_model": model.config.d_model,
        "d_ff": moe.d_ff,
        "n_experts": moe.router.n_experts,
        "activation": str(moe.nonlinearity),
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
    }


def changed_places(base: Model, trained: Model) -> tuple[Place, ...]:
    """Return the experts in which two models of one trunk differ, from the bottom up.

    Raises:
        ValueError: their trunks differ, so that an expert of one is nothing to the other.
    """
    refuse(
        trunk_digest(base) != trunk_digest(trained),
        "The trained model's trunk is not the base's: its training moved more than experts and "
        "routers, so its experts fit no other model. Train experts alone "
        "(moe_teach.compose.trainable).",
    )
    layers = [i for i, has in enumerate(base.config.layer_has_experts) if has]
    places = [
        Place(layer, e) for layer in layers for e in range(base.config.moe.n_computing_experts)
    ]
    return tuple(place for place in places if differs(base, trained, place))


def differs(one: Model, other: Model, place: Place) -> bool:
    """Say whether an expert, or what its router knows of it, is another in two models."""
    ours, theirs = read_expert(one, *place).tensors(), read_expert(other, *place).tensors()
    return any(not torch.equal(ours[name], theirs[name]) for name in ours)
