"""From tables (TOML, JSON) to frozen configurations and back, with every mistake in a sentence."""

import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from moe_teach.config.refusal import refuse

T = TypeVar("T")


def build(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    """Make a configuration out of a table; `where` names the table in messages.

    Raises:
        ValueError: for an unknown key, a missing one, a value of the wrong kind, or a combination
            that the configuration itself refuses.
    """
    known = {field.name: field for field in fields(cls)}
    demand_known(table, known, where)
    missing = [name for name, field in known.items() if _is_required(field) and name not in table]
    refuse(bool(missing), f"[{where}] lacks {_listed(missing)}.")
    hints = get_type_hints(cls)
    values = {name: _value(hints[name], table[name], f"{where}.{name}") for name in table}
    try:
        return cls(**values)
    except ValueError as problem:
        raise ValueError(f"[{where}]: {problem}") from problem


def as_table(config: Any) -> dict[str, Any]:
    """Return what a configuration says, as plain values; what it leaves at its default is left out.

    So a field that is added later does not change the tables of what came before it.
    `build` makes the same configuration again.
    """
    said = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if _is_required(field) or value != _default(field):
            said[field.name] = _plain(value)
    return said


def demand_known(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Refuse keys that mean nothing, and guess what was meant."""
    names = list(known)
    for key in table:
        close = difflib.get_close_matches(key, names, n=1)
        guess = f"did you mean {close[0]!r}?" if close else f"it knows {_listed(names)}."
        refuse(key not in names, f"[{where}] has a key {key!r} that means nothing here: {guess}")


def _is_required(field: Field) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _default(field: Field) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return as_table(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _value(hint: Any, value: Any, where: str) -> Any:
    """Convert one value of a table to the type that a field declares."""
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(choice for choice in get_args(hint) if choice is not type(None))
    if is_dataclass(hint):
        refuse(not isinstance(value, dict), f"{where} must be a table: write [{where}].")
        return build(hint, value, where)
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        refuse(value not in choices, f"{where} must be {_listed(choices)}, not {value!r}.")
        return value
    if get_origin(hint) is tuple:
        refuse(not isinstance(value, list), f"{where} must be a list, not {value!r}.")
        return tuple(_value(get_args(hint)[0], item, where) for item in value)
    if get_origin(hint) is dict:
        refuse(not isinstance(value, dict), f"{where} must be a table, not {value!r}.")
        return {
            key: _value(get_args(hint)[1], item, f"{where}.{key}") for key, item in value.items()
        }
    if hint is float and type(value) is int:
        return float(value)
    # bool is an int for Python; a recipe that says `steps = true` is a mistake all the same.
    refuse(type(value) is not hint, f"{where} must be {_KINDS.get(hint, hint)}, not {value!r}.")
    return value


def _listed(names: Iterable[Any]) -> str:
    words = [str(name) for name in names]
    return "".join(words) if len(words) < 2 else f"{', '.join(words[:-1])} or {words[-1]}"


_KINDS = {int: "a whole number", float: "a number", str: "a text in quotes", bool: "true or false"}
