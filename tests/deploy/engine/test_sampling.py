"""Tokens are drawn from the distribution that was asked for, each row with its own luck."""

import pytest
import torch

from moe_teach.deploy.engine.requests import Sampling
from moe_teach.deploy.engine.sampling import choose, next_probs

LOGITS = torch.tensor([[0.0, 2.0, 1.0, -1.0, 0.5]])


def probs(**wishes):
    return next_probs(LOGITS, [Sampling(**wishes)])[0]


def test_plain_sampling_is_the_softmax():
    torch.testing.assert_close(probs(), LOGITS[0].double().softmax(-1))
    torch.testing.assert_close(probs(temperature=2.0), (LOGITS[0].double() / 2).softmax(-1))


def test_temperature_zero_is_certainty():
    assert probs(temperature=0.0).tolist() == [0, 1, 0, 0, 0]


def test_top_k_keeps_k_and_their_ratio():
    kept = probs(top_k=2)
    assert kept.count_nonzero() == 2 and kept.sum() == pytest.approx(1)
    assert kept[1] / kept[2] == pytest.approx(torch.e)


def test_top_p_keeps_the_fewest_that_reach_it():
    plain = probs().sort(descending=True).values
    for n_kept in (1, 2, 3, 4):
        border = plain[:n_kept].sum().item()
        assert probs(top_p=border - 1e-9).count_nonzero() == n_kept
        assert probs(top_p=border + 1e-9).count_nonzero() == n_kept + 1
    assert probs(top_p=1e-9).tolist() == [0, 1, 0, 0, 0]


def test_top_p_comes_after_temperature_and_top_k():
    hot = probs(temperature=10.0, top_p=0.5, top_k=3)
    ordered = (LOGITS[0, [1, 2, 4]].double() / 10).softmax(-1)
    assert hot.count_nonzero() == 2
    assert hot[1] / hot[2] == pytest.approx((ordered[0] / ordered[1]).item())


def test_rows_do_not_share_their_luck_or_their_wishes():
    logits = torch.randn(3, 50)
    wishes = [Sampling(seed=5), Sampling(temperature=0.0), Sampling(seed=6, top_k=4, top_p=0.7)]
    luck = [torch.Generator().manual_seed(wish.seed) for wish in wishes]
    together = choose(logits, wishes, luck)
    for row, wish in enumerate(wishes):
        own = torch.Generator().manual_seed(wish.seed)
        assert choose(logits[row : row + 1], [wish], [own]) == [together[row]]
    assert together[1] == logits[1].argmax()


def test_draws_follow_the_probabilities():
    """Chi-square with 4 degrees of freedom: 18.5 is passed by chance once in a thousand."""
    wish, n_draws = Sampling(temperature=1.3), 4000
    luck = torch.Generator().manual_seed(0)
    drawn = torch.tensor([choose(LOGITS, [wish], [luck])[0] for _ in range(n_draws)])
    expected = next_probs(LOGITS, [wish])[0] * n_draws
    counts = torch.bincount(drawn, minlength=5)
    assert ((counts - expected) ** 2 / expected).sum() < 18.5


def test_the_logits_are_left_as_they_were():
    logits = LOGITS.double()
    next_probs(logits, [Sampling(top_k=1)])
    assert torch.equal(logits, LOGITS.double())
