"""A difference comes with its interval; a difference of differences has a test of its own."""

import random
from statistics import mean

import pytest

from moe_teach.train.differences import apart, paired, student


@pytest.mark.parametrize(
    ("freedom", "t"),
    [(1, 12.706), (2, 4.303), (4, 2.776), (9, 2.262), (30, 2.042), (1e6, 1.960)],
)
def test_students_t_is_that_of_the_tables(freedom, t):
    assert student(freedom) == pytest.approx(t, abs=5e-4)


def test_students_t_falls_between_whole_numbers_too():
    assert student(3) > student(3.1) > student(4)


def test_a_pair_counts_the_difference_and_not_the_seed():
    base = [1.0, 5.0, 3.0]
    gain = paired(
        [value + 0.5 + nudge for value, nudge in zip(base, (0, 0.1, -0.1), strict=True)], base
    )

    assert gain.mean == pytest.approx(0.5)
    assert gain.half_width == pytest.approx(4.303 * 0.1 / 3**0.5, abs=1e-4)
    assert gain.clear and gain.low == pytest.approx(0.5 - gain.half_width)
    assert not paired([1.0, 2.0], [1.1, 1.9]).clear


def test_welch_agrees_with_a_worked_example():
    # Two gains of chapter 05: facts (5 seeds) and sums (3 seeds), worked out by hand.
    facts, sums = [0.286, 0.352, 0.119, 0.233, 0.215], [-0.188, 0.043, -0.176]
    gap = apart(facts, sums)

    assert gap.mean == pytest.approx(mean(facts) - mean(sums))
    assert gap.freedom == pytest.approx(3.1, abs=0.1)
    assert gap.mean / (gap.half_width / student(gap.freedom)) == pytest.approx(4.1, abs=0.1)


def test_an_interval_holds_the_truth_nineteen_times_in_twenty():
    draw = random.Random(0)

    def sample(n, spread):
        return [draw.gauss(0.0, spread) for _ in range(n)]

    pairs = [paired(sample(5, 1.0), sample(5, 1.0)) for _ in range(400)]
    others = [apart(sample(5, 1.0), sample(3, 3.0)) for _ in range(400)]
    for found in (pairs, others):
        assert 0.92 < mean(not gap.clear for gap in found) < 0.98


def test_a_difference_is_written_with_its_interval():
    assert f"{paired([2.0, 3.0, 4.0], [1.0, 1.9, 3.1]):+.2f}" == "+1.00 ± 0.25"


@pytest.mark.parametrize("lists", [([1.0], [2.0]), ([1.0, 2.0], [1.0])])
def test_pairs_that_are_none_are_refused_in_a_sentence(lists):
    with pytest.raises(ValueError, match="one number for each seed"):
        paired(*lists)


@pytest.mark.parametrize("lists", [([1.0], [2.0, 3.0]), ([1.0, 1.0], [2.0, 2.0])])
def test_groups_that_cannot_be_compared_are_refused_in_a_sentence(lists):
    with pytest.raises(ValueError, match="one number for each seed"):
        apart(*lists)
