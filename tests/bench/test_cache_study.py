"""The study of caches, on drawn traces where what must come out is known."""

import pytest
import torch

from moe_teach.bench.memory.study import Text, hit_rates, interval
from moe_teach.deploy.store.trace import drawn

N = 120


def text_of(seed: int, skew: float) -> Text:
    trace, profile = (drawn(N, 2, 16, 2, skew=skew, seed=seed + i) for i in (0, 100))
    return Text("drawn", torch.arange(N) + seed, trace, profile)


@pytest.fixture(scope="module")
def texts() -> list[Text]:
    return [text_of(seed, skew=1.0) for seed in range(4)]


@pytest.fixture(scope="module")
def rates(texts) -> dict[str, float]:
    return hit_rates(texts[0], texts[1:], room=4)


def test_room_for_all_experts_hits_all_but_the_first_time(texts):
    rates = hit_rates(texts[0], texts[1:], room=16)
    assert rates["LRU per layer"] == rates["optimum"] == 1 - 2 * 16 / (N * 2 * 2)


def test_the_optimum_is_never_behind_and_even_routing_hits_by_chance(rates):
    assert all(rates["optimum"] >= rates[name] for name in ("LRU", "LFRU", "LFU per layer"))
    assert rates["LRU per layer, even"] == pytest.approx(4 / 16, abs=0.06)
    assert rates["LRU per layer"] > rates["LRU per layer, even"] + 0.1


def test_a_trace_without_memory_loses_nothing_when_it_is_shuffled(rates):
    assert rates["LRU per layer, shuffled"] == pytest.approx(rates["LRU per layer"], abs=0.06)


def test_users_with_other_favourites_who_take_turns_spoil_a_small_cache(rates):
    assert rates["LRU per layer, 4 users"] < rates["LRU per layer"] - 0.05


def test_an_interval_is_that_of_a_mean():
    assert interval([0.4, 0.5, 0.6]) == "0.500 ± 0.248"  # 4.303 * 0.1 / sqrt(3)
