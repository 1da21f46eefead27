"""Pairs of names: the truth is known, the sides share nothing, a seed and a step give one draw."""

import pytest
import torch

from moe_teach.data.pairs import PAIRED, NameTable, name_pairs


@pytest.fixture(scope="module")
def sides() -> dict[str, NameTable]:
    return {side: name_pairs(side) for side in ("train", "validation")}


def text(row: torch.Tensor) -> str:
    return bytes(b for b in row.tolist() if b).decode(errors="ignore")


def test_there_are_enough_names_and_the_sides_share_none(sides):
    train, validation = ({tuple(map(text, thing)) for thing in sides[side].names} for side in sides)
    assert len(train) > 150
    assert len(validation) >= 16
    assert not train & validation
    assert all(len(set(names)) > 1 for names in train)


def test_true_pairs_are_one_thing_in_two_languages(sides):
    table = sides["train"]
    pairs = table.draw(64, junk=0.5, seed=1)
    assert len(pairs) == 64
    things = {tuple(map(text, thing)) for thing in table.names}
    for left, right, (first, second), is_true in zip(
        pairs.left, pairs.right, pairs.languages.tolist(), pairs.is_true, strict=True
    ):
        assert first != second < len(PAIRED)
        belong = any(n[first] == text(left) and n[second] == text(right) for n in things)
        assert belong or not is_true
    share = float(table.draw(2000, junk=0.6).is_true.double().mean())
    assert share == pytest.approx(0.4, abs=0.05)


def test_things_do_not_come_twice_while_there_are_others(sides):
    table = sides["validation"]
    pairs = table.draw(len(table.names))
    assert pairs.is_true.all()
    assert len({text(row) for row in pairs.left}) > 0.9 * len(pairs)
    assert len(table.draw(3 * len(table.names))) == 3 * len(table.names)


def test_a_draw_is_a_function_of_seed_and_step(sides):
    table = sides["train"]
    one, same = (table.draw(8, junk=0.5, seed=1, step=2) for _ in range(2))
    assert torch.equal(one.left, same.left)
    assert torch.equal(one.is_true, same.is_true)
    for other in (table.draw(8, junk=0.5, seed=2, step=2), table.draw(8, junk=0.5, seed=1, step=3)):
        assert not torch.equal(one.left, other.left)


def test_pairs_are_taken_in_the_order_asked_for(sides):
    pairs = sides["train"].draw(5)
    chosen = torch.tensor([3, 0])
    assert torch.equal(pairs.only(chosen).right, pairs.right[chosen])
    assert len(pairs.only(chosen[:0])) == 0


def test_mistakes_are_answered_in_sentences(sides):
    with pytest.raises(ValueError, match="At least one pair"):
        sides["train"].draw(0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        sides["train"].draw(1, junk=1.5)
