"""The catalog against the published numbers and against classes that others wrote."""

import pytest

from moe_teach.catalog import ARTICLE_MODEL, CATALOG, ModelCard, find, solve_shared_and_expert
from moe_teach.cost import n_params_active, n_params_total

CARDS = [pytest.param(card, id=name) for name, card in CATALOG.items()]
TOLERANCE = 0.005


def _off(counted: int, published: float) -> float:
    return abs(counted / published - 1.0)


CONVENTIONS = {
    "nothing": {},
    "input table": {"input_embedding": False},
    "both tables": {"input_embedding": False, "output_head": False},
}


def _active(card: ModelCard) -> int:
    return n_params_active(card.config, **CONVENTIONS[card.active_leaves_out])


def _rounds_to(counted: int, published: float) -> bool:
    digits = len(f"{published:.15g}".replace("e+", "").rstrip("0").replace(".", ""))
    return float(f"{counted:.{digits}g}") == published


@pytest.mark.parametrize("card", CARDS)
def test_published_total_is_reproduced_or_explained(card):
    if card.published_total is None:
        assert card.note
        return
    off = _off(n_params_total(card.config), card.published_total)
    assert off <= TOLERANCE or card.note
    assert off <= 0.03, "a note can explain rounding or a left-out part, not another model"


@pytest.mark.parametrize("card", CARDS)
def test_published_active_count_is_reproduced_or_explained(card):
    if card.published_active is None:
        assert card.note
        return
    off = _off(_active(card), card.published_active)
    assert off <= TOLERANCE or card.note
    assert off <= 0.03 or _rounds_to(_active(card), card.published_active)


@pytest.mark.parametrize("card", CARDS)
def test_the_other_convention_does_not_fit_clearly_better(card):
    if card.published_active is None:
        return
    stated = _off(_active(card), card.published_active)
    for convention in CONVENTIONS.values():
        other = n_params_active(card.config, **convention)
        assert stated <= _off(other, card.published_active) + TOLERANCE


@pytest.mark.parametrize("card", CARDS)
def test_every_card_says_where_its_numbers_come_from(card):
    assert card.source
    assert card.router
    assert card.balancing


def test_a_name_can_be_found_by_a_part_of_it():
    assert [card.name for card in find("mixtral")] == ["Mixtral 8x7B", "Mixtral 8x22B"]


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(KeyError, match="The catalog has: Mistral 7B"):
        find("no such model")


def test_two_published_numbers_give_shared_part_and_expert():
    shared, expert = solve_shared_and_expert(72.0, 12.0, 16, 2)
    assert shared == pytest.approx(24 / 7)  # 3.43
    assert expert == pytest.approx(30 / 7)  # 4.29


def test_the_article_model_meets_both_numbers():
    assert _off(n_params_total(ARTICLE_MODEL.config), 72e9) < 0.001
    assert _off(n_params_active(ARTICLE_MODEL.config), 12e9) < 0.001


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        ((70.0, 70.0, 16, 2), "a dense model cannot be split"),
        ((72.0, 8.0, 16, 2), "shared part would be negative"),
        ((72.0, 72.0, 16, 16), "top_k must lie between 1 and n_experts - 1"),
    ],
)
def test_numbers_of_no_sparse_model_are_refused(numbers, sentence):
    with pytest.raises(ValueError, match=sentence):
        solve_shared_and_expert(*numbers)
