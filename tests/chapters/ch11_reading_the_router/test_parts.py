"""What the exercises of chapter 11 judge by agrees with the library, and with counting by hand."""

import pytest
import torch

from moe_teach.analysis.interventions.knock_out import without_expert
from moe_teach.analysis.routes.record import RouteRecord
from moe_teach.analysis.specialisation.information import (
    conditional_information,
    mutual_information,
)
from moe_teach.chapters.ch11_reading_the_router.bits import information
from moe_teach.chapters.ch11_reading_the_router.experiments.models import (
    RARE,
    Trial,
    untrained_model,
)
from moe_teach.chapters.ch11_reading_the_router.experiments.reading import (
    counted,
    routed_by_table,
    told_of_domain,
)
from moe_teach.chapters.ch11_reading_the_router.experts_to_keep import most
from moe_teach.chapters.ch11_reading_the_router.inputs import some_routes
from moe_teach.chapters.ch11_reading_the_router.keeping import (
    keeping,
    loss_on,
    stored_sample,
    stored_texts,
)
from moe_teach.chapters.ch11_reading_the_router.made_up import Numbers, made_up_parts, verdict_of
from moe_teach.chapters.ch11_reading_the_router.path_divergence import divergence, some_pair
from moe_teach.chapters.ch11_reading_the_router.reports import (
    FAULTS,
    Report,
    apart,
    null_of,
    report_of,
)


def a_record(seed: int = 0, n_tokens: int = 240, beyond: float = 3.0) -> RouteRecord:
    drawn = some_routes(seed, n_tokens, n_ids=9, beyond=beyond)
    domains = torch.arange(n_tokens) // 5 % 3  # texts of five tokens
    return RouteRecord(
        token_ids=drawn.tokens,
        sequence_ids=torch.arange(n_tokens) // 5,
        positions=torch.arange(n_tokens) % 5,
        domain_ids=domains,
        domains=("a", "b", "c"),
        expert_ids=drawn.expert_ids[:, None],
        gates=torch.ones(n_tokens, 1, 2),
        margins=torch.ones(n_tokens, 1),
        n_experts=5,
        layers=("layer 0",),
    )


def test_the_exercises_bits_are_those_of_the_library() -> None:
    for seed in range(3):
        drawn = some_routes(seed, 101)
        columns = (drawn.expert_ids, drawn.domains)
        assert information(*columns) == pytest.approx(mutual_information(*columns), abs=1e-9)
        assert information(*columns, drawn.tokens) == pytest.approx(
            conditional_information(*columns, drawn.tokens), abs=1e-9
        )


def test_a_table_of_tokens_tells_nothing_beyond_the_token() -> None:
    told = told_of_domain(routed_by_table(a_record()), n_deals=4)
    assert told["beyond"] == told["beyond_null"] == [0]
    assert told["bits"] == pytest.approx(told["by_token"], abs=1e-4)


def test_a_table_needs_no_more_than_its_seed() -> None:
    one, again, other = (routed_by_table(a_record(), seed).expert_ids for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_experts_that_follow_nothing_stay_within_chance() -> None:
    record = a_record()  # its domains have nothing to do with its experts
    told = told_of_domain(record, n_deals=40)
    assert told["bits"][0] < told["chance"][0] * 1.5
    assert told["beyond"][0] < told["beyond_texts"][0] * 1.5


def test_choices_are_counted_by_layer_expert_and_domain() -> None:
    record = a_record(n_tokens=15)
    counts = counted(record)
    assert counts.shape == (1, 5, 3)
    assert counts.sum() == 30
    expert, domain = int(record.expert_ids[7, 0, 1]), int(record.domain_ids[7])
    by_hand = (record.expert_ids[record.domain_ids == domain] == expert).sum()
    assert counts[0, expert, domain] == by_hand


def test_keeping_all_but_one_is_taking_that_one_away() -> None:
    model = untrained_model(Trial(), 0).eval()
    texts = torch.randint(256, (3, 20), generator=torch.Generator().manual_seed(0))
    kept = torch.ones(4, 16, dtype=torch.bool)
    kept[2, 5] = False
    before = loss_on(model, texts)
    with keeping(model, kept):
        less = loss_on(model, texts)
    with without_expert(model, 2, 5):
        assert loss_on(model, texts) == pytest.approx(less, abs=1e-5)
    assert loss_on(model, texts) == before, "the model is as it was"


def test_a_model_is_whole_again_after_an_error() -> None:
    model = untrained_model(Trial(), 0)
    with (
        pytest.raises(ZeroDivisionError),
        keeping(model, torch.zeros(4, 16, dtype=torch.bool)),
    ):
        raise ZeroDivisionError
    assert all(not block.ffn.router.expert_bias.any() for block in model.blocks)


def test_the_stored_sample_is_of_four_domains_and_new_to_the_texts() -> None:
    sample, texts = stored_sample(), stored_texts()
    assert sorted(sample) == ["arithmetic", "code", "english", "languages"]
    for name, own in sample.items():
        assert own.counts.sum() == 8 * 128 * 2 * 4
        assert [tuple(one.shape) for one in texts[name]] == [(4, 129)] * 3


def test_the_most_are_kept_and_two_in_each_layer() -> None:
    score = torch.tensor([[9.0, 8.0, 7.0], [0.1, 0.2, 0.3]])
    assert most(score, 5).tolist() == [[True, True, True], [False, True, True]]
    assert most(score, 4).sum(dim=1).tolist() == [2, 2]


def test_paths_part_by_the_share_of_experts_that_are_not_shared() -> None:
    a = torch.tensor([[[0, 1]], [[2, 3]], [[4, 5]], [[0, 1]]])
    b = torch.tensor([[[9, 9]], [[2, 3]], [[5, 6]], [[1, 0]]])
    tokens, other = torch.tensor([7, 7, 7, 7]), torch.tensor([7, 8, 7, 7])
    # Only the last two places count: half differs in one, nothing in the other.
    assert divergence(a, b, tokens, other).tolist() == [0.25]
    pair = some_pair(0, 13, 2)
    first = int((pair[2] != pair[3]).nonzero()[0])
    assert torch.equal(pair[0][:first], pair[1][:first]), "a causal model"


def truth_of(report: Report) -> dict[str, object]:
    """Work out from a report's data what it ought to claim."""
    ids, domains, dropped = report.expert_ids, report.domains, ~report.kept
    parts = {"expert_ids": ids, "tokens": report.tokens, "domains": domains}
    return {
        "load": [float((ids == expert).double().mean()) for expert in range(6)],
        "information": mutual_information(ids, domains),
        "null": null_of(parts),
        "drops": [float(dropped[domains == domain].double().mean()) for domain in range(3)],
        "needed": max(range(6), key=lambda expert: float(report.damage[expert].sum())),
    }


@pytest.mark.parametrize("fault", ["", *FAULTS])
def test_a_fault_makes_its_own_claim_false_and_no_other(fault: str) -> None:
    report = report_of(fault, 3)
    false = [
        name for name, value in truth_of(report).items() if apart(getattr(report, name), value)
    ]
    assert false == [FAULTS[fault]] if fault else false == []


def test_bits_of_narrow_columns_are_those_of_wide_ones() -> None:
    drawn = some_routes(0, 61, n_experts=11, n_ids=37)
    columns = (drawn.expert_ids, drawn.domains, drawn.tokens)
    narrow = [column.to(torch.int8) for column in columns]
    assert information(*narrow) == information(*columns)


def test_made_up_numbers_belong_to_their_layer_and_null_in_any_order() -> None:
    tokens, domains = torch.tensor([1, 2, 2]), torch.tensor([0, 1, 0])
    ids = torch.tensor([[[0], [1]], [[2], [3]], [[4], [5]]])  # two layers
    told = [Numbers(0.5, [0.1, 0.2], [0.3, 0.4]), Numbers(0.6, [0.7], [0.8])]
    parts = made_up_parts((ids, tokens, domains), told)
    random = torch.Generator()
    within = parts["shuffled"](domains, tokens, random)
    among = parts["shuffled"](domains, torch.zeros_like(tokens), random)
    asked = [(1, within), (0, among), (0, within), (1, domains), (0, among)]
    found = [parts["information"](ids[:, layer], labels) for layer, labels in asked]
    assert found == [0.8, 0.1, 0.3, 0.6, 0.2]


@pytest.mark.parametrize(
    ("by_chance", "by_token", "verdict"),
    [
        ([0.1, 0.4], [0.1, 0.2], "nothing"),
        ([0.1, 0.3], [0.1, 0.4], "the token"),
        ([0.1, 0.3], [0.2, 0.3], "more than the token"),
    ],
)
def test_bits_that_equal_a_deal_are_not_above_it(
    by_chance: list[float], by_token: list[float], verdict: str
) -> None:
    assert verdict_of(Numbers(0.4, by_chance, by_token)) == verdict


def test_a_rare_domain_is_rare() -> None:
    assert sum(RARE.values()) == pytest.approx(1)
    assert Trial(rare=True).mixture["arithmetic"] == 0.04
    assert Trial().mixture["arithmetic"] == Trial().mixture["code"]
