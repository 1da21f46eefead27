"""A `ModelConfig` as the `config.json` of a layout, and back."""

from collections.abc import Mapping
from typing import Any

from moe_teach.checkpoint.layouts.canonical import canonical, flat, places
from moe_teach.checkpoint.layouts.layout import N_LAYERS, REQUIRED, Key, Layout
from moe_teach.checkpoint.layouts.shared import HARMLESS
from moe_teach.config import ModelConfig, refuse
from moe_teach.config.tables import build

_ROPE = ("rope_parameters", "rope_scaling", "rope_theta", "partial_rotary_factor")


def to_json(layout: Layout, config: ModelConfig) -> dict[str, Any]:
    """Say what `config` describes in the words of a layout; the guard tells whether it can.

    Args:
        layout: whose keys to use.
        config: of a model with experts; what acts in training alone is not said.
    """
    config = canonical(config)
    ours = flat(config)
    said: dict[str, Any] = {"architectures": [layout.architecture], "model_type": layout.name}
    for key in layout.keys:
        value = ours.get(key.ours)
        if key.ours == "d_ff_dense" and value is None:
            value = config.moe.d_ff  # no layer has this width, and programs want a number
        said.setdefault(key.theirs, key.values.get(value) if key.values else value)
    theta = config.attention.rope_theta
    turned = {"partial_rotary_factor": 1.0} if layout.rope.turned != 1 else {}
    said |= {
        # The first is read by transformers 5, the second by older programs.
        "rope_parameters": {"rope_type": "default", "rope_theta": theta, **turned},
        "rope_theta": theta,
        **turned,
        **layout.fixed,
        **layout.written,
        **layout.dense(config),
    }
    return said


def from_json(layout: Layout, said: Mapping[str, Any]) -> ModelConfig:
    """Read the `config.json` of a layout.

    Raises:
        ValueError: in a sentence, for a key that is missing, unknown or of the wrong kind, or that
            asks for something `moe_teach.nn` does not compute.
    """
    _demand_known(layout, said)
    table: dict[str, Any] = {"moe": {"router": {}}, "attention": {}}
    for key in layout.keys:
        _put(table, key.ours, _value(layout, key, said))
    for path, value in layout.always.items():
        _put(table, path, value(said) if callable(value) else value)
    _put(table, "attention.rope_theta", _theta(layout, said))
    pattern = layout.sparse(said)
    refuse(not any(pattern), "config.json describes a model none of whose layers has experts.")
    found = places(pattern)
    refuse(
        found is None,
        "config.json puts experts into layers "
        f"{', '.join(str(layer) for layer, has in enumerate(pattern) if has)}, which is no regular "
        "pattern: a model here has some dense layers first, and then experts in every n-th.",
    )
    table["n_dense_layers"], table["moe_every"] = found
    if all(pattern):
        table.pop("d_ff_dense", None)
    return build(ModelConfig, table, "config.json")


def _demand_known(layout: Layout, said: Mapping[str, Any]) -> None:
    for name in (N_LAYERS, "hidden_size", "num_attention_heads"):
        value = said.get(name)
        refuse(
            type(value) is not int or value < 1,
            f"config.json must say {name} as a whole number above 0, but it says {value!r}.",
        )
    for name, only in layout.fixed.items():
        value = said.get(name, only)
        refuse(
            value != only,
            f"config.json says {name} = {value!r}, and only {only!r} is what moe_teach.nn "
            f"computes: this {layout.title} cannot be opened here.",
        )
    keys = {name for key in layout.keys for name in (key.theirs, key.also)}
    known = (
        keys
        | {*layout.fixed, *layout.written, *layout.harmless}
        | HARMLESS
        | set(_ROPE)
        | set(layout.placing)
    )
    # transformers writes what it did not ask for as null.
    unknown = sorted(name for name in set(said) - known if said[name] not in (None, False))
    refuse(
        bool(unknown),
        f"config.json has {', '.join(unknown)}, which a {layout.title} here knows nothing of: "
        "the model may compute something else. Remove what you know to be harmless.",
    )


def _value(layout: Layout, key: Key, said: Mapping[str, Any]) -> Any:
    value = said.get(key.theirs)
    if value is None and key.also:
        value = said.get(key.also)
    if value is None:
        refuse(key.default is REQUIRED, f"config.json lacks {key.theirs}.")
        value = key.default(said) if callable(key.default) else key.default
    if key.values is None:
        return value
    for ours, theirs in key.values.items():
        if theirs == value:
            return ours
    raise ValueError(
        f"config.json says {key.theirs} = {value!r}, and a {layout.title} knows "
        f"{' or '.join(map(repr, key.values.values()))}."
    )


def _theta(layout: Layout, said: Mapping[str, Any]) -> float:
    """Read the base of the rotary embedding, and refuse those that turn in other ways."""
    rope: dict[str, Any] = {}
    for name in ("rope_scaling", "rope_parameters"):
        stated = said.get(name) or {}
        kind = stated.get("rope_type", stated.get("type", "default"))
        refuse(
            kind != "default",
            f"config.json asks for the rotary embedding {kind!r}, and moe_teach.nn computes the "
            "plain one only.",
        )
        rope |= stated
    absent = said.get("partial_rotary_factor") or layout.rope.turned
    turned = rope.get("partial_rotary_factor") or absent
    refuse(
        turned != 1,
        f"Only {turned:.0%} of each head turns in this {layout.title} (partial_rotary_factor), "
        "and moe_teach.nn turns whole heads: it cannot be opened here.",
    )
    theta = rope.get("rope_theta") or said.get("rope_theta") or layout.rope.theta
    refuse(
        not isinstance(theta, int | float),
        f"config.json must say rope_theta as a number, but it says {theta!r}.",
    )
    return float(theta)


def _put(table: dict[str, Any], path: str, value: Any) -> None:
    *rooms, name = path.split(".")
    for room in rooms:
        table = table.setdefault(room, {})
    table[name] = value
