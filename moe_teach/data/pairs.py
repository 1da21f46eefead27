"""Matching: which name in one language is which in another? The truth is known for every pair.

Names of countries, languages and currencies from Babel's locale data, two languages at a time. In
a contrastive loss every pair of a batch is compared with every other, so what a batch teaches
depends on who is in it together: the case that joint selection is made for. Names belong to one
side by what they name: what validation asks about is in no language part of training.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from moe_teach.config import refuse
from moe_teach.data.languages import KINDS, name_table
from moe_teach.data.pieces import Side, normalise, side_of
from moe_teach.data.record import recorded_names

WIDTH = 24  # bytes of a name that are read; longer names are cut
PAIRED = ("cs", "de", "es", "fi", "fr", "hu", "it", "nl", "pl", "tr")
_PAD = 0  # no name has this byte


@dataclass(frozen=True, eq=False)
class Pairs:
    """n pairs of names as bytes, filled up with zeros; `is_true` says which belong together.

    `languages` numbers the language of each side in `PAIRED`. Nothing but the report of an
    experiment may look at `is_true`.
    """

    left: Int[Tensor, "n width"]
    right: Int[Tensor, "n width"]
    languages: Int[Tensor, "n 2"]
    is_true: Bool[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.left)

    def only(self, chosen: Int[Tensor, " m"]) -> "Pairs":
        """Return the pairs at these places, in this order."""
        parts = (self.left, self.right, self.languages, self.is_true)
        return Pairs(*(part[chosen] for part in parts))


@dataclass(frozen=True, eq=False)
class NameTable:
    """The names of one side: `names[i, l]` is thing i in language l of `PAIRED`, as bytes."""

    names: Int[Tensor, "things languages width"]
    side: Side

    def draw(self, n: int, *, junk: float = 0.0, seed: int = 0, step: int = 0) -> Pairs:
        """Draw pairs: a thing and two languages each; a pure function of seed and step.

        Args:
            n: how many pairs, of different things as long as there are enough.
            junk: the share of pairs whose right name is that of another thing, drawn for each
                pair. Both are names, so no look at one of them alone gives a junk pair away.
            seed: of the stream.
            step: which draw of it.

        Raises:
            ValueError: no pair is asked for, or the share is not between 0 and 1.
        """
        refuse(n < 1, f"At least one pair must be drawn, not {n}.")
        refuse(not 0 <= junk <= 1, f"The share of junk lies between 0 and 1, not {junk}.")
        rng = np.random.default_rng([seed, step, self.side == "train"])
        n_things, n_languages, _ = self.names.shape
        rounds = [rng.permutation(n_things) for _ in range(-(-n // n_things))]
        things = np.concatenate(rounds)[:n]
        first = rng.integers(n_languages, size=n)
        second = (first + rng.integers(1, n_languages, size=n)) % n_languages
        is_true = rng.random(n) >= junk
        others = (things + rng.integers(1, n_things, size=n)) % n_things
        right = np.where(is_true, things, others)
        return Pairs(
            self.names[torch.from_numpy(things), torch.from_numpy(first)],
            self.names[torch.from_numpy(right), torch.from_numpy(second)],
            torch.from_numpy(np.stack([first, second], 1)),
            torch.from_numpy(is_true),
        )


def name_pairs(side: Side) -> NameTable:
    """Return the names of one side, training or validation, in all languages of `PAIRED`."""
    wanted = recorded_names()
    rows = [
        [normalise(name_table(language, kind)[code]) for language in PAIRED]
        for kind in KINDS
        for code in wanted[kind]
        if side_of(f"{kind} {code}") == side and _is_named(kind, code)
    ]
    # What is written alike everywhere would be matched by its letters and by nothing learned.
    rows = [row for row in rows if len(set(row)) > 1]
    return NameTable(torch.tensor([[_bytes(name) for name in row] for row in rows]), side)


def _is_named(kind: str, code: str) -> bool:
    return all(code in name_table(language, kind) for language in PAIRED)


def _bytes(name: str) -> list[int]:
    cut = list(name.encode()[:WIDTH])
    return cut + [_PAD] * (WIDTH - len(cut))
