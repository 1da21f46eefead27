"""What Prometheus reads: requests and waiting times as they pass, and the engine's counts."""

import time
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from moe_teach.deploy.engine.engine import Engine
from moe_teach.deploy.store.expert_store import Counts, ExpertStore

_WAITS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The engine's counts between two steps."""

    n_waiting: int
    n_running: int
    n_slots: int
    version: int
    n_steps: int
    n_prefilled: int
    n_decoded: int
    tokens_per_expert: tuple[tuple[int, ...], ...]
    cache: Counts | None

    @classmethod
    def of(cls, engine: Engine, store: ExpertStore | None) -> "Snapshot":
        """Copy what an engine and its store have counted; called in the engine's thread."""
        stats = engine.stats
        return cls(
            n_waiting=engine.n_waiting,
            n_running=engine.n_running,
            n_slots=engine.n_slots,
            version=engine.version,
            n_steps=stats.n_steps,
            n_prefilled=stats.n_prefilled,
            n_decoded=stats.n_decoded,
            tokens_per_expert=tuple(map(tuple, stats.tokens_per_expert)),
            cache=store and replace(store.counts),
        )


class _Tally:
    """A histogram that is cheap to feed: it is fed for every token, between two of the model's."""

    def __init__(self, name: str, what: str, bounds: tuple[float, ...]) -> None:
        self._name, self._what, self._bounds = name, what, bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value where it belongs: at or below a bound."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def metric(self) -> Metric:
        """Write it as Prometheus reads it: every bucket counts the smaller ones too."""
        names = [*map(str, self._bounds), "+Inf"]
        family = HistogramMetricFamily(self._name, self._what)
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        family.add_metric((), buckets, self._sum)
        return family


class Metrics(Collector):
    """Counters of this server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._snapshot: Snapshot | None = None
        options = {"registry": self._registry}
        self._requests = Counter(
            "moe_requests",
            "Requests that were answered or refused, by the way they ended.",
            ("endpoint", "outcome"),
            **options,
        )
        self._first = _Tally(
            "moe_time_to_first_token_seconds",
            "From the request's arrival to its first token.",
            _WAITS,
        )
        self._between = _Tally("moe_inter_token_seconds", "From one token to the next.", _STEPS)
        self._whole = _Tally(
            "moe_request_seconds", "From the request's arrival to its last token.", _WAITS
        )
        self._read = Counter("moe_prompt_tokens", "Tokens of accepted prompts.", **options)
        self._written = Counter("moe_generated_tokens", "Tokens that were answered.", **options)
        self._registry.register(self)

    def ended(self, endpoint: str, outcome: str) -> None:
        """Count a request: "stop", "length", "disconnected", "dismissed", or a refusal's status."""
        self._requests.labels(endpoint, outcome).inc()

    def accepted(self, n_prompt: int) -> None:
        """Count the tokens of a prompt that will be read."""
        self._read.inc(n_prompt)

    def page(self, snapshot: Snapshot | None) -> bytes:
        """Write everything in Prometheus' text format."""
        self._snapshot = snapshot
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Give waiting times and the engine's counts; the library calls this when it writes."""
        for tally in (self._first, self._between, self._whole):
            yield tally.metric()
        now = self._snapshot
        if now is None:
            return
        for name, what, value in (
            ("moe_queue_length", "Requests that wait for a slot.", now.n_waiting),
            ("moe_running", "Requests in slots.", now.n_running),
            ("moe_slots", "Requests that are computed side by side.", now.n_slots),
            ("moe_version", "Version of the weights: one more for every swap.", now.version),
        ):
            yield GaugeMetricFamily(name, what, value)
        for name, what, value in (
            ("moe_steps", "Steps in which the model computed.", now.n_steps),
            ("moe_prefilled_tokens", "Tokens of prompts that were read.", now.n_prefilled),
            ("moe_decoded_tokens", "New tokens read to predict the next.", now.n_decoded),
        ):
            yield CounterMetricFamily(name, what, value)
        yield from _of_experts(now.tokens_per_expert)
        if now.cache is not None:
            yield from _of_cache(now.cache)


def _of_experts(tokens_per_expert: tuple[tuple[int, ...], ...]) -> Iterator[Metric]:
    load = CounterMetricFamily(
        "moe_expert_tokens", "Choices of an expert.", labels=("layer", "expert")
    )
    imbalance = GaugeMetricFamily(
        "moe_expert_imbalance",
        "Choices of the busiest expert over the mean, since the start; 1 is balance.",
        labels=("layer",),
    )
    for layer, counts in enumerate(tokens_per_expert):
        for expert, count in enumerate(counts):
            load.add_metric((str(layer), str(expert)), count)
        if total := sum(counts):
            imbalance.add_metric((str(layer),), max(counts) * len(counts) / total)
    yield load
    yield imbalance


def _of_cache(counts: Counts) -> Iterator[Metric]:
    for name, what, value in (
        ("moe_expert_cache_hits", "Wanted experts that were in memory.", counts.hits),
        ("moe_expert_cache_foreseen", "Of those, read early by a guess.", counts.foreseen),
        ("moe_expert_cache_misses", "Wanted experts that were waited for.", counts.misses),
        ("moe_expert_cache_read_bytes", "Bytes read from the disk.", counts.moved_bytes),
    ):
        yield CounterMetricFamily(name, what, value)


class Watch:
    """The clock of one request."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._start = time.perf_counter()
        self._last: float | None = None

    def tokens(self, count: int) -> None:
        """Note that tokens arrived, together."""
        now = time.perf_counter()
        metrics = self._metrics
        metrics._written.inc(count)
        gap = 0.0  # between tokens that come together
        if self._last is None:
            metrics._first.observe(now - self._start)
            count -= 1
        else:
            gap = (now - self._last) / count
        for _ in range(count):
            metrics._between.observe(gap)
        self._last = now

    def done(self) -> float:
        """Note that the answer is complete; return its seconds."""
        seconds = time.perf_counter() - self._start
        self._metrics._whole.observe(seconds)
        return seconds
