"""The expert shelf says on both sides what was measured, and refuses what the model refuses."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace

import pytest

from moe_teach.widgets.expert_shelf import ExpertShelf
from moe_teach.widgets.shelf_example import example

RECORD = example()
FITTING = ("general", "code", "languages", "remainders")


def test_the_browser_changes_losses_as_python_does(in_node: Callable) -> None:
    widgets = [
        ExpertShelf.of(RECORD, force=True, contents=list(entry.contents))
        for entry in RECORD.measured
    ]
    given = [
        {
            "combinations": widget.combinations,
            "losses": b64encode(widget.losses).decode(),
            "nSeeds": widget.n_seeds,
            "domains": widget.domains,
            "contents": widget.contents,
        }
        for widget in widgets
    ]
    view = "new DataView(Uint8Array.from(Buffer.from(given.losses, 'base64')).buffer)"
    told = (
        f"((all) => m.rowsOf(all[0].loss, m.measuredOf(all, given.contents).loss, given.domains)"
        f".map((row) => row.change))(m.unpack({{...given, losses: {view}}}))"
    )

    for widget, changes in zip(widgets, in_node("expert_shelf", told, given), strict=True):
        assert changes == pytest.approx(list(widget.change().values()), abs=1e-12)


def test_install_measure_and_roll_back_in_python() -> None:
    shelf = ExpertShelf.of(RECORD)
    assert "Nothing has been installed." in shelf.words()

    shelf.install("remainders", "slot 3")
    assert shelf.change()["remainders"] < -1
    assert "remainders in slot 3" in shelf.words()
    shelf.roll_back()
    assert (tuple(shelf.contents), tuple(shelf.rolled)) == (RECORD.start, FITTING)
    shelf.roll_back()
    assert tuple(shelf.rolled) == FITTING, "nothing was in, so nothing is forgotten"
    shelf.install("code", "slot 0")
    assert shelf.change() is None and shelf.rolled == []
    assert "not measured" in shelf.words()


def test_python_refuses_with_the_sentence_of_the_record() -> None:
    shelf = ExpertShelf.of(RECORD)

    with pytest.raises(ValueError, match="trained on the trunk e09b"):
        shelf.install("stranger", "slot 3")
    with pytest.raises(ValueError, match="was made for slot 1"):
        shelf.install("remainders", "slot 0")
    with pytest.raises(ValueError, match=r"no module called 'odd'.*'general'"):
        shelf.install("odd", "slot 0")
    with pytest.raises(ValueError, match="no slot called 'slot 9'"):
        shelf.install("code", "slot 9")
    with pytest.raises(ValueError, match="each of the 4 slots"):
        shelf.contents = ["code"]
    assert shelf.contents == list(RECORD.start)


def test_strangers_leave_when_they_are_no_longer_forced() -> None:
    shelf = ExpertShelf.of(RECORD, force=True)
    shelf.install("stranger", "slot 3")
    shelf.install("code", "slot 2")

    assert shelf.contents == ["general", "code", "code", "stranger"]
    shelf.force = False
    assert shelf.contents == ["general", "code", "code", "sums"], "what fits may stay"


def test_what_came_with_the_model_is_never_asked_where_it_is_from() -> None:
    odd = [replace(module, trunk="older") for module in RECORD.modules]
    shelf = ExpertShelf.of(replace(RECORD, modules=odd), force=True)
    shelf.install("code", "slot 0")

    shelf.force = False
    assert shelf.contents == list(RECORD.start)


def test_an_empty_slot_and_a_single_seed_are_shown_too() -> None:
    first = replace(RECORD.measured[0], contents=("", "code", "languages", "sums"))
    alone = replace(first, loss=first.loss[0])
    shelf = ExpertShelf.of(replace(RECORD, start=alone.contents, measured=[alone]))

    assert shelf.n_seeds == 1
    assert "nothing in slot 0" in shelf.words()
    assert shelf.picture().count("<rect") == 2 * len(RECORD.domains)


def test_more_than_a_picture_holds_is_refused() -> None:
    many = [replace(RECORD.modules[1], name=f"m{i}") for i in range(30)]

    with pytest.raises(ValueError, match="24 modules"):
        ExpertShelf.of(replace(RECORD, modules=[*RECORD.modules, *many]))


def test_the_example_says_that_it_is_invented_and_is_always_the_same() -> None:
    assert "invented" in ExpertShelf().words()
    assert ExpertShelf().html() == ExpertShelf().html()
