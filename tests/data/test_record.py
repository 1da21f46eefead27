"""The record keeps what all versions agree on, once, and validation keeps what is on both sides."""

import pytest

from moe_teach.data import record
from moe_teach.data.languages import KINDS
from moe_teach.data.pieces import fingerprint, normalise, place, side_of

LONG = "a piece that is longer than forty characters, "


def survey(code: dict[str, dict[str, list[str]]], **names: str) -> dict:
    """Return what one version would offer."""
    sides = {side: record._survey_side(code.get(side, {})) for side in ("train", "validation")}
    return {
        "python": names.pop("python", "3.11.0"),
        "babel": "2.12.1",
        "names": {kind: names if kind == "territories" else {} for kind in KINDS},
        "domains": {"code": sides},
    }


def recorded(merged: dict, side: str) -> dict[str, list[bytes]]:
    packed = merged["domains"]["code"][side]["pieces"]
    return {name: record._unpack(text) for name, text in packed.items()}


def test_only_what_all_versions_offer_is_kept_in_order() -> None:
    one = survey({"train": {"f": ["a", "b", "c"], "g": ["d"]}})
    other = survey({"train": {"f": ["c", "new", "a"], "h": ["d"]}}, python="3.12.0")
    merged = record.merge([one, other])

    assert recorded(merged, "train") == {"f": [fingerprint("a"), fingerprint("c")]}
    assert merged["made_with"] == {"python": ["3.11.0", "3.12.0"], "babel": ["2.12.1"]}


def test_a_piece_on_both_sides_belongs_to_validation_and_short_ones_may_repeat() -> None:
    both, twice = LONG + "seen on both sides", LONG + "seen twice in training"
    pieces = {
        "train": {"f": [both, "pass", twice], "g": [twice]},
        "validation": {"v": [both, "pass"]},
    }
    merged = record.merge([survey(pieces)])

    assert recorded(merged, "validation") == {"v": [fingerprint(both), fingerprint("pass")]}
    assert recorded(merged, "train") == {"f": [fingerprint("pass"), fingerprint(twice)]}


def test_names_that_changed_are_not_drawn() -> None:
    merged = record.merge([survey({}, FR="1", CZ="2", DE="3"), survey({}, FR="1", CZ="9")])

    assert merged["names"]["territories"] == "FR"


def test_recorded_pieces_are_found_again_and_missing_ones_counted() -> None:
    prints = {"f": [fingerprint("a"), fingerprint("b")], "g": [fingerprint("c")]}
    chosen, lacking = record.select({"f": ["b", "new", "a"], "h": ["c"]}, prints)

    assert chosen["f"] == ["a", "b"]
    assert chosen["g"] == []
    assert lacking == {"g": 1}


def test_an_unknown_domain_is_named() -> None:
    with pytest.raises(ValueError, match="no domain 'cooking'"):
        record.found("cooking", "train")


def test_text_is_written_in_one_way() -> None:
    assert normalise("cafe\u0301\u00a01\u202f000 \r\n\tx\u200b  ") == "café 1 000\n        x"


def test_sides_depend_on_the_name_only_and_one_in_ten_is_for_validation() -> None:
    names = [f"file {number}" for number in range(3000)]
    share = sum(side_of(name) == "validation" for name in names) / len(names)

    assert 0.08 < share < 0.12
    assert place("argparse.py") == 14_501_491_235_478_019_058
