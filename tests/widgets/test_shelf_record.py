"""The shelf's record refuses what cannot be shown, and says why a module does not fit."""

from typing import Any

import numpy as np
import pytest

from moe_teach.widgets.shelf_record import Measured, ShelfModule, ShelfRecord

OWN = ShelfModule("own", "everything", "a1")
CODE = ShelfModule("code", "code", "a1", slots=["right"])
OTHER = ShelfModule("stranger", "code", "b2")


def record(**changes: Any) -> ShelfRecord:
    given = {
        "slots": ["left", "right"],
        "modules": [OWN, CODE, OTHER],
        "start": ["own", ""],
        "domains": ["code", "prose"],
        "measured": [
            Measured(("own", ""), [2.0, 3.0]),
            Measured(("own", "code"), [1.5, 3.1], rolled_back=[2.0, 3.0]),
        ],
        "trunk": "a1",
    }
    return ShelfRecord(**(given | changes))


def test_what_was_measured_is_found_by_its_contents() -> None:
    shelf = record()

    assert np.array_equal(shelf.of(["own", "code"]).loss, [[1.5, 3.1]])
    assert shelf.of(["code", "own"]) is None


def test_a_refusal_names_trunk_or_slot_and_a_module_that_fits_has_none() -> None:
    shelf = record(modules=[OWN, CODE, OTHER, ShelfModule("torn", "x", "a1", refused="Torn.")])

    assert shelf.refusal("code", "right") == ""
    assert shelf.refusal("code", "left") == "code was made for right, not for left."
    assert "trained on the trunk b2" in shelf.refusal("stranger", "right")
    assert shelf.refusal("torn", "right") == "Torn."


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"modules": [OWN, CODE, OWN]}, "Every module needs a name of its own"),
        ({"slots": ["left", "left"]}, "Every slot needs a name of its own"),
        ({"start": ["own"]}, "each of the 2 slots"),
        ({"start": ["own", "new"]}, "The modules are 'own', 'code', 'stranger'"),
        ({"start": ["own", "own"]}, "the start must be among them"),
        ({"measured": [Measured(("own", ""), [1.0, 2.0])] * 2}, "measured once"),
        ({"measured": [Measured(("own", ""), [1.0])]}, "the 2 domains"),
        ({"modules": [OWN, CODE, ShelfModule("x", "x", "a1", ["top"])]}, "slots that are not"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(changes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        record(**changes)


def test_losses_are_finite_tables_of_seeds_and_domains() -> None:
    assert Measured(("own",), [[1.0, 2.0], [1.1, 2.1]]).loss.shape == (2, 2)
    for wrong in ([], [[[1.0]]], [float("nan")]):
        with pytest.raises(ValueError, match="finite numbers of the shape"):
            Measured(("own",), wrong)
