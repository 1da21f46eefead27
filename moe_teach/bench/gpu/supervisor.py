"""The other side of a worker: starts it, asks it, and survives whatever becomes of it."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_teach.bench.gpu.step import Row, Verdict
from moe_teach.ops.triton_mode import VARIABLE

_MOST_TO_START = 120.0  # seconds until torch is imported and the GPU answers
_LAST_WORDS = 300  # characters of a dead worker's messages that are worth keeping


class NoWorker(RuntimeError):
    """The process in which steps run does not start; the message says how it ended."""


@dataclass(frozen=True)
class Ending:
    """How a step ended."""

    verdict: Verdict
    problem: str = ""


class Worker:
    """One process for steps, started when it is needed, and again after it died."""

    def __init__(self, step_set: str, toy: bool, log: Path) -> None:
        self.command = [sys.executable, "-m", "moe_teach.bench.gpu.worker", step_set]
        self.command.append("toy" if toy else "gpu")
        # Unbuffered, because the last words of a process are what one wants to know.
        unbuffered = {"PYTHONUNBUFFERED": "1"}
        self.environment = {**os.environ, **unbuffered, VARIABLE: "1" if toy else "0"}
        self.log, self.read_so_far = log, 0
        self.process: subprocess.Popen[str] | None = None
        self.events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.listener: threading.Thread | None = None

    def start(self, most: float = _MOST_TO_START) -> dict[str, Any]:
        """Start the process unless it runs, and give the facts about its device.

        Raises:
            NoWorker: if it dies, or says nothing for so many seconds.
        """
        if self.process is not None:
            return {}
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("w") as messages:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                text=True,
                env=self.environment,
                start_new_session=True,
            )
        self.events = queue.Queue()
        heard = (self.process.stdout, self.events)
        self.listener = threading.Thread(target=_listen, args=heard, daemon=True)
        self.listener.start()
        event = self._next(most)
        if event is None or event["event"] != "ready":
            raise NoWorker(f"The process in which steps run does not start: {self._died()}")
        return event["device"]

    def perform(self, name: str, seconds: float, on_row: Callable[[Row], None]) -> Ending:
        """Let it run one step for at most so many seconds, and pass the rows on as they come.

        Raises:
            NoWorker: if there is no process to run it.
        """
        until = time.monotonic() + seconds
        self.read_so_far = self.log.stat().st_size if self.process is not None else 0
        self.start(min(seconds, _MOST_TO_START))
        assert self.process is not None and self.process.stdin is not None
        try:
            self.process.stdin.write(name + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return Ending("crashed", self._died())
        while True:
            event = self._next(until - time.monotonic())
            if event is None:
                return self._no_answer(seconds)
            if event["event"] == "row":
                on_row(event["row"])
            elif event["event"] == "end":
                if event["leaves"]:
                    self.stop()
                return Ending(event["verdict"], event["problem"])

    def stop(self) -> None:
        """End the process and whatever it started, now."""
        process, self.process = self.process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if self.listener is not None:
            self.listener.join()
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):  # what was not yet sent to a dead process
                if stream is not None:
                    stream.close()

    def _next(self, seconds: float) -> dict[str, Any] | None:
        """Give the next event; None if the time is over or the process has ended."""
        try:
            return self.events.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None

    def _no_answer(self, seconds: float) -> Ending:
        if self.process is None:
            return Ending("cut", "The command was stopped.")
        try:
            self.process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            self.stop()
            return Ending("out of time", f"It had not ended after {seconds:.0f} s.")
        return Ending("crashed", self._died())

    def _died(self) -> str:
        """Say how the process ended, with its last words."""
        process = self.process
        assert process is not None
        code = None
        with suppress(subprocess.TimeoutExpired):  # its output may end a little before itself
            code = process.wait(timeout=0.5)
        self.stop()
        how = "it said nothing" if code is None else f"it ended with status {code}"
        if code is not None and code < 0:
            how = f"it was killed by {signal.Signals(-code).name}"
        # What earlier steps have said is not about this one.
        said = self.log.read_bytes()[self.read_so_far :].decode(errors="replace")
        words = " ".join(said.split())[-_LAST_WORDS:]
        return f"{how}, and its last words were: {words}" if words else f"{how}, without a word."


def _listen(stream: Any, events: queue.Queue[dict[str, Any] | None]) -> None:
    with suppress(ValueError):  # half a line: the process was killed
        for line in stream:
            events.put(json.loads(line))
    events.put(None)
