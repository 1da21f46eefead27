"""A capacity plan: what a model needs on a machine under a load, and what a million tokens cost."""

import math
from dataclasses import dataclass

from moe_teach.config import ModelConfig, refuse
from moe_teach.cost.memory import (
    expected_distinct_experts,
    kv_cache_bytes_per_token,
    weight_bytes,
)
from moe_teach.cost.money import (
    Machine,
    break_even_hours,
    decode_step_seconds,
    usd_per_million_tokens,
)
from moe_teach.cost.offload import (
    experts_that_fit,
    fetched_bytes_per_step,
    offloaded_step_seconds,
    resident_bytes,
)

SECONDS_PER_MONTH = 365.25 / 12 * 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is asked of a model.

    `sequences` are decoded at once, each `context` tokens long. `million_tokens_per_month` is how
    many new tokens are wanted. `hit_rate` is the share of wanted experts found in memory, where it
    was measured on a trace; None takes that of even routing. Prices of others, for comparison:
    `api_usd_per_million`, and for a machine of one's own `purchase_usd`, spread over
    `months_of_use`, and `running_usd_per_hour`.
    """

    sequences: int
    context: int
    million_tokens_per_month: float
    dtype: str = "bfloat16"
    hit_rate: float | None = None
    api_usd_per_million: float | None = None
    purchase_usd: float | None = None
    running_usd_per_hour: float = 0.0
    months_of_use: float = 36.0

    def __post_init__(self) -> None:
        refuse(self.sequences < 1, f"sequences must be at least 1, but it is {self.sequences}.")
        refuse(self.context < 0, f"context must not be negative, but it is {self.context}.")
        refuse(self.million_tokens_per_month <= 0, "million_tokens_per_month must be positive.")
        rate = self.hit_rate
        refuse(rate is not None and not 0 <= rate <= 1, f"hit_rate lies in [0, 1], not {rate}.")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What comes out: bytes, seconds and money; speeds are the most that the machine can give.

    `placement` is "in memory", "experts fetched" or "does not fit"; for the last, all that
    follows `resident_share` is None.
    """

    weight_bytes: float
    resident_bytes: float
    kv_bytes: float
    distinct_experts: float | None
    placement: str
    resident_share: float
    hit_rate: float | None = None
    fetched_bytes_per_step: float | None = None
    step_seconds: float | None = None
    tokens_per_second: float | None = None
    n_machines: int | None = None
    usd_per_million_busy: float | None = None
    usd_per_month: float | None = None
    usd_per_million: float | None = None
    cheapest: str | None = None
    break_even_months: float | None = None


def plan(config: ModelConfig, machine: Machine, load: Workload) -> Plan:
    """Plan for a load: where the weights stand, how fast decoding can be, what it costs.

    `usd_per_million_busy` is the price of a machine that never idles; `usd_per_million` that of
    the machines the load needs, hired all month long, idle or not. `cheapest` is "rent", "buy" or
    "API", by the bill of a month, as far as their prices are given; `break_even_months` is after
    how many months a purchase has paid for itself against renting.

    The cache is counted in bfloat16. Every speed is an upper bound, so the machines are the fewest
    and the prices the lowest that can come out.
    """
    weights, kv = weight_bytes(config, load.dtype), _kv_bytes(config, load)
    resident = resident_bytes(config, load.dtype)
    free = machine.memory_bytes - resident - kv
    share = 1.0 if config.moe is None else experts_that_fit(config, free, load.dtype)
    found = {
        "weight_bytes": weights,
        "resident_bytes": resident,
        "kv_bytes": kv,
        "distinct_experts": _distinct(config, load.sequences),
        "resident_share": share,
    }
    if free < 0 or (share < 1.0 and machine.storage_bytes_per_s is None):
        return Plan(placement="does not fit", **found)
    step = _step(config, machine, load, share)
    rate = load.sequences / step["step_seconds"]
    return Plan(tokens_per_second=rate, **found, **step, **_bills(machine, load, rate))


def _step(config: ModelConfig, machine: Machine, load: Workload, share: float) -> dict:
    """Tell how a decoding step runs: all from memory, or with experts that are fetched."""
    options = {"context": load.context, "dtype": load.dtype}
    if share == 1.0:
        return {
            "placement": "in memory",
            "hit_rate": 1.0,
            "fetched_bytes_per_step": 0.0,
            "step_seconds": decode_step_seconds(config, machine, load.sequences, **options),
        }
    hits = share if load.hit_rate is None else load.hit_rate
    return {
        "placement": "experts fetched",
        "hit_rate": hits,
        "fetched_bytes_per_step": fetched_bytes_per_step(config, load.sequences, hits, load.dtype),
        "step_seconds": offloaded_step_seconds(config, machine, load.sequences, hits, **options),
    }


def _kv_bytes(config: ModelConfig, load: Workload) -> float:
    return load.sequences * load.context * kv_cache_bytes_per_token(config)


def _distinct(config: ModelConfig, batch: int) -> float | None:
    if config.moe is None:
        return None
    router = config.moe.router
    return expected_distinct_experts(router.n_experts, router.top_k, batch)


def _bills(machine: Machine, load: Workload, tokens_per_second: float) -> dict:
    """Compare a month of renting, of running one's own, and of the API."""
    million_a_month = tokens_per_second * SECONDS_PER_MONTH / 1e6
    n_machines = math.ceil(load.million_tokens_per_month / million_a_month)
    hours = n_machines * SECONDS_PER_MONTH / 3600.0
    bills = {"rent": hours * machine.usd_per_hour}
    if load.api_usd_per_million is not None:
        bills["API"] = load.million_tokens_per_month * load.api_usd_per_million
    months = None
    if load.purchase_usd is not None:
        price, running = n_machines * load.purchase_usd, hours * load.running_usd_per_hour
        bills["buy"] = running + price / load.months_of_use
        months = break_even_hours(price, running, bills["rent"])  # for each month, not hour
    return {
        "n_machines": n_machines,
        "usd_per_million_busy": usd_per_million_tokens(machine.usd_per_hour, tokens_per_second),
        "usd_per_month": bills["rent"],
        "usd_per_million": bills["rent"] / load.million_tokens_per_month,
        "cheapest": min(bills, key=bills.__getitem__),
        "break_even_months": months,
    }
