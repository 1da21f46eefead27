"""Every rule of chapter 13 runs at the rate that was its best in the search, at its length."""

import pytest

from moe_teach.chapters.ch13_data_selection.experiments import joint, stream
from moe_teach.course.experiments import stored
from moe_teach.train.horizons import best_rates


@pytest.mark.parametrize(
    ("name", "best", "lowest"),
    [("13_stream_rates", stream.BEST, True), ("13_joint_rates", joint.BEST, False)],
)
def test_rates_are_those_that_the_search_found(name, best, lowest):
    assert best_rates(stored(name), "final", lowest=lowest) == best
