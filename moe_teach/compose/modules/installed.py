"""Modules in a saved model: put in, listed, taken out; what stood there before is kept.

The list of what is installed lies in the checkpoint's own record, so numbers and list change in
one moment or not at all. Before that, the experts that make room are packed as a module of their
own into the folder's `replaced/`, from where `remove` brings them back, bit for bit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from moe_teach.checkpoint import store
from moe_teach.checkpoint.model_tensors import named_tensors
from moe_teach.checkpoint.native import load_model
from moe_teach.compose.modules.listing import (
    LIST,
    Installed,
    demand_on_top,
    entries_of,
    entry_named,
)
from moe_teach.compose.modules.manifest import Place
from moe_teach.compose.modules.module_file import SUFFIX, ExpertModule, read_module, write_module
from moe_teach.compose.modules.packing import pack, sizes
from moe_teach.compose.modules.trunk import trunk_digest
from moe_teach.compose.slots import ExpertSlot, read_expert, write_expert
from moe_teach.config import refuse
from moe_teach.files import alone_in
from moe_teach.nn.model import Model

_REPLACED = "replaced"


def list_modules(folder: Path | str) -> tuple[Installed, ...]:
    """Return what is installed in a saved model, in the order in which it came.

    Raises:
        FileNotFoundError: there is no model.
        ValueError: the folder holds something else, or a damaged model.
    """
    _demand_own(Path(folder))
    with store.reading(folder) as (_, meta):
        return entries_of(meta, Path(folder))


def install(folder: Path | str, file: Path | str, expert: int | None = None) -> Installed:
    """Put a module into a saved model; the model is the old one or the new one, never between.

    Args:
        folder: a model that `save_model` wrote.
        file: the module.
        expert: the number of the expert that makes room in each layer of the module; None takes
            the number that it had where it was packed.

    Raises:
        FileNotFoundError: there is no such model or module.
        ValueError: the module is of another trunk, of another shape, damaged, or there already.
    """
    folder, module = Path(folder), read_module(Path(file))
    _demand_own(folder)
    if expert is not None:
        module = _moved(module, expert)
    with alone_in(folder):
        model, meta = load_model(folder).model, _meta(folder)
        listed = entries_of(meta, folder)
        fits(model, module)
        _demand_finite(module)
        refuse(
            any(one.manifest.name == module.manifest.name for one in listed),
            f"A module called {module.manifest.name} is installed in {folder} already: remove it "
            "first.",
        )
        before = pack(model, module.manifest.places, f"before-{module.manifest.name}"[:64])
        entry = Installed(module.manifest, module.digest, f"{before.digest[:16]}{SUFFIX}")
        write_module(before, folder / _REPLACED / entry.replaced)
        _write(model, module)
        _save(folder, model, meta, (*listed, entry))
    return entry


def remove(folder: Path | str, name: str, *, force: bool = False) -> Installed:
    """Take a module out of a saved model and put back what it replaced, bit for bit.

    Args:
        folder: a model that `save_model` wrote.
        name: of the module, as `list_modules` gives it.
        force: also where its experts have been changed since, and would be lost.

    Raises:
        FileNotFoundError: there is no such model, or what was replaced is gone.
        ValueError: there is no such module, a later one stands in its place, or its experts were
            changed.
    """
    folder = Path(folder)
    _demand_own(folder)
    with alone_in(folder):
        model, meta = load_model(folder).model, _meta(folder)
        listed = entries_of(meta, folder)
        entry = entry_named(listed, name, folder)
        demand_on_top(listed, entry)
        here = {place: read_expert(model, *place) for place in entry.manifest.where()}
        refuse(
            not force and ExpertModule(entry.manifest, here).digest != entry.digest,
            f"The experts of {name} were changed after they were installed, and removing it would "
            "lose that: pack them first, or say that they may be lost (--force).",
        )
        before = read_module(folder / _REPLACED / entry.replaced)
        fits(model, before)
        _write(model, before)
        _save(folder, model, meta, tuple(one for one in listed if one is not entry))
    return entry


def put_in(model: Model, module: ExpertModule) -> None:
    """Write a module's experts over those of a model in memory; nothing else of it is touched.

    Raises:
        ValueError: the module does not fit; then nothing was written.
    """
    fits(model, module)
    _demand_finite(module)
    _write(model, module)


def _write(model: Model, module: ExpertModule) -> None:
    for place, slot in module.slots.items():
        write_expert(model, *place, slot)


def fits(model: Model, module: ExpertModule) -> None:
    """Refuse a module that a model cannot take.

    Raises:
        ValueError: it was trained beside another trunk, its shapes or dtype are others, or its
            label says what is not so.
    """
    manifest, trunk = module.manifest, trunk_digest(model)
    refuse(
        trunk != manifest.trunk,
        f"The module {manifest.name} was trained beside another trunk (its digest begins with "
        f"{manifest.trunk[:12]}, this model's with {trunk[:12]}), and means nothing here: its "
        "experts read what other layers wrote. Train it again beside this model.",
    )
    for name, size in sizes(model).items():
        said = getattr(manifest, name)
        refuse(
            said != size,
            f"The label of {manifest.name} says {name} = {said!r}, and it is {size!r} in the model "
            "whose trunk it names: the label is wrong. Get the file again, or do without it.",
        )
    for place, slot in module.slots.items():
        _demand_same_shapes(read_expert(model, *place), slot, f"{manifest.name}, {place}")


def _demand_same_shapes(there: ExpertSlot, brought: ExpertSlot, what: str) -> None:
    wanted = {name: (tuple(t.shape), t.dtype) for name, t in there.tensors().items()}
    given = {name: (tuple(t.shape), t.dtype) for name, t in brought.tensors().items()}
    differing = sorted(set(wanted.items()) ^ set(given.items()), key=str)
    if differing:
        name = differing[0][0]
        raise ValueError(
            f"{what}: {name} is {_shape(given.get(name))}, and the model's is "
            f"{_shape(wanted.get(name))}. A module fits a model of its own widths, activation and "
            "dtype only."
        )


def _demand_finite(module: ExpertModule) -> None:
    for place, slot in module.slots.items():
        broken = [name for name, t in slot.tensors().items() if not torch.isfinite(t).all()]
        refuse(
            bool(broken),
            f"{module.manifest.name}, {place}: {', '.join(broken)} holds numbers that are not "
            "finite.",
        )


def _shape(said: tuple[tuple[int, ...], torch.dtype] | None) -> str:
    return "not there" if said is None else f"{said[0]} of {str(said[1]).removeprefix('torch.')}"


def _moved(module: ExpertModule, expert: int) -> ExpertModule:
    places = tuple(Place(place.layer, expert) for place in module.slots)
    manifest = replace(module.manifest, places=tuple(tuple(place) for place in places))
    return ExpertModule(manifest, dict(zip(places, module.slots.values(), strict=True)))


def _demand_own(folder: Path) -> None:
    refuse(
        not store.exists(folder) and (folder / "config.json").is_file(),
        f"{folder} is a released checkpoint, and modules go into the course's own form: "
        f"`moe-teach import {folder} --to FOLDER` makes one.",
    )
    if not store.exists(folder):
        raise FileNotFoundError(f"There is no latest checkpoint in {folder}.")


def _meta(folder: Path) -> dict[str, Any]:
    with store.reading(folder) as (_, meta):
        return meta


def _save(folder: Path, model: Model, meta: Mapping[str, Any], listed: Sequence[Installed]) -> None:
    store.save(
        folder, dict(named_tensors(model)), {**meta, LIST: [one.as_table() for one in listed]}
    )
    # What the checkpoint before this one needs is kept with it, and so for one step longer.
    needed = {one.replaced for one in (*listed, *entries_of(meta, folder))}
    kept = folder / _REPLACED
    for file in [*kept.glob(f"*{SUFFIX}"), *kept.glob(".*.tmp")]:  # and what a kill left behind
        if file.name not in needed:
            file.unlink(missing_ok=True)
