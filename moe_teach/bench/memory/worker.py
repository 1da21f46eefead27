"""What runs inside the limit: one engine, one checkpoint, a few tokens. Prints one line of JSON.

Tokens are drawn from the whole vocabulary, at temperature 1: a greedy text of random weights soon
repeats one token, and with it the experts of that token, as if routing had locality.
"""

import contextlib
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from moe_teach.bench.llama_cpp import LlamaCpp
from moe_teach.bench.memory.checkpoint import GGUF, HF
from moe_teach.bench.memory.limit import peak_bytes
from moe_teach.deploy.store.expert_places import StoredExpert
from moe_teach.deploy.store.expert_store import N_READERS, Counts, ExpertStore
from moe_teach.deploy.store.opening import opened_within
from moe_teach.deploy.store.policies import LFRU, LRU, Policy
from moe_teach.nn.model import Model

POLICIES: dict[str, Callable[[], Policy]] = {
    "LFRU": lambda: LFRU(per_layer=True),
    "LRU": lambda: LRU(per_layer=True),
}
PROBE_BYTES = 2_000_000_000  # read to measure the disk, before and after


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to run: `warm_up` tokens, then `n_tokens` that are timed."""

    engine: str
    folder: str
    budget_bytes: int
    n_tokens: int
    warm_up: int = 8
    policy: str = "LFRU"
    foresight: int | None = None
    n_threads: int = 2
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came out; `moved` and the bandwidth are of our engine alone.

    `cpu_seconds` were spent on a processor, `queued_seconds` in the queue for one, by the thread
    that queued longest: on the wall, a crowded machine looks like a slow disk.
    """

    seconds_per_token: float
    cpu_seconds: float
    queued_seconds: float
    peak_bytes: int
    moved: dict[str, int] | None = None
    bytes_per_s: Sequence[float] | None = None


def ours(job: Job) -> Report:
    """Decode with experts from the store, and measure the disk before and after."""
    torch.set_num_threads(job.n_threads)
    folder, policy = Path(job.folder) / HF, POLICIES[job.policy]()
    with opened_within(folder, job.budget_bytes, policy, foresight=job.foresight) as (
        opened,
        store,
    ):
        before = read_bandwidth(store, job.seed)
        draw = torch.Generator().manual_seed(job.seed)
        decode = _decoder(opened.model, draw)
        decode(job.warm_up)
        at_start = replace(store.counts)
        crowd, start = Crowd(), time.perf_counter()
        decode(job.n_tokens)
        seconds = time.perf_counter() - start
        cpu, queued = crowd.since()
        moved = _since(at_start, store.counts)
        after = read_bandwidth(store, job.seed + 1)
    return Report(
        seconds_per_token=seconds / job.n_tokens,
        cpu_seconds=cpu / job.n_tokens,
        queued_seconds=queued / job.n_tokens,
        peak_bytes=peak_bytes(),
        moved=moved,
        bytes_per_s=(before, after),
    )


def theirs(job: Job) -> Report:
    """Decode with llama.cpp, which maps the file and lets the system keep what it will."""
    llama = LlamaCpp(Path(job.folder) / GGUF, n_threads=job.n_threads)
    llama.sampled_seconds([job.seed], job.warm_up, job.seed)
    crowd = Crowd()
    seconds = llama.sampled_seconds([job.seed + 1], job.n_tokens, job.seed + 1)
    cpu, queued = crowd.since()
    return Report(
        seconds_per_token=seconds,
        cpu_seconds=cpu / job.n_tokens,
        queued_seconds=queued / job.n_tokens,
        peak_bytes=peak_bytes(),
    )


class Crowd:
    """Seconds of this process on a processor, and in the queue for one, since it was made."""

    def __init__(self) -> None:
        self._cpu, self._queued = time.process_time(), self._queues()

    def since(self) -> tuple[float, float]:
        """Return both; of the queues, that of the thread that stood in it longest."""
        before = self._queued
        queued = (now - before.get(thread, 0.0) for thread, now in self._queues().items())
        return time.process_time() - self._cpu, max(queued, default=0.0)

    def _queues(self) -> dict[str, float]:
        """Ask Linux; elsewhere nobody knows."""
        found = {}
        for file in Path("/proc/self/task").glob("*/schedstat"):
            with contextlib.suppress(OSError, IndexError):  # a thread that has just ended
                found[file.parent.name] = int(file.read_text().split()[1]) / 1e9
        return found


def read_bandwidth(
    store: ExpertStore, seed: int, n_bytes: int = PROBE_BYTES, n_readers: int = N_READERS
) -> float:
    """Read experts in random order as the store does, and nothing else: bytes a second."""
    experts = list(store.experts.values())
    order = random.Random(seed).sample(experts, len(experts))
    count = max(min(n_bytes // experts[0].n_bytes, len(order)), n_readers)
    shares = [order[reader:count:n_readers] for reader in range(n_readers)]
    start = time.perf_counter()
    with ThreadPoolExecutor(n_readers) as pool:
        total = sum(pool.map(_read_all, shares))
    return total / (time.perf_counter() - start)


def _read_all(experts: Sequence[StoredExpert]) -> int:
    buffers: list = []
    for expert in experts:
        buffers = expert.buffers(buffers)
        expert.read(buffers)
    return sum(expert.n_bytes for expert in experts)


def _decoder(model: Model, draw: torch.Generator) -> Callable[[int], None]:
    cache, last = model.new_cache(), torch.zeros(1, 1, dtype=torch.long)

    @torch.no_grad()
    def decode(n_tokens: int) -> None:
        for _ in range(n_tokens):
            probs = model(last, cache).logits[0, -1].float().softmax(-1)
            last.copy_(torch.multinomial(probs, 1, generator=draw))

    return decode


def _since(start: Counts, end: Counts) -> dict[str, int]:
    before = asdict(start)
    return {name: value - before[name] for name, value in asdict(end).items()}


ENGINES: dict[str, Callable[[Job], Report]] = {"moe_teach": ours, "llama.cpp": theirs}


def main(argv: Sequence[str]) -> None:
    """Run the job that the first argument describes."""
    said: dict[str, Any] = json.loads(argv[0])
    job = Job(**said)
    print(json.dumps(asdict(ENGINES[job.engine](job))))


if __name__ == "__main__":
    main(sys.argv[1:])
