"""Choosing by scores: the right number, the right odds, and jointly what brute force says."""

import itertools
import math

import pytest
import torch

from moe_teach.data.selection.choosing import choose_independently, choose_jointly, n_candidates
from moe_teach.data.selection.scores import (
    easy_for_the_reference,
    hard_for_the_learner,
    learnability,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_what_is_noise_or_known_does_not_score_high():
    learner = torch.tensor([5.0, 0.1, 3.0])  # noise, known, new
    reference = torch.tensor([5.0, 0.1, 0.5])
    assert learnability(learner, reference).argmax() == 2
    assert easy_for_the_reference(reference).argmax() == 1
    assert hard_for_the_learner(learner).argmax() == 0


@pytest.mark.parametrize(("n", "n_chosen"), [(1, 1), (7, 1), (7, 3), (7, 7)])
@pytest.mark.parametrize("scale", [0.0, 1.0, math.inf])
def test_each_example_comes_at_most_once(n, n_chosen, scale):
    scores = torch.randn(n, generator=generator())
    chosen = choose_independently(scores, n_chosen, generator(1), scale=scale)
    assert len(set(chosen.tolist())) == n_chosen
    if math.isinf(scale):
        assert chosen.tolist() == scores.argsort(descending=True)[:n_chosen].tolist()


def test_among_equals_a_lot_decides():
    firsts = {
        int(choose_independently(torch.zeros(4), 1, generator(seed), scale=math.inf))
        for seed in range(40)
    }
    assert firsts == {0, 1, 2, 3}


def test_the_odds_are_those_of_drawing_one_after_the_other():
    scores, scale = torch.tensor([0.0, 1.0, 2.0]), 0.7
    weights = [math.exp(scale * float(score)) for score in scores]
    drawn = generator()
    n = 6000
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(n):
        order = tuple(choose_independently(scores, 2, drawn, scale=scale).tolist())
        counts[order] = counts.get(order, 0) + 1
    for first, second in itertools.permutations(range(3), 2):
        odds = weights[first] / sum(weights) * weights[second] / (sum(weights) - weights[first])
        share = counts.get((first, second), 0) / n
        assert share == pytest.approx(odds, abs=4 * math.sqrt(odds * (1 - odds) / n))


def greedy(pairs: torch.Tensor, n_chosen: int, n_chunks: int) -> list[int]:
    """Choose by brute force: the score of the batch with and without each candidate."""
    chosen: list[int] = []
    for _ in range(n_chunks):
        gains = {
            i: float(pairs[[*chosen, i]][:, [*chosen, i]].sum() - pairs[chosen][:, chosen].sum())
            for i in range(len(pairs))
            if i not in chosen
        }
        best = sorted(gains, key=gains.get, reverse=True)
        chosen += best[: n_chosen // n_chunks]
    return chosen


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n_chosen", "n_chunks"), [(1, 1), (6, 1), (6, 2), (6, 3), (6, 6), (8, 4)])
def test_joint_choice_is_what_each_example_adds(seed, n_chosen, n_chunks):
    pairs = torch.randn(8, 8, generator=generator(seed), dtype=torch.float64)
    chosen = choose_jointly(pairs, n_chosen, n_chunks, generator(), scale=math.inf)
    assert chosen.tolist() == greedy(pairs, n_chosen, n_chunks)


def test_one_chunk_is_the_independent_choice():
    pairs = torch.randn(9, 9, generator=generator())
    joint = choose_jointly(pairs, 4, 1, generator(3))
    assert torch.equal(joint, choose_independently(pairs.diagonal(), 4, generator(3)))


def test_two_copies_of_one_example_repel_each_other():
    """Each scores highest alone; together they harm each other, and joint choice sees it."""
    pairs = torch.diag(torch.tensor([3.0, 3.0, 2.0, 1.0]))
    pairs[0, 1] = pairs[1, 0] = -5.0
    alone = choose_independently(pairs.diagonal(), 2, generator(), scale=math.inf)
    together = choose_jointly(pairs, 2, 2, generator(), scale=math.inf)
    assert set(alone.tolist()) == {0, 1}
    assert 2 in together.tolist()
    assert pairs[together][:, together].sum() > pairs[alone][:, alone].sum()


@pytest.mark.parametrize(("filter_ratio", "n"), [(0.0, 16), (0.5, 32), (0.8, 80), (0.9, 160)])
def test_a_filter_ratio_says_how_many_are_looked_at(filter_ratio, n):
    assert n_candidates(16, filter_ratio) == n


def test_mistakes_are_answered_in_sentences():
    scores = torch.zeros(3)
    for n_chosen in (0, 4):
        with pytest.raises(ValueError, match="Of 3 examples"):
            choose_independently(scores, n_chosen, generator())
    for broken in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="not a finite number"):
            choose_independently(torch.tensor([0.0, broken]), 1, generator())
    for scale in (-1.0, math.nan):
        with pytest.raises(ValueError, match="0 or more"):
            choose_independently(scores, 1, generator(), scale=scale)
    with pytest.raises(ValueError, match="equal chunks"):
        choose_jointly(torch.zeros(4, 4), 4, 3, generator())
    with pytest.raises(ValueError, match="whole number"):
        n_candidates(16, 0.7)
    with pytest.raises(ValueError, match=r"lies in \[0, 1\)"):
        n_candidates(16, 1.0)
