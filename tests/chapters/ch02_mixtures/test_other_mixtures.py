"""The mixtures of exercise 2.7: right ones are right, and broken ones where their words say."""

import pytest
import torch

from moe_teach.chapters.ch02_mixtures.other_mixtures import BROKEN, RIGHT

TURNS = torch.randn(5, 2, 2, generator=torch.Generator().manual_seed(0))
EXPERTS = [lambda rows, turn=turn: rows @ turn for turn in TURNS]
NAMES = [
    "log space", "not renormalised", "last answer", "ids in order", "one choice for all",
    "over the batch", "taken is zero", "plain exponentials", "asks everybody",
]  # fmt: skip
# In the order of BROKEN: what a case must be like for the fault not to show.
HIDDEN = [
    {"k": 1}, {"k": 5}, {"k": 1}, {"k": 1}, {"n_tokens": 1},
    {"k": 3}, {"shift": 9.0}, {"spread": 1.0}, {},
]  # fmt: skip


def case(k=3, n_tokens=7, shift=0.0, spread=1.0):
    draw = torch.Generator().manual_seed(k)
    x = torch.randn(n_tokens, 2, generator=draw)
    logits = shift + spread * torch.randn(n_tokens, 5, generator=draw)
    return x, EXPERTS, logits, k


def plain(x, experts, logits, k):
    ranks = logits.argsort(dim=-1, descending=True).argsort(dim=-1)
    gates = logits.masked_fill(ranks >= k, -torch.inf).softmax(dim=-1)
    return torch.einsum("te,td,edo->to", gates, x, TURNS)


def is_right(mixture, given):
    return torch.allclose(mixture(*given), plain(*given), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("right", RIGHT, ids=range(1, 1 + len(RIGHT)))
def test_a_right_one_is_the_gated_sum_of_the_top_k(right, k):
    mixture, *_ = right
    for given in (case(k), case(k, n_tokens=1), case(k, shift=-9.0), case(k, spread=200.0)):
        assert is_right(mixture, given)


@pytest.mark.parametrize(("broken", "hidden"), list(zip(BROKEN, HIDDEN, strict=True)), ids=NAMES)
def test_a_broken_one_is_right_where_its_words_say(broken, hidden):
    assert is_right(broken.mixture, case(**hidden))


@pytest.mark.parametrize(("broken", "name"), list(zip(BROKEN, NAMES, strict=True)), ids=NAMES)
def test_a_broken_one_is_wrong_somewhere(broken, name):
    shown = [case(1), case(2), case(3), case(2, shift=-9.0), case(2, spread=200.0)]
    wrong = not all(is_right(broken.mixture, given) for given in shown)

    assert wrong != (name == "asks everybody")  # its numbers are right, and its work is not


def test_only_the_last_one_asks_experts_that_nobody_chose():
    for broken in BROKEN:
        rows = []
        experts = [lambda part, rows=rows, turn=turn: rows.append(len(part)) or part @ turn
                   for turn in TURNS]  # fmt: skip
        x, _, logits, k = case(2, shift=9.0)  # nothing overflows, and nothing is negative
        broken.mixture(x, experts, logits, k)

        assert (sum(rows) == 2 * len(x)) != (broken is BROKEN[-1])
