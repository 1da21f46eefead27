"""Measures of specialisation against hand counts, and nulls that hold where nothing is there."""

import itertools
import math

import pytest
import torch

from moe_teach.analysis.specialisation.information import (
    conditional_information,
    entropy,
    mutual_information,
)
from moe_teach.analysis.specialisation.intervals import bootstrap
from moe_teach.analysis.specialisation.null import (
    Null,
    permutation_null,
    permuted,
    permuted_by_sequence,
)
from moe_teach.analysis.specialisation.over_time import repetition, saturation
from moe_teach.analysis.specialisation.shares import (
    co_activation,
    domain_specialisation,
    vocabulary_specialisation,
)


def drawn(seed: int, n_tokens: int = 60, top_k: int = 2, n_experts: int = 5):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.rand(n_tokens, n_experts, generator=generator).argsort(1)[:, :top_k]
    labels = torch.randint(0, 3, (n_tokens,), generator=generator)
    given = torch.randint(0, 4, (n_tokens,), generator=generator)
    return ids, labels, given


def by_hand(ids, labels, given=None) -> float:
    """Sum p log(p p(x) / p(e,x) p(d,x)) over all triples that occur."""
    given = torch.zeros_like(labels) if given is None else given
    triples = [
        (int(expert), int(label), int(known))
        for row, label, known in zip(ids, labels, given, strict=True)
        for expert in row
    ]
    n = len(triples)

    def share(*picked):
        return (
            sum(
                all(want is None or have == want for have, want in zip(triple, picked, strict=True))
                for triple in triples
            )
            / n
        )

    total = 0.0
    for e, d, x in set(triples):
        p = share(e, d, x)
        total += p * math.log2(p * share(None, None, x) / share(e, None, x) / share(None, d, x))
    return total


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n_tokens", "top_k"), [(1, 1), (7, 1), (40, 3)])
def test_information_is_the_sum_over_pairs_and_triples(seed, n_tokens, top_k):
    ids, labels, given = drawn(seed, n_tokens, top_k)
    assert mutual_information(ids, labels) == pytest.approx(by_hand(ids, labels), abs=1e-9)
    conditional = conditional_information(ids, labels, given)
    assert conditional == pytest.approx(by_hand(ids, labels, given), abs=1e-9)


def test_an_expert_for_each_domain_says_all_and_one_for_everybody_says_nothing():
    labels = torch.arange(4).repeat(5)
    assert mutual_information(labels[:, None], labels) == pytest.approx(2.0)
    assert entropy(labels) == pytest.approx(2.0)
    assert mutual_information(torch.zeros(20, 1, dtype=torch.long), labels) == 0


def test_what_the_token_says_already_is_not_counted_twice():
    tokens = torch.arange(8).repeat(10)
    domains = tokens // 4  # every token id lives in one domain
    experts = (tokens % 3)[:, None]
    assert mutual_information(experts, domains) > 0
    assert conditional_information(experts, domains, tokens) == pytest.approx(0, abs=1e-12)


def test_large_and_negative_labels_are_labels():
    ids, labels, given = drawn(0)
    far = labels * 10**12 - 5
    assert mutual_information(ids, far) == mutual_information(ids, labels)
    assert conditional_information(ids, labels, given * 10**12) == conditional_information(
        ids, labels, given
    )


@pytest.mark.parametrize("labels", [torch.zeros(3, dtype=torch.long), torch.zeros(2, 2).long()])
def test_labels_that_do_not_fit_are_refused(labels):
    with pytest.raises(ValueError, match="one label for each"):
        mutual_information(torch.zeros(2, 1, dtype=torch.long), labels)
    with pytest.raises(ValueError, match="at least one token"):
        mutual_information(torch.zeros(0, 1, dtype=torch.long), labels[:0])


def test_the_null_of_noise_holds_what_was_observed():
    """Of forty experiments without an effect, p <= 0.05 in about two."""
    p_values = []
    for seed in range(40):
        ids, labels, _ = drawn(seed)
        null = permutation_null(
            lambda d, ids=ids: mutual_information(ids, d), labels, 19, seed=seed
        )
        p_values.append(null.p_value)
    assert 0 < sum(p <= 0.05 for p in p_values) + 1 <= 8
    assert abs(sum(p_values) / 40 - 0.525) < 0.15


def test_the_null_of_plain_information_is_near_millers_bias():
    ids, labels, _ = drawn(3, n_tokens=2000, top_k=1)
    null = permutation_null(lambda d: mutual_information(ids, d), labels)
    assert null.mean == pytest.approx(4 * 2 / (2 * math.log(2) * 2000), rel=0.4)


def test_an_effect_lies_above_its_null():
    labels = torch.arange(3).repeat(40)
    null = permutation_null(lambda d: mutual_information(labels[:, None], d), labels, 19)
    assert null.p_value == pytest.approx(1 / 20)
    assert null.observed > null.band[1] > null.band[0] > 0
    assert null.excess == pytest.approx(null.observed - null.mean)


def test_permuting_within_keeps_what_each_token_has():
    _, labels, given = drawn(1)
    new = permuted(labels, torch.Generator().manual_seed(0), given)
    assert not torch.equal(new, labels)
    for value in given.unique():
        mine = given == value
        assert torch.equal(new[mine].sort().values, labels[mine].sort().values)
    alone = permuted(labels, torch.Generator().manual_seed(0), torch.arange(len(labels)))
    assert torch.equal(alone, labels), "every token is the only one of its kind"


def test_every_permutation_within_a_group_comes_up():
    labels, within = torch.tensor([0, 1, 2, 9]), torch.tensor([5, 5, 5, 1])
    generator = torch.Generator().manual_seed(0)
    seen = {tuple(permuted(labels, generator, within).tolist()) for _ in range(200)}
    assert seen == {(*order, 9) for order in itertools.permutations((0, 1, 2))}


def test_sequences_keep_one_label_each():
    sequences = torch.tensor([0, 0, 1, 1, 1, 2])
    labels = torch.tensor([4, 4, 5, 5, 5, 6])
    new = permuted_by_sequence(labels, sequences, torch.Generator().manual_seed(1))
    assert sorted({int(new[sequences == s].unique()) for s in range(3)}) == [4, 5, 6]
    with pytest.raises(ValueError, match="two labels"):
        permuted_by_sequence(torch.arange(6), sequences, torch.Generator())


def test_a_null_needs_a_permutation():
    with pytest.raises(ValueError, match="at least one permutation"):
        permutation_null(lambda d: 0.0, torch.zeros(2, dtype=torch.long), 0)
    assert Null(1.0, (1.0, 0.0)).p_value == pytest.approx(2 / 3), "reaching counts as exceeding"


def test_shares_by_domain_and_token_sum_to_k():
    ids, domains, tokens = drawn(2)
    for labels, table in (
        (domains, domain_specialisation(ids, domains, 5, 4)),
        (tokens, vocabulary_specialisation(ids, tokens, 5, 6)),
    ):
        for label in range(len(table)):
            mine = ids[labels == label]
            for expert in range(5):
                expected = float((mine == expert).any(1).double().mean()) if len(mine) else 0.0
                assert float(table[label, expert]) == pytest.approx(expected)
    with pytest.raises(ValueError, match="between 0 and 1"):
        domain_specialisation(ids, domains, 5, 2)


def test_co_activation_counts_who_works_together():
    ids = torch.tensor([[0, 1], [0, 2], [0, 1], [3, 1]])
    table = co_activation(ids, 5)
    assert table[0].tolist() == pytest.approx([1, 2 / 3, 1 / 3, 0, 0])
    assert table[1].tolist() == pytest.approx([2 / 3, 1, 0, 1 / 3, 0])
    assert table[4].tolist() == [0] * 5
    assert co_activation(torch.zeros(1, 1, dtype=torch.long), 1).tolist() == [[1.0]]


def test_repetition_counts_within_texts_and_chance_is_measured():
    ids = torch.tensor([[0, 1], [0, 2], [2, 0], [2, 3]])
    found = repetition(ids, torch.tensor([0, 0, 0, 1]))
    assert found.first == pytest.approx(1 / 2)  # 0 0 yes, 0 2 no; 2 2 is across texts
    assert found.any == pytest.approx(1.0)
    with pytest.raises(ValueError, match="No text has two"):
        repetition(ids, torch.arange(4))


def test_even_routing_repeats_as_the_formula_says():
    """Mixtral's table: 1 / E for first choices, 1 - C(E-K, K) / C(E, K) for any."""
    ids = torch.rand(20_000, 8, generator=torch.Generator().manual_seed(0)).argsort(1)[:, :2]
    found = repetition(ids, torch.zeros(20_000, dtype=torch.long))
    expected = 1 - math.comb(6, 2) / math.comb(8, 2)
    assert found.first == pytest.approx(1 / 8, abs=0.01)
    assert found.any == pytest.approx(expected, abs=0.015)
    assert found.any_by_chance == pytest.approx(expected, abs=0.01)


def test_a_busy_expert_alone_is_no_memory():
    generator = torch.Generator().manual_seed(0)
    ids = (torch.rand(5000, 1, generator=generator) < 0.1).long()
    found = repetition(ids, torch.zeros(5000, dtype=torch.long))
    assert found.first == pytest.approx(0.82, abs=0.02)
    assert found.first_by_chance == pytest.approx(found.first, abs=0.01)


def test_saturation_is_the_overlap_of_choices_whatever_their_order():
    final = torch.tensor([[[0, 1], [2, 3]], [[0, 2], [1, 3]]])
    assert saturation(final.flip(-1), final).tolist() == [1.0, 1.0]
    earlier = torch.tensor([[[1, 3], [0, 1]], [[0, 2], [1, 0]]])
    assert saturation(earlier, final).tolist() == pytest.approx([3 / 4, 1 / 4])
    assert float(saturation(final[:, 0], final[:, 1])) == pytest.approx(0.0)
    with pytest.raises(ValueError, match="the same tokens"):
        saturation(final[:1], final)


def test_the_bootstrap_draws_whole_texts():
    texts = torch.arange(30).repeat_interleave(10)
    values = (texts % 2).double()
    found = bootstrap(lambda places: float(values[places].mean()), texts)
    assert found.value == pytest.approx(0.5)
    # The standard error is that of 30 texts and not of 300 tokens.
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 0.5 / math.sqrt(30), rel=0.3)
    assert not bootstrap(lambda places: float(values[places].mean() - 0.5), texts).excludes_zero
    with pytest.raises(ValueError, match="two or more"):
        bootstrap(lambda places: 0.0, texts[:10])
