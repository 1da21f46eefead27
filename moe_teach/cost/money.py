"""Seconds and money: what a machine can give at best, and when buying one pays.

Every price and speed here is the reader's assumption. The times are lower bounds from two limits
of the hardware; real servers are slower.
"""

import math
from dataclasses import dataclass

from moe_teach.config import ModelConfig, refuse
from moe_teach.cost.compute import forward_flops
from moe_teach.cost.memory import bytes_per_decode_step, weight_bytes

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine, or several used as one, by its data sheet and its price.

    `storage_bytes_per_s` is how fast weights come from where those lie that do not fit: a disk,
    or the memory of the host. None: whatever does not fit cannot be used.
    """

    memory_bytes: float
    bandwidth_bytes_per_s: float
    peak_flops_per_s: float
    usd_per_hour: float
    storage_bytes_per_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("memory_bytes", "bandwidth_bytes_per_s", "peak_flops_per_s"):
            refuse(getattr(self, name) <= 0, f"{name} must be positive.")
        storage = self.storage_bytes_per_s
        refuse(storage is not None and storage <= 0, "storage_bytes_per_s must be positive.")
        refuse(self.usd_per_hour < 0, f"usd_per_hour is {self.usd_per_hour}: it cannot be below 0.")

    def holds(self, config: ModelConfig, dtype: str = "bfloat16") -> bool:
        """Whether all weights fit, with nothing left for the cache."""
        return weight_bytes(config, dtype) <= self.memory_bytes


def decode_step_seconds(
    config: ModelConfig, machine: Machine, batch: int, *, context: int = 0, dtype: str = "bfloat16"
) -> float:
    """Least time of one decoding step: the larger of reading the bytes and doing the FLOPs.

    The roofline of Williams et al. 2009. It assumes that the weights fit; ask `machine.holds`.
    """
    step_bytes = bytes_per_decode_step(config, batch, context=context, dtype=dtype)
    reading = step_bytes / machine.bandwidth_bytes_per_s
    computing = batch * forward_flops(config, context) / machine.peak_flops_per_s
    return max(reading, computing)


def decode_tokens_per_second(
    config: ModelConfig, machine: Machine, batch: int, *, context: int = 0, dtype: str = "bfloat16"
) -> float:
    """Most tokens a second the machine can decode, all `batch` sequences together."""
    return batch / decode_step_seconds(config, machine, batch, context=context, dtype=dtype)


def usd_per_million_tokens(usd_per_hour: float, tokens_per_second: float) -> float:
    """Price of a million tokens on a machine that is busy all the time."""
    refuse(
        tokens_per_second <= 0,
        f"tokens_per_second must be positive to have a price a token; it is {tokens_per_second}.",
    )
    return usd_per_hour / (tokens_per_second * SECONDS_PER_HOUR) * 1e6


def break_even_hours(
    purchase_usd: float, running_usd_per_hour: float, rent_usd_per_hour: float
) -> float:
    """Hours of use after which buying is cheaper than renting; `inf` when it never is."""
    _refuse_negative(purchase_usd, running_usd_per_hour, rent_usd_per_hour)
    return _break_even(purchase_usd, rent_usd_per_hour - running_usd_per_hour)


def break_even_million_tokens(
    purchase_usd: float, running_usd_per_million: float, api_usd_per_million: float
) -> float:
    """Million tokens after which buying is cheaper than an API; `inf` when it never is."""
    _refuse_negative(purchase_usd, running_usd_per_million, api_usd_per_million)
    return _break_even(purchase_usd, api_usd_per_million - running_usd_per_million)


def _break_even(purchase_usd: float, saved_usd_per_unit: float) -> float:
    if purchase_usd == 0:
        return 0.0
    return purchase_usd / saved_usd_per_unit if saved_usd_per_unit > 0 else math.inf


def _refuse_negative(*amounts_usd: float) -> None:
    refuse(min(amounts_usd) < 0, "Prices must not be negative: check the amounts.")
