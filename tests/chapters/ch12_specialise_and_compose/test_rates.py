"""Every way of chapter 12 runs at the rate that was its best in the search, at its length."""

from dataclasses import replace

import pytest

from moe_teach.chapters.ch12_specialise_and_compose.experiments import compose, targeted, upcycle
from moe_teach.chapters.ch12_specialise_and_compose.new_skill import SKILL
from moe_teach.course.experiments import stored
from moe_teach.data.corpus import DOMAINS
from moe_teach.train.experiment import Grid
from moe_teach.train.horizons import best_rates

JUDGED = {
    "12_compose_rates": (compose.BEST, lambda r: sum(r["tuned"][d] for d in DOMAINS)),
    "12_upcycle_rates": (upcycle.BEST, lambda r: r["loss"]),
    "12_targeted_rates": (targeted.BEST, lambda r: r["after"][SKILL]),
}


@pytest.mark.parametrize("name", JUDGED)
def test_rates_are_those_that_the_search_found(name):
    best, judged = JUDGED[name]
    cells = (replace(cell, result={"judged": judged(cell.result)}) for cell in stored(name).cells)
    assert best_rates(Grid(tuple(cells)), "judged", lowest=True) == best
