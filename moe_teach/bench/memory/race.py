"""Both engines on the same weights under the same limit, one after the other, in turns."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from moe_teach.bench.memory.checkpoint import GGUF, HF
from moe_teach.bench.memory.limit import Limit, memory_limit
from moe_teach.bench.memory.worker import Job, Report

OVERHEAD_BYTES = 650_000_000  # Python, torch, keys and values, what passes through while opening


@dataclass(frozen=True)
class Lap:
    """One engine's run, and how the limit was enforced; the report is None where it was killed."""

    job: Job
    how: str
    report: Report | None
    said: str = ""

    @property
    def limit_seconds(self) -> float | None:
        """Least time of a token: the bytes it moved, at the bandwidth measured around it."""
        if self.report is None or self.report.bytes_per_s is None:
            return None
        moved = self.report.moved["waited_bytes"] + self.report.moved["guessed_bytes"]
        bandwidth = sum(self.report.bytes_per_s) / 2
        return moved / self.job.n_tokens / bandwidth

    @property
    def hit_rate(self) -> float | None:
        """Share of the experts asked for that were in memory."""
        if self.report is None or self.report.moved is None:
            return None
        hits, misses = self.report.moved["hits"], self.report.moved["misses"]
        return hits / (hits + misses)


def race(jobs: list[Job], limit_bytes: int, rounds: int = 1) -> Iterator[Lap]:
    """Run every job once a round, in a process of its own inside the limit."""
    for number in range(rounds):
        for job in jobs:
            forget_pages(Path(job.folder))
            with memory_limit(limit_bytes) as limit:
                yield run(replace(job, seed=job.seed + 100 * number), limit)


def run(job: Job, limit: Limit) -> Lap:
    """Run one job. A process that the system kills is a result, not an error."""
    worker = [sys.executable, "-m", "moe_teach.bench.memory.worker", json.dumps(asdict(job))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(job.n_threads)}
    done = subprocess.run(
        [*limit.prefix, *worker], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["killed without a word"])[-1]
        return Lap(job, limit.how, None, f"exit status {done.returncode}: {last}")
    return Lap(job, limit.how, Report(**json.loads(done.stdout.strip().splitlines()[-1])))


def forget_pages(folder: Path) -> None:
    """Take the checkpoints out of the page cache: pages that others keep would cost nothing."""
    for file in [*(folder / HF).glob("*"), folder / GGUF]:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
