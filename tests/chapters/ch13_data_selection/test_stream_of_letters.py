"""The small stream of exercises 13.5 and 13.6: what its parts are, and that nobody can spoil it."""

import math

import pytest
import torch

from moe_teach.chapters.ch13_data_selection import bigrams
from moe_teach.chapters.ch13_data_selection.bigrams import Bigrams, Chain, loss_after, reference
from moe_teach.train.selector import ScoreSelector, row_losses


class Vandal:
    """Takes the first rows, and writes over all of them."""

    n_candidates, name = bigrams.CANDIDATES, "vandal"

    def choose(self, model, candidates, n_chosen, step):
        candidates.inputs.fill_(0)
        candidates.targets.fill_(0)
        return torch.arange(n_chosen)


def test_a_selector_that_writes_over_its_candidates_spoils_no_other_run():
    before = loss_after(None, 1)
    loss_after(Vandal(), 1)
    assert loss_after(None, 1) == before


def test_the_reference_is_within_a_tenth_of_a_nat_of_the_entropy_of_the_chain():
    likely, other = 0.95 / 3 + 0.05 / bigrams.LETTERS, 0.05 / bigrams.LETTERS
    entropy = -3 * likely * math.log(likely)
    entropy -= (bigrams.LETTERS - 3) * other * math.log(other)
    rows = Chain(2).batch(400, 9, shares=(1.0,))
    assert row_losses(reference(2), rows).mean() == pytest.approx(entropy, abs=0.1)


def test_the_stream_is_drawn_with_its_shares_and_hides_the_kinds_of_its_rows():
    kinds = Chain(0).batch(bigrams.CANDIDATES * bigrams.STEPS, 5).domain_ids
    shares = torch.bincount(kinds) / len(kinds)
    assert torch.allclose(shares, torch.tensor(bigrams.SHARES), atol=0.03)
    assert not any(batch.domain_ids.any() for batch in bigrams._stream(0))


@pytest.mark.parametrize("seed", range(3))
def test_learnability_ends_below_what_comes_easy_and_hard_in_every_world(seed):
    def ends(rule, **given):
        return loss_after(ScoreSelector(rule, bigrams.CANDIDATES, **given), seed)

    chosen = ends("learnability", reference=reference(seed))
    others = loss_after(None, seed), ends("easy", reference=reference(seed)), ends("hard")
    assert chosen < 0.8 < min(others)


def test_an_untrained_table_finds_all_letters_equally_likely():
    rows = Chain(0).batch(5, 1)
    n_letters = bigrams.LETTERS + bigrams.REPEATED
    losses = row_losses(Bigrams(0), rows)
    assert torch.allclose(losses, torch.full((5,), math.log(n_letters)))
