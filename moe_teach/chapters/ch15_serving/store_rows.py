"""Chapter 15, exercise 15.1: rows of many texts go into one cache."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require, require_tensors

EXERCISE = Exercise(
    id="15.1",
    name="store_rows",
    title="Whose row is this?",
    points=2,
    difficulty=3,
    importance=5,
    minutes=15,
    hints=(
        "Everything follows from one number for each row: its position in its own text. That is "
        "the length of its slot, plus how many rows of the same slot stand before it.",
        "`slots[:, None] == slots` says which rows belong together; its strict lower triangle "
        "keeps those that stand before. Sum each row. The rest is indexing with (slots, position).",
        "position = lengths[slots] + (slots[:, None] == slots).tril(-1).sum(-1); keys = "
        "keys.clone(); keys[slots, position] = new_keys; visible = torch.arange(L) <= "
        "position[:, None]; lengths grow by slots.bincount(minlength=n_slots).",
    ),
    explanation="With a position for each row, rows of any texts can be read in one forward pass: "
    "the position turns the key, says where it is written, and ends what the row may see. So a "
    "slot needs no cleaning when its text ends. What is left in it lies beyond the new text's "
    "length, and no mask reaches there.",
)
Case = tuple[tuple[int, ...], tuple[int, ...]]  # lengths of the slots, and the slot of each row
ONE_EACH: tuple[Case, ...] = (((0,), (0,)), ((3, 0, 5), (2, 0)), ((1, 4, 2, 0), (3, 1, 0, 2)))
PIECES: tuple[Case, ...] = (
    ((0, 2), (0, 0, 0)),
    ((2, 0, 3), (1, 2, 1, 0, 1, 2)),
    ((0, 0, 0, 1), (3, 3, 1, 3, 1)),
    ((2, 1), ()),
)
_NAMES = ("keys", "values", "lengths", "visible")


def _given(case: Case, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    lengths, slots = (torch.tensor(part, dtype=torch.int64) for part in case)
    random, longest = generator(seed), 7
    return {
        "keys": torch.randn(len(lengths), longest, 3, generator=random, dtype=dtype),
        "values": torch.randn(len(lengths), longest, 3, generator=random, dtype=dtype),
        "lengths": lengths,
        "slots": slots,
        "new_keys": torch.randn(len(slots), 3, generator=random, dtype=dtype),
        "new_values": torch.randn(len(slots), 3, generator=random, dtype=dtype),
    }


def _defined(given: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """Store one row after the other."""
    keys, values, lengths = (given[name].clone() for name in ("keys", "values", "lengths"))
    visible = torch.zeros(len(given["slots"]), keys.shape[1], dtype=torch.bool)
    for row, slot in enumerate(given["slots"].tolist()):
        position = int(lengths[slot])
        keys[slot, position] = given["new_keys"][row]
        values[slot, position] = given["new_values"][row]
        visible[row, : position + 1] = True
        lengths[slot] += 1
    return keys, values, lengths, visible


_CAUSES = {
    "keys": (
        "A row was written to another place than the next free one of its own slot.",
        "Its position is lengths[slot] plus the rows of this slot that stand before it.",
    ),
    "values": (
        "Values go to the same places as keys.",
        "Index both with (slots, position).",
    ),
    "lengths": (
        "A length grows by the number of rows that its slot was given, and others stay.",
        "slots.bincount(minlength=n_slots) counts them, zeros included.",
    ),
    "visible": (
        "A row sees positions 0 up to and with its own: neither a later row of its text, nor what "
        "somebody left behind in the slot.",
        "torch.arange(L) <= position[:, None]",
    ),
}


def _try(answer: Any, cases: tuple[Case, ...], seed: int, said: str) -> None:
    for case in cases:
        given = _given(case, seed, torch.float64 if len(case[1]) > 4 else torch.float32)
        got = answer(**given)
        require_tensors(got, _NAMES, given)
        for name, part, expected in zip(_NAMES, got, _defined(given), strict=True):
            cause, cure = _CAUSES[name]
            if name == "visible" and part.shape == expected.shape and bool((expected > part).any()):
                cause, cure = "A row does not see itself, or some of its past.", "<=, and not <"
            require(
                part.dtype == expected.dtype and close(part, expected),
                f"`{name}` is not what {said}.",
                cause=cause,
                cure=cure,
                expected=expected,
                got=part,
                example={name: given[name] for name in ("lengths", "slots")},
            )


@EXERCISE.stage("the four results")
def _results(answer: Any, seed: int) -> None:
    given = _given(ONE_EACH[1], seed)
    got = answer(**given)
    require_tensors(got, _NAMES, given)
    for name, part, expected in zip(_NAMES, got, _defined(given), strict=True):
        require(
            part.shape == expected.shape,
            f"`{name}` has the wrong shape.",
            cause="keys and values keep the shape they came in; lengths has a number for each "
            "slot, and visible a row for each new row and a column for each position of a slot.",
            expected=Words(f"shape {tuple(expected.shape)}"),
            got=Words(f"shape {tuple(part.shape)}"),
            example={"lengths": given["lengths"], "slots": given["slots"]},
        )
        require(
            part.dtype == expected.dtype,
            f"`{name}` has the wrong dtype.",
            cause="visible says True or False for every position: it is no mask to add, with 0 "
            "and minus infinity."
            if name == "visible"
            else "Everything stays in the dtype it came in.",
            cure="torch.arange(L) <= position[:, None]" if name == "visible" else "",
            expected=Words(f"{expected.dtype}"),
            got=Words(f"{part.dtype}"),
        )


@EXERCISE.stage("one row a text")
def _one_each(answer: Any, seed: int) -> None:
    _try(answer, ONE_EACH, seed, "one new row for each text makes it")


@EXERCISE.stage("several rows of a text")
def _pieces(answer: Any, seed: int) -> None:
    _try(answer, PIECES, seed, "several rows of one text, between those of others, make it")
