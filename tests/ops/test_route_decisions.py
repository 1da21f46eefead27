"""The decisions of a router, one by one."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moe_teach.ops.route import score, top_experts, topk_gates
from moe_teach.ops.route.variants import expert_choice, group_mask, jittered, noisy_logits


def test_softmax_scores_compete_and_sigmoid_scores_do_not() -> None:
    logits = torch.randn(7, 5)

    torch.testing.assert_close(score(logits).sum(dim=-1), torch.ones(7))
    other = logits.clone()
    other[:, 0] += 3
    assert torch.equal(score(logits, "sigmoid")[:, 1:], score(other, "sigmoid")[:, 1:])


@pytest.mark.parametrize("score_fn", ["softmax", "sigmoid"])
def test_scores_are_float32_even_for_bfloat16_logits_and_stay_float64(score_fn: str) -> None:
    assert score(torch.zeros(2, 3, dtype=torch.bfloat16), score_fn).dtype == torch.float32
    assert score(torch.zeros(2, 3, dtype=torch.float64), score_fn).dtype == torch.float64


def test_a_nan_is_not_chosen_in_silence() -> None:
    for poison in (torch.nan, torch.inf):
        logits = torch.zeros(3, 4)
        logits[1, 2] = poison
        with pytest.raises(ValueError, match="logits of 1 of 3 tokens are NaN or infinite"):
            score(logits)


def test_an_expert_closed_with_minus_infinity_gets_no_probability() -> None:
    probs = score(torch.tensor([[0.0, -torch.inf, 0.0]]))
    torch.testing.assert_close(probs, torch.tensor([[0.5, 0.0, 0.5]]))


@settings(max_examples=100, deadline=None)
@given(
    levels=st.lists(st.integers(0, 2), min_size=1, max_size=40),
    is_crowd=st.booleans(),
    data=st.data(),
)
def test_at_a_tie_the_lowest_id_wins(
    levels: list[int], is_crowd: bool, data: st.DataObject
) -> None:
    top_k = data.draw(st.integers(1, len(levels)))
    expected = sorted(range(len(levels)), key=lambda expert: (-levels[expert], expert))[:top_k]
    # Many tokens are decided in another way than few, and most of these have no tie.
    others = torch.rand(2000 if is_crowd else 0, len(levels))
    ranking = torch.cat([torch.tensor([levels], dtype=torch.float32), others])

    chosen = top_experts(ranking, top_k)

    assert chosen[0].tolist() == expected
    assert chosen[1:].equal(others.argsort(dim=-1, descending=True, stable=True)[:, :top_k])


@pytest.mark.parametrize("top_k", [0, 5])
def test_choosing_none_or_too_many_is_refused(top_k: int) -> None:
    with pytest.raises(ValueError, match="must lie between 1 and the number of experts, 4"):
        top_experts(torch.zeros(2, 4), top_k)


def test_gates_are_read_from_the_probabilities_and_the_choice_from_the_ranking() -> None:
    probs = torch.tensor([[0.5, 0.3, 0.2]])

    gates, ids = topk_gates(probs, 2, ranking=torch.tensor([[0.0, 1.0, 2.0]]), normalize=False)

    assert ids.tolist() == [[2, 1]]
    torch.testing.assert_close(gates, torch.tensor([[0.2, 0.3]]))


def test_scale_comes_after_the_normalisation() -> None:
    gates, _ = topk_gates(torch.rand(6, 5), 2, scale=2.5)
    torch.testing.assert_close(gates.sum(dim=-1), torch.full((6,), 2.5))


def test_gates_that_underflowed_are_zero_and_not_nan() -> None:
    gates = topk_gates(torch.zeros(2, 3), 2)[0]
    assert torch.equal(gates, torch.zeros(2, 2))


def test_learned_noise_grows_with_its_logit_and_follows_its_generator() -> None:
    logits, quiet, loud = torch.zeros(4000, 1), torch.full((4000, 1), -20.0), torch.zeros(4000, 1)

    noises = [
        noisy_logits(logits, noise, torch.Generator().manual_seed(1)) for noise in (quiet, loud)
    ]

    assert noises[0].abs().max() < 1e-6
    assert noises[1].std().item() == pytest.approx(math.log(2), abs=0.03)
    again = noisy_logits(logits, loud, torch.Generator().manual_seed(1))
    assert torch.equal(noises[1], again)


def test_jitter_stays_within_its_bounds() -> None:
    x = torch.ones(100, 10)
    noise = jittered(x, 0.1) - 1
    assert noise.abs().max() <= 0.1 + 1e-6 and noise.std() > 0.05


def test_a_group_counts_by_its_two_best_experts() -> None:
    #                        one star,      two good ones, all average
    ranking = torch.tensor([[0.9, 0.0, 0.0, 0.5, 0.5, 0.0, 0.3, 0.3, 0.3]])

    is_open = group_mask(ranking, n_groups=3, top_groups=1)

    assert is_open.tolist() == [[False] * 3 + [True] * 3 + [False] * 3]


def test_groups_of_one_expert_are_experts() -> None:
    ranking = torch.rand(20, 6)
    is_open = group_mask(ranking, n_groups=6, top_groups=2)
    expected = torch.zeros_like(is_open).scatter_(-1, top_experts(ranking, 2), True)
    assert torch.equal(is_open, expected)


def test_under_expert_choice_every_expert_is_equally_busy() -> None:
    chosen = expert_choice(torch.rand(12, 5), capacity=4)
    assert chosen.sum(dim=0).tolist() == [4] * 5


def test_under_expert_choice_the_best_tokens_win_and_the_first_of_equals() -> None:
    ranking = torch.tensor([[0.1], [0.7], [0.7], [0.7], [0.9]])
    assert expert_choice(ranking, capacity=3).flatten().tolist() == [False, True, True, False, True]
    assert expert_choice(ranking, capacity=9).all(), "more room than tokens"
