"""What a module says of itself: whose expert it is, what for, on which terms, and what it did."""

import math
import re
import unicodedata
from dataclasses import dataclass
from typing import Any, NamedTuple

from moe_teach.config import refuse
from moe_teach.config.tables import as_table, build

SCHEMA = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Place(NamedTuple):
    """Where an expert stands in a model: its layer, counted from the bottom, and its number."""

    layer: int
    expert: int

    def __str__(self) -> str:
        return f"layer {self.layer}, expert {self.expert}"


def read_place(said: str) -> Place:
    """Read `LAYER:EXPERT`, as commands take it.

    Raises:
        ValueError: it is not of that form.
    """
    layer, _, expert = said.partition(":")
    refuse(
        not (layer.isdecimal() and expert.isdecimal()),
        f"An expert is named as LAYER:EXPERT, as 0:3, not {said!r}.",
    )
    return Place(int(layer), int(expert))


def _is_plain(sign: str) -> bool:
    """Say whether a sign is shown, and does nothing else to what shows it."""
    return sign.isprintable() or unicodedata.category(sign) == "Zs" or sign == "\u200d"


@dataclass(frozen=True)
class Measured:
    """Nats per token on one kind of text without a module and with it, and on how many tokens."""

    domain: str
    before: float
    after: float
    n_tokens: int

    def __post_init__(self) -> None:
        refuse(
            not (math.isfinite(self.before) and math.isfinite(self.after)) or self.n_tokens < 1,
            f"On {self.domain!r} {self.before} and {self.after} nats were measured on "
            f"{self.n_tokens} tokens: that is no measurement.",
        )

    @property
    def gain(self) -> float:
        """How many nats per token the module saves; below zero it costs."""
        return self.before - self.after


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The label of a module.

    `trunk` is the digest of the model beside which the experts were trained
    (`moe_teach.compose.modules.trunk`). `places` says where they stood, one expert a layer;
    `activation` and the widths what they compute. `measured` compares the model that the module
    was packed from with the base it was made of: an empty tuple says that nobody has measured.
    """

    name: str
    trunk: str
    places: tuple[tuple[int, int], ...]
    d_model: int
    d_ff: int
    n_experts: int
    activation: str
    dtype: str
    domain: str = ""
    licence: str = ""
    note: str = ""
    measured: tuple[Measured, ...] = ()

    def __post_init__(self) -> None:
        refuse(
            _NAME.fullmatch(self.name) is None,
            f"A module's name is a word of letters from a to z, digits, dots, dashes and "
            f"underscores, at most 64 of them, because files and commands use it; {self.name!r} is "
            "none.",
        )
        texts = (self.activation, self.dtype, self.domain, self.licence, self.note)
        for text in (*texts, *(one.domain for one in self.measured)):
            refuse(
                not all(map(_is_plain, text)),
                f"A label is shown on terminals and pages, and {text[:60]!r} has signs that are "
                "no text: it is one line of letters, digits, signs and spaces.",
            )
        layers = [layer for layer, _ in self.places]
        refuse(
            not layers or sorted(set(layers)) != layers,
            f"A module holds one expert of a layer, for one layer or several from the bottom up; "
            f"these are of layers {layers}.",
        )
        low = min(min(place) for place in self.places)
        refuse(low < 0, f"Layers and experts are counted from 0, but a place says {low}.")

    def where(self) -> tuple[Place, ...]:
        """Return the places as records."""
        return tuple(Place(*place) for place in self.places)

    def as_table(self) -> dict[str, Any]:
        """Return plain JSON values, with the version of their form."""
        return {"schema": SCHEMA, **as_table(self)}


def manifest_from(table: dict[str, Any], where: str) -> Manifest:
    """Read what `as_table` wrote; `where` names the file in messages.

    Raises:
        ValueError: something is missing, unknown or of the wrong kind, or the form is newer.
    """
    said = dict(table)
    schema = said.pop("schema", None)
    refuse(
        schema not in range(1, SCHEMA + 1),
        f"{where} is a module of form {schema!r}, and this version of the course reads form "
        f"{SCHEMA}: install the newest version to read it.",
    )
    places = said.get("places")
    refuse(
        isinstance(places, list) and any(isinstance(p, list) and len(p) != 2 for p in places),
        f"{where}: a place is a layer and an expert, and its places are {places!r}.",
    )
    return build(Manifest, said, where)
