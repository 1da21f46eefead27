"""Reading the fields of a request body, each with its type and range, or a sentence about it."""

import json
import math
from collections.abc import Mapping
from typing import Any

from moe_teach.deploy.server.refusals import demand

_SHOWN = 60  # letters of a wrong value that a sentence repeats


class Fields:
    """The fields of one body; remembers which were read, so that the others can be named.

    A field that is null counts as not given, as with OpenAI.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = {name: value for name, value in body.items() if value is not None}
        self._read: set[str] = set()

    def get(self, name: str) -> Any:
        """Return a field as it came, or None."""
        self._read.add(name)
        return self._body.get(name)

    def unread(self) -> tuple[str, ...]:
        """Return the names of the fields that nobody asked for."""
        return tuple(sorted(set(self._body) - self._read))

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Read a number between two ends, both allowed."""
        value = self.get(name)
        if value is None:
            return default
        demand(
            _is_number(value) and low <= value <= high,
            f"{name} must be a number from {low:g} to {high:g}, but it is {shown(value)}.",
            param=name,
        )
        return float(value)

    def whole(self, name: str, low: int, high: int | None = None) -> int | None:
        """Read a whole number, or None where it is not given."""
        value = self.get(name)
        if value is None:
            return None
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= low
        ends = f"of at least {low}" if high is None else f"from {low} to {high}"
        demand(
            fits and (high is None or value <= high),
            f"{name} must be a whole number {ends}, but it is {shown(value)}.",
            param=name,
        )
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """Read true or false."""
        value = self.get(name)
        if value is None:
            return default
        demand(
            isinstance(value, bool),
            f"{name} must be true or false, not {shown(value)}.",
            param=name,
        )
        return value

    def text(self, name: str, default: str) -> str:
        """Read a text."""
        value = self.get(name)
        if value is None:
            return default
        demand(isinstance(value, str), f"{name} must be a text, not {shown(value)}.", param=name)
        return value


def shown(value: Any) -> str:
    """Write a wrong value as JSON, short enough for a sentence."""
    written = json.dumps(value)
    return written if len(written) <= _SHOWN else written[:_SHOWN] + " ..."


def demand_readable(text: str, name: str) -> str:
    """Return a text that can be written as UTF-8: JSON can smuggle in half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        half = "half of a character (a lone surrogate)"
        demand(False, f"{name} holds {half}, which is no text: send whole characters.", param=name)
    return text


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and (isinstance(value, int) or math.isfinite(value))
