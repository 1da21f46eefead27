"""Measures of specialisation against formulas written out by hand, and chance beside each."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch

from moe_teach.analysis.specialisation.co_activation import co_activation, with_other_partners
from moe_teach.analysis.specialisation.information import (
    conditional_information,
    entropy,
    mutual_information,
)
from moe_teach.analysis.specialisation.intervals import bootstrap
from moe_teach.analysis.specialisation.nulls import permutation_null
from moe_teach.analysis.specialisation.saturation import saturation, saturation_null
from moe_teach.analysis.specialisation.temporal import (
    repetition,
    repetition_by_chance,
    repetition_null,
)
from moe_teach.analysis.specialisation.vocabulary import (
    domain_specialisation,
    overall_share,
    vocabulary_specialisation,
)


def choices(n_tokens: int, n_experts: int, top_k: int, seed: int = 0) -> torch.Tensor:
    """Draw K different experts for every token, the first ones more often."""
    draw = torch.Generator().manual_seed(seed)
    skew = torch.arange(n_experts) * 0.3
    return (torch.rand(n_tokens, n_experts, generator=draw) - skew).topk(top_k, dim=1).indices


def drawn(n_tokens: int, end: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(end, (n_tokens,), generator=torch.Generator().manual_seed(seed))


def bits_by_hand(pairs: list[tuple[int, int]]) -> float:
    both, left, right = Counter(pairs), Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    n = len(pairs)
    return sum(c / n * math.log2(c * n / (left[a] * right[b])) for (a, b), c in both.items())


def pairs_of(expert_ids: torch.Tensor, labels: torch.Tensor) -> list[tuple[int, int]]:
    return [
        (e, label)
        for row, label in zip(expert_ids.tolist(), labels.tolist(), strict=True)
        for e in row
    ]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 2), (50, 4, 1), (50, 6, 3)])
def test_mutual_information_is_its_formula(shape):
    ids, labels = choices(*shape), drawn(shape[0], 3)
    expected = bits_by_hand(pairs_of(ids, labels))
    assert mutual_information(ids, labels) == pytest.approx(expected, abs=1e-12)


def test_mutual_information_reaches_its_ends():
    labels = torch.arange(4).repeat(5)
    assert mutual_information(labels[:, None], labels) == pytest.approx(2)
    assert mutual_information(torch.zeros(20, 1, dtype=torch.long), labels) == 0
    even = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    assert mutual_information(even[:, :1], even[:, 1]) == pytest.approx(0, abs=1e-12)


def test_entropy_is_its_formula():
    labels = drawn(50, 5) * 7
    shares = [count / 50 for count in Counter(labels.tolist()).values()]
    assert entropy(labels) == pytest.approx(-sum(p * math.log2(p) for p in shares))
    assert entropy(labels[:1]) == 0
    with pytest.raises(ValueError, match="nothing to know"):
        entropy(labels[:0])


@pytest.mark.parametrize("top_k", [1, 2])
def test_conditional_information_is_the_mean_over_what_is_given(top_k):
    ids, labels, given = choices(60, 5, top_k), drawn(60, 3), drawn(60, 4, seed=2) * 1000
    expected = sum(
        bits_by_hand(pairs_of(ids[given == g], labels[given == g])) * int((given == g).sum()) / 60
        for g in given.unique().tolist()
    )
    found = conditional_information(ids, labels, given)
    assert found == pytest.approx(expected, abs=1e-12)


def test_what_the_token_says_alone_is_no_information_beyond_it():
    token = drawn(400, 6)
    ids, domain = (token % 4)[:, None], token // 3  # both are functions of the token
    assert mutual_information(ids, domain) > 0.1
    assert conditional_information(ids, domain, token) == pytest.approx(0, abs=1e-12)


def test_a_null_within_the_token_keeps_what_the_token_says():
    """The trap: permuted freely, a token gets domains it never has, and chance looks large."""
    token = drawn(500, 40)
    domain = token // 20
    ids = (token % 4)[:, None]

    def measure(labels):
        return conditional_information(ids, labels, token)

    within = permutation_null(measure, domain, within=token, n=20)
    assert within.high == pytest.approx(0, abs=1e-12)
    mixed = drawn(500, 2, seed=3)
    other = choices(500, 4, 1)

    def bias(labels):
        return conditional_information(other, labels, token)

    null = permutation_null(bias, mixed, within=token, n=50)
    assert null.mean > 0.05  # of chance alone: few tokens of each id
    assert null.low < null.measured < null.high
    assert abs(null.excess) < 0.05


def test_a_permutation_within_groups_moves_labels_inside_them_only():
    labels, groups = torch.arange(30), drawn(30, 4)
    seen = []
    permutation_null(lambda now: seen.append(now.clone()) or 0.0, labels, within=groups, n=5)
    for now in seen[:-1]:
        assert sorted(now.tolist()) == list(range(30))
        assert torch.equal(groups[now], groups)
    assert any(not torch.equal(now, labels) for now in seen[:-1])
    assert torch.equal(seen[-1], labels)


def test_a_permutation_by_units_keeps_texts_whole():
    units = torch.tensor([7, 7, 2, 2, 2, 9])
    labels = torch.tensor([0, 0, 1, 1, 1, 0])
    seen = set()
    permutation_null(lambda now: seen.add(tuple(now.tolist())) or 0.0, labels, units=units, n=50)
    assert seen == {(0, 0, 1, 1, 1, 0), (1, 1, 0, 0, 0, 0), (0, 0, 0, 0, 0, 1)}
    with pytest.raises(ValueError, match="two labels"):
        permutation_null(lambda now: 0.0, torch.arange(6), units=units)


def test_texts_that_go_together_need_a_null_by_texts():
    """Every text has an expert of its own: token by token that looks like specialisation."""
    texts = torch.arange(16).repeat_interleave(25)
    domain, ids = texts % 2, drawn(16, 4)[texts][:, None]

    def measure(labels):
        return mutual_information(ids, labels)

    by_tokens = permutation_null(measure, domain, n=99)
    by_texts = permutation_null(measure, domain, units=texts, n=99)
    assert by_texts.mean > 5 * by_tokens.mean
    assert by_tokens.p_value < 0.05
    itself = permutation_null(lambda now: float(torch.equal(now, domain)), domain, n=19)
    assert itself.p_value == 1 / 20  # the measured value counts as one of the draws
    assert by_texts.p_value > 0.05


def test_a_null_says_what_its_draws_say():
    labels = drawn(30, 5)
    null = permutation_null(lambda now: float(now[0]), labels, n=40)
    assert len(null.values) == null.n == 40
    assert null.mean == pytest.approx(np.mean(null.values))
    assert [null.low, null.high] == pytest.approx(np.quantile(null.values, [0.025, 0.975]).tolist())
    reached = sum(value >= null.measured for value in null.values)
    assert null.p_value == (reached + 1) / 41
    assert permutation_null(lambda now: float(now[0]), labels, n=40) == null
    assert permutation_null(lambda now: float(now[0]), labels, n=40, seed=1) != null


def test_rounding_lets_no_draw_fall_short_of_what_it_equals():
    labels = torch.arange(9)
    measured = {True: 1.0, False: 1.0 - 1e-15}
    null = permutation_null(lambda now: measured[torch.equal(now, labels)], labels, n=20)
    assert null.p_value == 1


def test_the_null_of_information_is_about_millers_bias():
    ids, labels = drawn(2000, 8, seed=4)[:, None], drawn(2000, 4)
    null = permutation_null(lambda now: mutual_information(ids, now), labels, n=200)
    assert null.mean == pytest.approx(7 * 3 / (2 * 2000 * math.log(2)), rel=0.1)


@pytest.mark.parametrize("top_k", [1, 3])
def test_specialisation_counts_tokens_and_not_choices(top_k):
    ids, labels = choices(40, 5, top_k), drawn(40, 3)
    found = domain_specialisation(ids, labels, 5, 4)
    for d, e in itertools.product(range(3), range(5)):
        mine = [e in row for row in ids[labels == d].tolist()]
        assert found[d, e] == pytest.approx(sum(mine) / len(mine))
    assert found[3].isnan().all()  # no token of it
    assert torch.allclose(found[:3].sum(1), torch.full((3,), float(top_k), dtype=torch.float64))
    as_words = vocabulary_specialisation(ids, labels, 5, 4)
    assert torch.equal(found[:3], as_words[:3])
    assert overall_share(ids, 5).sum() == pytest.approx(top_k)


def test_co_activation_is_the_share_of_common_tokens():
    ids = choices(60, 6, 3)
    sets = [set(row) for row in ids.tolist()]
    found = co_activation(ids, 6)
    for i, j in itertools.product(range(6), repeat=2):
        mine = [s for s in sets if i in s]
        if mine:
            assert found[i, j] == pytest.approx(sum(j in s for s in mine) / len(mine))
        else:
            assert found[i, j].isnan()
    with pytest.raises(ValueError, match="twice"):
        co_activation(torch.tensor([[1, 1]]), 3)


def test_other_partners_keep_loads_and_sets_and_lose_the_company():
    pairs = torch.tensor([[0, 1], [2, 3]]).repeat(200, 1)  # 0 with 1, 2 with 3, always
    mixed = with_other_partners(pairs)
    assert torch.equal(torch.bincount(mixed.flatten()), torch.bincount(pairs.flatten()))
    assert (mixed[:, 0] != mixed[:, 1]).all()
    assert co_activation(pairs, 4)[0, 1] == 1
    for i, j in itertools.permutations(range(4), 2):
        assert co_activation(mixed, 4)[i, j] == pytest.approx(1 / 3, abs=0.1)
    assert with_other_partners(pairs[:1]).tolist() == [[0, 1]]


def test_saturation_is_the_share_of_final_choices():
    earlier, final = choices(50, 8, 3), choices(50, 8, 3, seed=5)
    by_hand = [
        len(set(a) & set(b)) / 3 for a, b in zip(earlier.tolist(), final.tolist(), strict=True)
    ]
    assert saturation(earlier, final) == pytest.approx(sum(by_hand) / 50)
    assert saturation(final, final.flip(1)) == 1
    null = saturation_null(final, final, n=20)
    assert null.measured == 1
    assert 3 / 8 < null.mean < 0.9  # skewed loads agree on more than K / E
    assert (
        saturation_null(final, final, n=20) == null != saturation_null(final, final, n=20, seed=1)
    )


@pytest.mark.parametrize("first_only", [True, False])
def test_repetition_is_about_neighbours_of_one_text(first_only):
    ids = choices(40, 6, 2)
    texts = torch.arange(40) // 13
    shared = [
        ids[t, 0] == ids[t + 1, 0]
        if first_only
        else set(ids[t].tolist()) & set(ids[t + 1].tolist())
        for t in range(39)
        if texts[t] == texts[t + 1]
    ]
    found = repetition(ids, texts, first_only=first_only)
    assert found == pytest.approx(sum(map(bool, shared)) / len(shared))


def test_repetition_by_chance_is_mixtrals():
    assert repetition_by_chance(8, 2, first_only=True) == 0.125
    assert repetition_by_chance(8, 2) == pytest.approx(1 - 6 / 8 * 5 / 7)
    sets = list(itertools.combinations(range(5), 3))
    meeting = [bool(set(a) & set(b)) for a in sets for b in sets]
    assert repetition_by_chance(5, 3) == pytest.approx(sum(meeting) / len(meeting)) == 1


def test_the_null_of_repetition_takes_away_time_and_keeps_the_text():
    runs = torch.arange(4).repeat_interleave(25)[:, None]  # one text of four long runs
    one = torch.zeros(100, dtype=torch.long)
    null = repetition_null(runs, one, first_only=True, n=50)
    assert null.measured == pytest.approx(96 / 99)
    assert null.mean == pytest.approx(24 / 99, abs=0.03)
    # The second choice is always the same, so that any order repeats one of two.
    company = torch.cat([runs, torch.full_like(runs, 7)], dim=1)
    both = repetition_null(company, one, n=5)
    assert both.measured == both.mean == 1
    texts = runs[:, 0]  # four texts of an expert each: nothing about time
    assert repetition_null(runs, texts, first_only=True, n=5).mean == 1
    with pytest.raises(ValueError, match="neighbour"):
        repetition(runs[:3], torch.arange(3))


def test_an_interval_draws_texts_and_not_tokens():
    values = torch.randn(40, generator=torch.Generator().manual_seed(0)).repeat_interleave(30)
    texts = torch.arange(40).repeat_interleave(30).flip(0)
    found = bootstrap(lambda t: float(values[t].mean()), texts, n=400)
    width = 1.96 * float(values[::30].std()) / math.sqrt(40)
    assert found.measured == pytest.approx(float(values.mean()))
    assert found.high - found.low == pytest.approx(2 * width, rel=0.2)
    assert found.low < found.measured < found.high
    assert f"{found:.1f}".count("[") == 1
    scattered = torch.randperm(1200, generator=torch.Generator().manual_seed(1))
    other = bootstrap(lambda t: float(values[scattered][t].mean()), texts[scattered], n=400)
    assert other.high - other.low == pytest.approx(2 * width, rel=0.2)
    half = bootstrap(lambda t: float(values[t].mean()), texts, n=400, level=0.5)
    z = 0.674  # of a normal distribution, half lies within
    assert half.high - half.low == pytest.approx(2 * z / 1.96 * width, rel=0.25)
    assert bootstrap(lambda t: float(values[t].mean()), texts, n=400) == found
    assert bootstrap(lambda t: float(values[t].mean()), texts, n=400, seed=1) != found
    with pytest.raises(ValueError, match="two texts"):
        bootstrap(lambda t: 0.0, texts[:5])


def test_an_interval_of_information_turns_the_shift_of_drawing_again_back():
    ids, labels = drawn(200, 8, seed=4)[:, None], drawn(200, 4)
    found = bootstrap(lambda t: mutual_information(ids[t], labels[t]), torch.arange(200), n=200)
    assert found.high < found.measured + 0.02  # percentiles alone would lie all above it
    assert found.low < 0.05


def test_measures_refuse_what_they_cannot_count(as_a_user):
    ids, none = choices(5, 4, 2), torch.zeros(0, 2, dtype=torch.long)
    with pytest.raises(ValueError, match="at least one token"):
        mutual_information(none, none[:, 0])
    with pytest.raises(ValueError, match="one label"):
        mutual_information(ids, drawn(4, 2))
    with pytest.raises(ValueError, match="same tokens"):
        saturation(ids, ids[:2])
    with pytest.raises(ValueError, match="one label"):
        conditional_information(ids, drawn(5, 2), drawn(4, 2))
    with pytest.raises(ValueError, match="not both"):
        permutation_null(lambda now: 0.0, drawn(5, 2), within=drawn(5, 2), units=drawn(5, 2))
