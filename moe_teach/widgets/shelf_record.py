"""The record that the expert shelf shows: slots, modules, and the loss of what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moe_teach.config import refuse
from moe_teach.widgets.route_numbers import Array, numbers


@dataclass(frozen=True)
class ShelfModule:
    """One expert that lies on the shelf as a file, or came with the model.

    Args:
        name: by which it is put into a slot.
        domain: what it was trained for.
        trunk: of which it was trained on, a name or the beginning of its hash.
        slots: names of the slots it was made for; None for any.
        refused: the sentence with which the library refuses it, "" where it fits.
        note: what else its manifest says, in a few words.
    """

    name: str
    domain: str
    trunk: str
    slots: Sequence[str] | None = None
    refused: str = ""
    note: str = ""


@dataclass(frozen=True, eq=False)
class Measured:
    """The loss of the model with these contents of its slots.

    Args:
        contents: the name of the module in each slot, "" for an empty one.
        loss: (D,) or (S, D) nats, the loss of every domain, for one seed or S of them.
        rolled_back: the same, measured after this combination was taken out again; None where
            nobody looked.
    """

    contents: Sequence[str]
    loss: Array
    rolled_back: Array | None = None

    def __post_init__(self) -> None:
        """Keep contents as a tuple and losses as (S, D)."""
        object.__setattr__(self, "contents", tuple(self.contents))
        for name in ("loss", "rolled_back"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _seeds(name, getattr(self, name)))


@dataclass(frozen=True, eq=False)
class ShelfRecord:
    """A model's slots, the modules beside it, and what was measured of their combinations.

    Args:
        slots: names, as "layer 1, expert 3".
        modules: all that can lie in a slot, those of the start included.
        start: the contents before anything was installed, "" for an empty slot; it must have
            been measured.
        domains: names, in the order of every D.
        measured: one entry for each combination; all with the same seeds.
        trunk: of the model.
        noise: nats; a change below it means nothing.

    Raises:
        ValueError: for names that are unknown or used twice, a start or a module in a slot that
            does not fit, or losses whose shapes differ.
    """

    slots: Sequence[str]
    modules: Sequence[ShelfModule]
    start: Sequence[str]
    domains: Sequence[str]
    measured: Sequence[Measured]
    trunk: str
    noise: float | int = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be shown."""
        object.__setattr__(self, "start", tuple(self.start))
        names = [module.name for module in self.modules]
        refuse(
            len(set(names)) < len(names) or "" in names or not names,
            "Every module needs a name of its own, and there must be at least one.",
        )
        refuse(
            len(set(self.slots)) < len(self.slots) or not self.slots,
            "Every slot needs a name of its own, and there must be at least one.",
        )
        rows = [self.start, *(entry.contents for entry in self.measured)]
        refuse(
            any(len(row) != len(self.slots) or not set(row) <= {"", *names} for row in rows),
            f"Contents name for each of the {len(self.slots)} slots one of the modules, or '' for "
            f"an empty slot. The modules are {', '.join(map(repr, names))}.",
        )
        misfits = {s for m in self.modules for s in m.slots or ()} - set(self.slots)
        refuse(bool(misfits), f"Modules were made for slots that are not there: {sorted(misfits)}.")
        self._refuse_unmeasured()

    def _refuse_unmeasured(self) -> None:
        rows = [entry.contents for entry in self.measured]
        refuse(
            self.start not in rows or len(set(rows)) < len(rows),
            "Each combination is measured once, and the start must be among them: it is what "
            "every change is compared with.",
        )
        tables = [t for m in self.measured for t in (m.loss, m.rolled_back) if t is not None]
        refuse(
            len({t.shape for t in tables}) > 1 or tables[0].shape[1] != len(self.domains),
            f"Every loss needs the same seeds and the {len(self.domains)} domains, as (D,) or "
            "(S, D).",
        )

    def of(self, contents: Sequence[str]) -> Measured | None:
        """Give what was measured of these contents, or None."""
        found = (entry for entry in self.measured if entry.contents == tuple(contents))
        return next(found, None)

    def refusal(self, module: str, slot: str) -> str:
        """Say why a module may not go into a slot, "" where it may."""
        asked = next(each for each in self.modules if each.name == module)
        if asked.refused:
            return asked.refused
        if asked.trunk != self.trunk:
            return (
                f"{asked.name} was trained on the trunk {asked.trunk}, and this model has the "
                f"trunk {self.trunk}: its expert would read a state that nobody wrote for it."
            )
        if asked.slots is not None and slot not in asked.slots:
            return f"{asked.name} was made for {' or '.join(asked.slots)}, not for {slot}."
        return ""


def _seeds(name: str, values: Array) -> np.ndarray:
    """Read losses as (S, D)."""
    read = numbers(values)
    read = read[None] if read.ndim == 1 else read
    refuse(
        read.ndim != 2 or 0 in read.shape or not np.isfinite(read).all(),
        f"{name} must hold finite numbers of the shape (D,) or (S, D); it has {read.shape}.",
    )
    return read
