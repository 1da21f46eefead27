"""The capacity plan against counts by hand, simulation, and the functions of chapter 01."""

import math
import random
from dataclasses import replace

import pytest

from moe_teach.catalog import CATALOG
from moe_teach.config import AttentionConfig, ModelConfig
from moe_teach.cost import (
    Machine,
    Workload,
    decode_step_seconds,
    distinct_experts_of,
    expected_distinct_experts,
    expert_bytes,
    experts_that_fit,
    fetched_bytes_per_step,
    kv_cache_bytes_per_token,
    offloaded_step_seconds,
    plan,
    resident_bytes,
    usd_per_million_tokens,
    weight_bytes,
)

OLMOE = CATALOG["OLMoE-1B-7B"].config
DENSE = ModelConfig(
    n_layers=2,
    d_model=8,
    vocab_size=16,
    attention=AttentionConfig(n_heads=1, n_kv_heads=1, d_head=8),
    d_ff_dense=8,
)
LAPTOP = Machine(
    memory_bytes=4e9,
    bandwidth_bytes_per_s=20e9,
    peak_flops_per_s=2e11,
    usd_per_hour=0.1,
    storage_bytes_per_s=1e9,
)
LARGE = replace(LAPTOP, memory_bytes=64e9, storage_bytes_per_s=None)
LOAD = Workload(sequences=1, context=0, million_tokens_per_month=1.0)


def test_one_expert_of_olmoe_is_three_matrices():
    assert expert_bytes(OLMOE) == 3 * 2048 * 1024 * 2
    assert expert_bytes(OLMOE, "int4") == 3 * 2048 * 1024 / 2


def test_what_is_resident_and_the_experts_are_the_whole_model():
    experts = 16 * 64 * expert_bytes(OLMOE)
    assert resident_bytes(OLMOE) + experts == weight_bytes(OLMOE)


def test_half_of_the_experts_fit_into_half_of_their_bytes():
    experts = 16 * 64 * expert_bytes(OLMOE)
    assert experts_that_fit(OLMOE, experts / 2) == pytest.approx(0.5)
    assert experts_that_fit(OLMOE, 2 * experts) == 1.0
    assert experts_that_fit(OLMOE, -1.0) == 0.0


def test_an_even_load_touches_what_uniform_routing_touches():
    for n_tokens in (0, 1, 3, 50):
        even = distinct_experts_of([1 / 16] * 16, 2, n_tokens)
        assert even == pytest.approx(expected_distinct_experts(16, 2, n_tokens))


def test_a_skewed_load_touches_as_many_as_a_simulation():
    load = [0.4, 0.3, 0.2, 0.1]
    rng = random.Random(0)
    drawn = [len(set(rng.choices(range(4), load, k=5))) for _ in range(20_000)]
    assert distinct_experts_of(load, 1, 5) == pytest.approx(sum(drawn) / len(drawn), abs=0.02)
    assert distinct_experts_of(load, 1, 5) < expected_distinct_experts(4, 1, 5)


def test_a_token_alone_fetches_the_missing_part_of_its_experts():
    all_missing = fetched_bytes_per_step(OLMOE, 1, 0.0)
    assert all_missing == pytest.approx(16 * 8 * expert_bytes(OLMOE))
    assert fetched_bytes_per_step(OLMOE, 1, 0.75) == pytest.approx(all_missing / 4)
    assert fetched_bytes_per_step(OLMOE, 1, 1.0) == 0.0


def test_a_step_takes_as_long_as_the_slowest_of_fetching_reading_and_computing():
    fetching = fetched_bytes_per_step(OLMOE, 1, 0.2) / 1e9
    assert offloaded_step_seconds(OLMOE, LAPTOP, 1, 0.2) == pytest.approx(fetching)
    in_memory = decode_step_seconds(OLMOE, LAPTOP, 1)
    assert offloaded_step_seconds(OLMOE, LAPTOP, 1, 1.0) == in_memory


def test_a_model_that_fits_is_planned_as_chapter_01_does():
    found = plan(OLMOE, LARGE, replace(LOAD, sequences=4, context=100))
    assert (found.placement, found.hit_rate, found.fetched_bytes_per_step) == ("in memory", 1.0, 0)
    assert found.step_seconds == decode_step_seconds(OLMOE, LARGE, 4, context=100)
    assert found.tokens_per_second == pytest.approx(4 / found.step_seconds)
    assert found.kv_bytes == 400 * kv_cache_bytes_per_token(OLMOE)
    assert found.distinct_experts == expected_distinct_experts(64, 8, 4)
    assert found.usd_per_million_busy == usd_per_million_tokens(0.1, found.tokens_per_second)


def test_a_model_that_does_not_fit_fetches_what_even_routing_misses():
    found = plan(OLMOE, LAPTOP, LOAD)
    free = 4e9 - resident_bytes(OLMOE)
    assert found.placement == "experts fetched"
    assert found.hit_rate == found.resident_share == experts_that_fit(OLMOE, free)
    assert found.step_seconds == pytest.approx(found.fetched_bytes_per_step / 1e9)


def test_a_hit_rate_measured_on_a_trace_takes_the_place_of_even_routing():
    found = plan(OLMOE, LAPTOP, replace(LOAD, hit_rate=0.6))
    assert found.hit_rate == 0.6
    assert found.fetched_bytes_per_step == fetched_bytes_per_step(OLMOE, 1, 0.6)


def test_the_cache_of_long_texts_takes_the_place_of_experts():
    short = plan(OLMOE, LAPTOP, LOAD)
    long = plan(OLMOE, LAPTOP, replace(LOAD, sequences=4, context=4096))
    assert long.resident_share < short.resident_share


@pytest.mark.parametrize(
    "machine",
    [
        replace(LAPTOP, storage_bytes_per_s=None),
        replace(LAPTOP, memory_bytes=0.5e9),
        replace(LARGE, memory_bytes=weight_bytes(OLMOE) - 1),
    ],
    ids=["nowhere to fetch from", "not even the rest", "a byte too little"],
)
def test_what_does_not_fit_has_neither_speed_nor_price(machine):
    found = plan(OLMOE, machine, LOAD)
    assert found.placement == "does not fit"
    assert found.tokens_per_second is found.usd_per_million is found.n_machines is None


def test_a_dense_model_is_in_memory_or_not():
    assert plan(DENSE, LAPTOP, LOAD).placement == "in memory"
    assert plan(DENSE, replace(LAPTOP, memory_bytes=1e3), LOAD).placement == "does not fit"
    assert plan(DENSE, LAPTOP, LOAD).distinct_experts is None
    with pytest.raises(ValueError, match="none to fetch"):
        fetched_bytes_per_step(DENSE, 1, 0.0)


def test_machines_are_hired_whole_and_idle_ones_are_paid_for():
    hours = 365.25 / 12 * 24
    alone = plan(OLMOE, LARGE, LOAD)
    assert alone.n_machines == 1
    assert alone.usd_per_month == pytest.approx(0.1 * hours)
    assert alone.usd_per_million == pytest.approx(0.1 * hours)
    capacity = alone.tokens_per_second * 3600 * hours / 1e6
    busy = plan(OLMOE, LARGE, replace(LOAD, million_tokens_per_month=1.5 * capacity))
    assert busy.n_machines == 2
    assert busy.usd_per_million > busy.usd_per_million_busy


def test_renting_buying_and_the_api_are_compared_by_the_month():
    hours = 365.25 / 12 * 24
    cheap_api = plan(OLMOE, LARGE, replace(LOAD, api_usd_per_million=1.0))
    assert cheap_api.cheapest == "API"
    own = replace(LOAD, purchase_usd=1000.0, running_usd_per_hour=0.02)
    bought = plan(OLMOE, LARGE, own)
    assert bought.break_even_months == pytest.approx(1000.0 / (0.08 * hours))
    assert bought.cheapest == "buy"  # 36 months are more than 17
    assert plan(OLMOE, LARGE, replace(own, months_of_use=12.0)).cheapest == "rent"
    dear = plan(OLMOE, LARGE, replace(own, running_usd_per_hour=0.2))
    assert (dear.break_even_months, dear.cheapest) == (math.inf, "rent")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: replace(LOAD, sequences=0), "at least 1"),
        (lambda: replace(LOAD, context=-1), "must not be negative"),
        (lambda: replace(LOAD, million_tokens_per_month=0.0), "must be positive"),
        (lambda: replace(LOAD, hit_rate=1.5), r"lies in \[0, 1\]"),
        (lambda: replace(LAPTOP, storage_bytes_per_s=0.0), "storage_bytes_per_s must be positive"),
        (lambda: fetched_bytes_per_step(OLMOE, 1, -0.1), "between 0 and 1"),
        (lambda: offloaded_step_seconds(OLMOE, LARGE, 1, 0.5), "give the machine"),
        (lambda: distinct_experts_of([0.5, 0.4], 1, 1), "shares of all choices"),
        (lambda: distinct_experts_of([0.8, 0.2], 2, 1), "takes an expert once"),
    ],
)
def test_an_impossible_plan_is_refused(call, sentence, as_a_user):
    with pytest.raises(ValueError, match=sentence):
        call()
