"""Experts as modules: what the content of a slot does to the loss of every domain."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import traitlets

from moe_teach.config import refuse
from moe_teach.widgets import still
from moe_teach.widgets.base import CourseWidget
from moe_teach.widgets.shelf_example import example
from moe_teach.widgets.shelf_record import Measured, ShelfRecord

__all__ = ["ExpertShelf", "ShelfRecord"]

MOST_SLOTS, MOST_MODULES, MOST_DOMAINS = 16, 24, 8  # more would not fit one picture


class ExpertShelf(CourseWidget):
    """A model's slots beside a shelf of modules, and the stored loss of what was measured.

    `contents` names the module in each slot ("" for none), `held` the one in the reader's hand,
    `rolled` the contents that were rolled back last ([] for none), `tried` the module and the slot
    of the last refusal. With `force` a refused module goes in all the same, to see what the refusal
    spares. Everything comes from a `ShelfRecord`; no model is run.
    """

    _esm = Path(__file__).with_suffix(".js")
    _css = Path(__file__).with_suffix(".css")
    alt: ClassVar[str] = (
        "A model's slots with an expert in each, a shelf with more experts, and for every domain "
        "its loss before, with what is in the slots now, and after it was rolled back."
    )
    what_to_try: ClassVar[tuple[str, str, str]] = (
        "Put a module into a slot it was made for. Which domain gains, which one loses, and which "
        "do not move at all? Roll it back: is anything left of it?",
        "Put the expert of one domain into the slot of another one. Is it better than nothing, and "
        "for whom?",
        "Try to install the module of another trunk, and read why it is refused. Then install it "
        "all the same: what did the refusal spare you?",
    )

    slots = traitlets.List(traitlets.Unicode()).tag(sync=True)
    modules = traitlets.List(traitlets.Dict()).tag(sync=True)
    start = traitlets.List(traitlets.Unicode()).tag(sync=True)
    domains = traitlets.List(traitlets.Unicode()).tag(sync=True)
    combinations = traitlets.List(traitlets.List(traitlets.Unicode())).tag(sync=True)
    losses = traitlets.Bytes(b"").tag(sync=True)
    n_seeds = traitlets.Int(1, min=1).tag(sync=True)
    trunk = traitlets.Unicode("").tag(sync=True)
    noise = traitlets.Float(0.0).tag(sync=True)
    note = traitlets.Unicode("").tag(sync=True)
    contents = traitlets.List(traitlets.Unicode()).tag(sync=True)
    held = traitlets.Unicode("").tag(sync=True)
    rolled = traitlets.List(traitlets.Unicode()).tag(sync=True)
    tried = traitlets.List(traitlets.Unicode()).tag(sync=True)
    force = traitlets.Bool(False).tag(sync=True)

    def __init__(self, record: ShelfRecord | None = None, **traits: Any) -> None:
        if record is None:
            note = "An invented illustration: no module was measured for these numbers."
            traits = {"note": note} | traits
        self._record = record or example()
        super().__init__(**_as_traits(self._record) | traits)

    @classmethod
    def of(cls, record: ShelfRecord, **traits: Any) -> "ExpertShelf":
        """Show a record; `note` may say where it comes from.

        Raises:
            ValueError: for more than 16 slots, 24 modules or 8 domains.
        """
        return cls(record, **traits)

    def install(self, module: str, slot: str) -> None:
        """Put a module into a slot, by their names.

        Raises:
            ValueError: with the sentence of the refusal, or for an unknown name.
        """
        at = self.slots.index(_known("slot", slot, self.slots))
        _known("module", module, [each["name"] for each in self.modules])
        self.contents = [*self.contents[:at], module, *self.contents[at + 1 :]]
        self.rolled, self.tried, self.held = [], [], ""

    def roll_back(self) -> None:
        """Take out everything that was put in, and remember what it was."""
        if self.contents != self.start:
            self.rolled, self.contents = self.contents, self.start

    def change(self) -> dict[str, float] | None:
        """Give by how much the present contents change every domain's loss, or None: unmeasured."""
        now = self._record.of(self.contents)
        if now is None:
            return None
        rise = (now.loss - self._begin().loss).mean(0)
        return dict(zip(self.domains, map(float, rise), strict=True))

    def words(self) -> str:
        """Say what is in the slots, and what it does."""
        held = ", ".join(
            f"{name or 'nothing'} in {slot}"
            for slot, name in zip(self.slots, self.contents, strict=True)
        )
        change = self.change()
        if self.contents == self.start:
            told = "Nothing has been installed."
        elif change is None:
            told = "This combination was not measured."
        else:
            told = ", ".join(f"{domain} {rise:+.2f}" for domain, rise in change.items())
            told = f"Change of the loss in nats: {told}."
        return f"{held}. {told} {self.note}".strip()

    def picture(self) -> str:
        """Draw every domain's loss before and, where it was measured, with what is in now."""
        before, now = self._begin().loss.mean(0), self._record.of(self.contents)
        after = before if now is None else now.loss.mean(0)
        most = 1.05 * max(float(before.max()), float(after.max()))
        strokes = []
        for row, domain in enumerate(self.domains):
            y, old, new = 44 + 34 * row, float(before[row]), float(after[row])
            strokes.append(still.label(8, y + 14, domain))
            strokes.append(still.box(120, y, 340 * old / most, 9, still.INK, full=0.4))
            strokes.append(still.box(120, y + 11, 340 * new / most, 9, still.COLOURS[0]))
            strokes.append(still.label(470, y + 14, f"{old:.2f}, {new:.2f}"))
        title = "Loss of every domain: before, and with what is in the slots"
        return still.sheet(560, 52 + 34 * len(self.domains), title, *strokes)

    def _begin(self) -> Measured:
        begin = self._record.of(self.start)
        assert begin is not None  # the record was refused without it
        return begin

    @traitlets.validate("contents", "rolled")
    def _may_lie_there(self, proposal: Any) -> list[str]:
        names = proposal["value"]
        if not names and proposal["trait"].name == "rolled":
            return names
        known = ["", *(each["name"] for each in self.modules)]
        refuse(
            len(names) != len(self.slots) or not set(names) <= set(known),
            f"Name for each of the {len(self.slots)} slots one of the modules, or '' for none: "
            f"{', '.join(map(repr, known[1:]))}.",
        )
        for slot, name, own in zip(self.slots, names, self.start, strict=True):
            sentence = "" if name in ("", own) else self._record.refusal(name, slot)
            refuse(bool(sentence) and not self.force, sentence)
        return names

    @traitlets.observe("force")
    def _takes_strangers_out(self, change: Any) -> None:
        if change["new"]:
            return
        row = zip(self.slots, self.contents, self.start, strict=True)
        self.rolled = []
        self.contents = [
            name if name in ("", own) or not self._record.refusal(name, slot) else own
            for slot, name, own in row
        ]


def _known(kind: str, name: str, known: Sequence[str]) -> str:
    refuse(
        name not in known,
        f"There is no {kind} called {name!r}. Choose one of {', '.join(map(repr, known))}.",
    )
    return name


def _as_traits(record: ShelfRecord) -> dict[str, Any]:
    refuse(
        len(record.slots) > MOST_SLOTS
        or len(record.modules) > MOST_MODULES
        or len(record.domains) > MOST_DOMAINS,
        f"The shelf has room for {MOST_SLOTS} slots, {MOST_MODULES} modules and {MOST_DOMAINS} "
        f"domains, not for {len(record.slots)}, {len(record.modules)} and {len(record.domains)}.",
    )
    tables = [table for entry in record.measured for table in (entry.loss, entry.rolled_back)]
    unknown = np.full_like(record.measured[0].loss, np.nan)
    return {
        "slots": list(record.slots),
        "modules": [
            {
                "name": module.name,
                "domain": module.domain,
                "trunk": module.trunk,
                "note": module.note,
                "refusals": [record.refusal(module.name, slot) for slot in record.slots],
            }
            for module in record.modules
        ],
        "start": list(record.start),
        "domains": list(record.domains),
        "combinations": [list(entry.contents) for entry in record.measured],
        "losses": b"".join(
            (unknown if table is None else table).astype("<f8").tobytes() for table in tables
        ),
        "n_seeds": unknown.shape[0],
        "trunk": record.trunk,
        "noise": float(record.noise),
        "contents": list(record.start),
    }
