"""The router guard: a model is written in a layout only if that layout computes the same.

A wrong pairing would load without a word and answer wrongly: gates that are renormalised or not,
a selection bias that is dropped, a capacity that nobody knows of. The guard says in a sentence
what does not fit, and what would.
"""

from dataclasses import is_dataclass
from typing import Any

from torch import nn

from moe_teach.checkpoint.layouts import LAYOUTS, Layout, layout_named
from moe_teach.checkpoint.layouts.canonical import canonical, flat
from moe_teach.checkpoint.layouts.config_json import from_json, to_json
from moe_teach.checkpoint.model_tensors import named_tensors, outline
from moe_teach.config import ModelConfig, refuse
from moe_teach.nn.attention import Attention
from moe_teach.nn.block import Block
from moe_teach.nn.experts import Experts
from moe_teach.nn.feed_forward import DenseFFN, FeedForward, GatedFeedForward
from moe_teach.nn.linear import Embedding, Linear
from moe_teach.nn.model import Model
from moe_teach.nn.moe import FusedMoE, MoE
from moe_teach.nn.router import Router

_OURS = (
    *(Model, Block, Attention, Router, Experts, MoE, FusedMoE),
    *(DenseFFN, FeedForward, GatedFeedForward),
)
_PLACING = ("n_dense_layers", "moe_every", "d_ff_dense", "activation")
_TORCHS = (Embedding, Linear, nn.RMSNorm, nn.ModuleList)


def misfits(layout: Layout, config: ModelConfig, has_bias: bool = False) -> list[str]:
    """List what a layout cannot say of a model; empty where it computes the same.

    Args:
        layout: a published layout.
        config: of the model.
        has_bias: whether the selection bias of any of its routers is not zero.
    """
    wanted = canonical(config)
    if wanted.moe is None:
        return ["no layer of this model has experts"]
    found = [problem for need in layout.needs if (problem := need(wanted))]
    if has_bias and not layout.has_selection_bias:
        found.append("the routers have a selection bias (expert_bias), and it has none")
    try:
        there = canonical(from_json(layout, to_json(layout, wanted)))
    except ValueError as problem:  # widths that the layout would have to be of cannot be built
        return found or [str(problem)]
    placed = there.layer_has_experts == wanted.layer_has_experts
    if not placed:
        found.append(f"experts stand in layers {_experts(wanted)} here and {_experts(there)} there")
    ours, theirs = flat(wanted), flat(there)
    found += [
        _difference(path, ours[path], theirs.get(path))
        for path in ours
        if ours[path] != theirs.get(path) and (placed or path not in _PLACING)
    ]
    return found


def demand_fit(layout: Layout, config: ModelConfig, has_bias: bool = False) -> None:
    """Refuse a pairing that would be silently wrong.

    Raises:
        ValueError: in a sentence, with the layouts that fit.
    """
    if found := misfits(layout, config, has_bias):
        raise ValueError(
            f"This model cannot be written as {layout.title}: {'; '.join(found)}. "
            f"{_advice(config, has_bias)}"
        )


def fitting(config: ModelConfig, has_bias: bool = False) -> Layout:
    """Return the plainest layout that computes what a model computes.

    Raises:
        ValueError: there is none; the sentence says of each what does not fit.
    """
    for layout in LAYOUTS:
        if not misfits(layout, config, has_bias):
            return layout
    raise ValueError(f"This model fits no published layout. {_advice(config, has_bias)}")


def chosen(layout: Layout | str | None, model: Model) -> Layout:
    """Return the layout that a model is written in: the one that is wished for, if it fits.

    Raises:
        ValueError: it does not fit, or none does, or there is no layout of that name.
    """
    bias = has_bias(model)
    if layout is None:
        return fitting(model.config, bias)
    layout = layout_named(layout) if isinstance(layout, str) else layout
    demand_fit(layout, model.config, bias)
    return layout


def has_bias(model: Model) -> bool:
    """Tell whether any router of a model has a selection bias that is not zero."""
    routers = [module for module in model.modules() if isinstance(module, Router)]
    return any(bool(router.expert_bias.count_nonzero()) for router in routers)


def demand_plain(model: nn.Module) -> None:
    """Refuse a model that is not made of the library's parts, or not as its configuration says.

    Raises:
        ValueError: names the part.
    """
    refuse(
        type(model) is not Model,
        f"{type(model).__name__} is a class of your own, and a layout writes the weights of "
        "moe_teach.nn.model.Model: read them into one with `moe_teach.checkpoint.own.as_ours`.",
    )
    for name, part in model.named_modules():
        refuse(
            type(part) not in (*_OURS, *_TORCHS),
            f"{name} is a {type(part).__name__}, which no layout knows: its weights say nothing "
            "about what it computes. A part of your own can be read as ours with "
            "`moe_teach.checkpoint.own.as_ours`, if it computes the same.",
        )
    _demand_as_configured(model, outline(model.config))


def _demand_as_configured(model: Model, promised: Model) -> None:
    """Refuse a model that was changed after it was built: a file says what its config says."""
    shapes = {name: tuple(tensor.shape) for name, tensor in named_tensors(promised)}
    held = {name: tuple(tensor.shape) for name, tensor in named_tensors(model)}
    for name in sorted(shapes.keys() | held.keys()):
        refuse(
            shapes.get(name) != held.get(name),
            f"{name} has the shape {held.get(name)}, but the model's configuration makes it "
            f"{shapes.get(name)}: give the model the configuration of what it holds.",
        )
    for name, part in promised.named_modules():
        there = _settings(model.get_submodule(name))
        for setting, value in _settings(part).items():
            if there.get(setting) != value:
                raise ValueError(
                    f"{name or 'the model'} was changed after the model was built: "
                    f"{_changed(setting, there.get(setting), value)}. Build the model from the "
                    "configuration that you mean, and load the weights into it."
                )


def _changed(setting: str, held: Any, promised: Any) -> str:
    """Say what differs; of a configuration, only the first field that does."""
    if is_dataclass(held) and type(held) is type(promised):
        fields = flat(held), flat(promised)
        setting = next(path for path in fields[0] if fields[0][path] != fields[1].get(path))
        held, promised = (each[setting] for each in fields)
    return f"its {setting} is {held}, and model.config makes it {promised}"


def _settings(part: nn.Module) -> dict[str, Any]:
    """Return what a part was told when it was made, as far as it bears on what it computes."""
    return {
        name: value
        for name, value in vars(part).items()
        if name[0] != "_" and name not in ("training", "std", "scale", "residual_scale")
    }


def _experts(config: ModelConfig) -> str:
    layers = [layer for layer, has in enumerate(config.layer_has_experts) if has]
    return ", ".join(map(str, layers[:4])) + (", ..." if len(layers) > 4 else "")


def _difference(path: str, ours: Any, theirs: Any) -> str:
    if path in ("moe.capacity_factor", "moe.capacity"):
        name = path.removeprefix("moe.")
        return (
            f"its layers turn tokens away ({name} is {ours}), which no published layout "
            f"does: build it with {name}=None if it shall answer without"
        )
    return f"{path} is {ours!r} here and {theirs!r} there"


def _advice(config: ModelConfig, has_bias: bool) -> str:
    every = {layout: misfits(layout, config, has_bias) for layout in LAYOUTS}
    good = [
        f"{layout.title} (layout {layout.name!r})" for layout, found in every.items() if not found
    ]
    if good:
        return f"It can be written as {' or '.join(good)}."
    return " ".join(f"{layout.title}: {'; '.join(found)}." for layout, found in every.items())
