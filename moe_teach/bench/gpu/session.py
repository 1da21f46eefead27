"""The command from its start to the end of its time: a worker is asked, a record is kept."""

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, local
from typing import Any

from moe_teach.bench.gpu.plan import groups, is_due, left_out, still_due
from moe_teach.bench.gpu.record import Done, Record
from moe_teach.bench.gpu.step import Row, Step
from moe_teach.bench.gpu.supervisor import Worker

_TO_STOP = 4.0  # seconds that are kept for starting Python and for writing the last of it


@dataclass
class Session:
    """One run of the command: the time it has, the record it writes, the workers it asks."""

    record: Record
    folder: Path
    minutes: float
    new_worker: Callable[[Path], Worker]
    side_by_side: int = 1
    began: float = field(default_factory=time.monotonic)
    lock: Lock = field(default_factory=Lock)
    own: local = field(default_factory=local)
    workers: list[Worker] = field(default_factory=list)

    @property
    def seconds_left(self) -> float:
        """Seconds until everything must have been written."""
        return 60 * self.minutes - _TO_STOP - (time.monotonic() - self.began)

    def open(self, run: dict[str, Any], describe: Callable[[dict[str, Any]], dict]) -> None:
        """Start a worker, learn what it stands on, and enter this run into the record.

        `describe` turns the device into the subject, and refuses one that does not fit the record.
        """
        device = self._worker().start()
        self.record.subject = describe(device)
        self.record.device = device
        self.record.runs.append(run)

    def perform(self, steps: Sequence[Step]) -> None:
        """Do what is due and fits, in order, and write after every row."""
        due = still_due(steps, self.record)
        self._write(steps)
        try:
            for group in groups(due):
                together = group[0].together and self.side_by_side > 1
                if not together:
                    for step in group:
                        self._attempt(step, steps)
                    continue
                self._side_by_side(group, steps)
        finally:
            self.close()
        self._write(steps)

    def _side_by_side(self, group: Sequence[Step], steps: Sequence[Step]) -> None:
        """Let helpers do a group of steps; whoever lacked memory gets the GPU for itself."""
        with ThreadPoolExecutor(min(self.side_by_side, len(group))) as pool:
            try:
                list(pool.map(lambda step: self._attempt(step, steps), group))
            except BaseException:  # Ctrl-C: nobody waits for what still runs
                self.close()
                raise
        for worker in self.workers:
            if worker is not self._worker():
                worker.stop()
        for step in group:
            done = self.record.of(step.name)
            if done is not None and done.verdict == "out of memory":
                done.verdict = "cut"
                self._attempt(step, steps)

    def close(self) -> None:
        """End every worker."""
        for worker in self.workers:
            worker.stop()

    def _attempt(self, step: Step, steps: Sequence[Step]) -> None:
        """Do one step if it fits into what is left."""
        left = self.seconds_left
        if step.seconds > left or not is_due(step, self.record):
            return
        with self.lock:
            done = self.record.begin(step)
        self._write(steps)

        def keep(row: Row) -> None:
            with self.lock:
                done.rows.append(row)
            self._write(steps)

        start = time.monotonic()
        ending = self._worker().perform(step.name, min(step.limit_s, left), keep)
        done.seconds = time.monotonic() - start
        if ending.verdict != "out of time" or step.limit_s <= left:
            done.verdict, done.problem = ending.verdict, ending.problem
        else:
            done.problem = "The time of the command was over before it had ended."
        self._write(steps)
        self._report(done)

    def _worker(self) -> Worker:
        """Give this thread its worker."""
        if not hasattr(self.own, "worker"):
            with self.lock:
                log = self.folder / "messages" / f"worker-{len(self.workers)}.txt"
                self.own.worker = self.new_worker(log)
                self.workers.append(self.own.worker)
        return self.own.worker

    def _write(self, steps: Sequence[Step]) -> None:
        with self.lock:
            self.record.left_out = left_out(steps, self.record, self.seconds_left)
            self.record.runs[-1]["seconds"] = time.monotonic() - self.began
            self.record.write(self.folder)

    def _report(self, done: Done) -> None:
        now = time.monotonic() - self.began
        rest = f", {done.problem}" if done.problem else ""
        took = f"{done.verdict} in {done.seconds:.0f} s, {len(done.rows)} rows"
        print(f"{now:5.0f} s  {done.name}: {took}{rest}", file=sys.stderr, flush=True)
