"""Experts that do not fit: what stays resident, what a step must fetch, how long that takes.

Every time is a lower bound. Fetching, reading memory and computing are taken to overlap wholly,
as in a roofline; whoever waits for one before the other is slower.
"""

from collections.abc import Sequence

from moe_teach.config import ModelConfig, refuse
from moe_teach.cost.compute import forward_flops
from moe_teach.cost.memory import (
    bytes_per_decode_step,
    bytes_per_parameter,
    expected_distinct_experts,
)
from moe_teach.cost.money import Machine
from moe_teach.cost.params import count_params


def expert_bytes(config: ModelConfig, dtype: str = "bfloat16") -> float:
    """Bytes of one routed expert of one layer: what a miss moves."""
    n_experts = _n_experts(config) * config.n_moe_layers
    return count_params(config).routed_experts / n_experts * bytes_per_parameter(dtype)


def resident_bytes(config: ModelConfig, dtype: str = "bfloat16") -> float:
    """Bytes of all that works for every token: everything but the routed experts."""
    return count_params(config).shared * bytes_per_parameter(dtype)


def distinct_experts_of(load: Sequence[float], top_k: int, n_tokens: int) -> float:
    """Experts of one layer that `n_tokens` independent tokens touch, when their load is known.

    `expected_distinct_experts` for skewed routing: a token misses expert e with probability
    1 - K load_e. Skew lowers the count, and so does text that stays with one subject, which this
    does not know: count it on a trace.

    Args:
        load: the share of all choices that falls on each expert; the sum is 1.
        top_k: experts a token chooses (K).
        n_tokens: how many tokens choose.
    """
    chances = [top_k * share for share in load]
    refuse(
        abs(sum(load) - 1.0) > 1e-3 or min(load) < 0 or max(chances) > 1.001,
        "load must be shares of all choices: none below 0, their sum 1, and none above "
        f"1 / top_k = {1 / top_k:g}, as a token takes an expert once.",
    )
    return sum(1.0 - max(1.0 - chance, 0.0) ** n_tokens for chance in chances)


def experts_that_fit(config: ModelConfig, free_bytes: float, dtype: str = "bfloat16") -> float:
    """Share of the routed experts that fits into `free_bytes`, from 0 to 1.

    Under even routing it is also the hit rate of any cache that keeps so many (an expert in memory
    is as likely to be wanted as one that is not). Skew and locality raise the hit rate above it.
    """
    whole = count_params(config).routed_experts * bytes_per_parameter(dtype)
    return min(max(free_bytes, 0.0) / whole, 1.0)


def fetched_bytes_per_step(
    config: ModelConfig, batch: int, hit_rate: float, dtype: str = "bfloat16"
) -> float:
    """Bytes of experts that one decoding step of `batch` sequences fetches under even routing."""
    refuse(not 0.0 <= hit_rate <= 1.0, f"A hit rate lies between 0 and 1, but it is {hit_rate}.")
    n_experts, top_k = _n_experts(config), config.moe.router.top_k
    wanted = config.n_moe_layers * expected_distinct_experts(n_experts, top_k, batch)
    return (1.0 - hit_rate) * wanted * expert_bytes(config, dtype)


def offloaded_step_seconds(
    config: ModelConfig,
    machine: Machine,
    batch: int,
    hit_rate: float,
    *,
    context: int = 0,
    dtype: str = "bfloat16",
) -> float:
    """Least time of a decoding step whose experts partly come from storage.

    The largest of three: fetching what is missing, reading memory, computing.
    """
    refuse(
        machine.storage_bytes_per_s is None,
        "Experts are fetched from somewhere: give the machine its storage_bytes_per_s.",
    )
    read = bytes_per_decode_step(config, batch, context=context, dtype=dtype)
    return max(
        fetched_bytes_per_step(config, batch, hit_rate, dtype) / machine.storage_bytes_per_s,
        read / machine.bandwidth_bytes_per_s,
        batch * forward_flops(config, context) / machine.peak_flops_per_s,
    )


def _n_experts(config: ModelConfig) -> int:
    refuse(config.moe is None, "A model without experts has none to fetch.")
    return config.moe.router.n_experts
