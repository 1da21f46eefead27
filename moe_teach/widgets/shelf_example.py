"""An invented shelf, for where no module was measured."""

import numpy as np

from moe_teach.widgets.shelf_record import Measured, ShelfModule, ShelfRecord

_DOMAINS = ("code", "languages", "sums", "remainders")
_START = ("general", "code", "languages", "sums")
_LOSS = (2.10, 2.02, 1.31, 3.40)
# Contents of the last two slots, and by how much they change the loss of each domain.
_CHANGES = {
    ("languages", "remainders"): (0.002, -0.003, 0.11, -1.62),
    ("languages", "general"): (0.003, 0.004, 0.21, 0.05),
    ("languages", "code"): (-0.01, 0.004, 0.58, 0.20),
    ("remainders", "sums"): (0.004, 0.43, 0.02, -1.31),
    ("languages", "stranger"): (0.12, 0.17, 2.05, 1.10),
}


def example() -> ShelfRecord:
    """Invent a model of four experts on one trunk, a module that fits, and a stranger."""
    modules = [
        ShelfModule(name, "everything" if name == "general" else name, "7c41", note="came with it")
        for name in _START
    ]
    modules += [
        ShelfModule("remainders", "remainders", "7c41", _slots()[1:], note="98 kB"),
        ShelfModule("stranger", "sums", "e09b", note="98 kB"),
    ]
    draw = np.random.default_rng(12)
    start = np.asarray(_LOSS) + 0.03 * draw.standard_normal((3, 4))
    measured = [Measured(_START, start)]
    for contents, change in _CHANGES.items():
        wobble = 1 + 0.15 * draw.standard_normal((3, 4))
        loss = start + np.asarray(change) * wobble
        measured.append(Measured((*_START[:2], *contents), loss, rolled_back=start))
    return ShelfRecord(_slots(), modules, _START, _DOMAINS, measured, trunk="7c41", noise=0.01)


def _slots() -> list[str]:
    return [f"slot {i}" for i in range(4)]
