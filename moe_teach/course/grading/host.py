"""The grader's hold on its workers: starts them, waits for them no longer than allowed, ends them.

A fork server is started once and kept; each worker is a fork of it with a folder and a line of its
own. Whatever a worker does, the grader gets back to its work: the clock and the memory are looked
at while it waits.
"""

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from moe_teach.course.grading.ends import Ended, family, how_it_died, resident_mb
from moe_teach.course.grading.record import Limits
from moe_teach.course.grading.worker import confine, namespaces
from moe_teach.course.grading.worker.wire import Channel

_START = 120.0  # seconds in which a fresh interpreter must have imported torch
_PATIENCE = 10.0  # seconds in which a fork must be there, and the end of a worker be told
_LOOKS = 0.01  # seconds between two looks at its memory: each costs as much as a short answer
_ALL_TOGETHER = 4  # times the seconds of one question: a stage asks often
_KEPT_ENVIRONMENT = (
    *("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "TRITON_INTERPRET", "LANG", "LC_ALL"),
    *("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"),
)


class NoServer(Exception):
    """No process could be started for the learner's code; the message says why."""


class Host:
    """A fork server and the way to it; one `for_many` takes longer to start and less for each."""

    def __init__(self, *, for_many: bool = False) -> None:
        if not hasattr(os, "fork"):
            raise NoServer(
                "This system cannot fork a process for the learner's code: grade on Linux or "
                "macOS, on Windows inside WSL."
            )
        self.folder = Path(tempfile.mkdtemp(prefix="moe-teach-grading-"))
        self.folder.chmod(0o711)
        self._control, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", "moe_teach.course.grading.worker.server"]
        with (self.folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno()), *(["many"] if for_many else [])],
                pass_fds=[theirs.fileno()],
                env=_environment(self.folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        theirs.close()
        self._rest = b""
        self._ends: dict[int, int] = {}
        self._count = 0
        if not self._told("ready", _START):
            log_text = (self.folder / "server.log").read_text(errors="replace")[-2000:]
            self.close()
            raise NoServer(f"No process could be started for the learner's code. {log_text}")

    def start(self, limits: Limits, cpu_seconds: float | int, *, walls: bool = True) -> "Worker":
        """Fork a worker; without walls it may read what this account may, as tests need."""
        self._count += 1
        scratch = self.folder / f"scratch{self._count}"
        scratch.mkdir(mode=0o700)
        drops = confine.can_drop()
        if drops and walls:
            os.chown(scratch, confine.NOBODY, confine.NOBODY)
        ours, theirs = socket.socketpair()
        wish = {
            "do": "fork",
            "scratch": str(scratch),
            "memory_mb": limits.memory_mb,
            "cpu": cpu_seconds,
            "drop": drops and walls,
            "walls": walls,
            "namespaces": walls and namespaces.are_permitted(),
        }
        socket.send_fds(self._control, [json.dumps(wish).encode() + b"\n"], [theirs.fileno()])
        theirs.close()
        told = self._told("forked", _PATIENCE)
        if told is None:
            raise NoServer("The process that starts others for the learner's code does not answer.")
        return Worker(self, told["forked"], told["inner"], ours, scratch, limits)

    def kill(self, pid: int) -> None:
        """Kill a worker with all that came from it."""
        self._control.send(json.dumps({"do": "kill", "pid": pid}).encode() + b"\n")

    def end_of(self, pid: int, seconds: float | int = _PATIENCE) -> int | None:
        """Wait for a worker to end and give its status."""
        until = time.monotonic() + seconds
        while pid not in self._ends and time.monotonic() < until:
            self._listen(0.02)
        return self._ends.pop(pid, None)

    def close(self) -> None:
        """End the server and all workers."""
        self._control.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _told(self, what: str, seconds: float | int) -> dict[str, Any] | None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and self._process.poll() is None:
            for fact in self._listen(0.02):
                if what in fact:
                    return fact
        return None

    def _listen(self, seconds: float | int) -> list[dict[str, Any]]:
        """Hear what the server says, and remember which workers ended."""
        if not select.select([self._control], [], [], seconds)[0]:
            return []
        *lines, self._rest = (self._rest + self._control.recv(65_536)).split(b"\n")
        facts = [json.loads(line) for line in lines]
        for fact in facts:
            if "ended" in fact:
                self._ends[fact["ended"]] = fact["status"]
        return facts


class Worker:
    """One worker: its line, the time it has left, and the most memory it was seen with."""

    def __init__(
        self, host: Host, pid: int, inner: int, line: Any, scratch: Path, limits: Limits
    ) -> None:
        self._host, self._pid, self._inner = host, pid, inner
        self._scratch, self.limits = scratch, limits
        self._patience = self._left = self._left_for_all = 0.0
        self.peak_mb = 0
        self._look_at = 0.0
        self.channel = Channel(line, self._turn)
        self._last = time.monotonic()
        self._base_mb = resident_mb(inner)
        self.name = ""
        self.status: int | None = None
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more will come from it."""
        return self._is_over

    def wait_at_most(self, seconds: float | int) -> None:
        """Set the clock: for so long may one question keep the grader waiting from now on.

        All questions until the clock is set again may take a few times as long together.
        """
        self._patience, self._left_for_all = seconds, _ALL_TOGETHER * seconds
        self.asked()

    def asked(self) -> None:
        """Start to count: a question is about to be asked."""
        self._left = self._patience
        self._last = time.monotonic()

    def rested(self) -> None:
        """Start to count again, after work of the grader's own."""
        self._last = time.monotonic()

    def end(self) -> int | None:
        """Kill the worker if it is still there; give the status it ended with."""
        if not self._is_over:
            self._is_over = True
            self.channel.close()
            self._host.kill(self._pid)
            self.status = self._host.end_of(self._pid)
            shutil.rmtree(self._scratch, ignore_errors=True)
        return self.status

    def death(self) -> Ended:
        """Say what the end of a worker that hung up by itself makes of its exercise."""
        self.channel.close()
        status = self._host.end_of(self._pid, 1.0)
        if status is None:  # it only closed its line
            self.end()
        self._is_over = True
        shutil.rmtree(self._scratch, ignore_errors=True)
        return how_it_died(status, self.name)

    def _turn(self) -> None:
        now = time.monotonic()
        passed, self._last = now - self._last, now
        self._left -= min(passed, 1.0)  # the grader itself may have slept in between
        self._left_for_all -= min(passed, 1.0)
        if now >= self._look_at:
            self._look()
            self._look_at = time.monotonic() + _LOOKS
        if min(self._left, self._left_for_all) <= 0:
            self.end()
            raise Ended(
                "timeout",
                f"{self.name} did not come back within {self.limits.seconds:g} seconds and was "
                "stopped.",
            )

    def _look(self) -> None:
        """Look at the memory and the number of its processes."""
        all_of_it = family(self._inner)
        resident = sum(map(resident_mb, all_of_it))
        self.peak_mb = max(self.peak_mb, resident - self._base_mb * len(all_of_it))
        if len(all_of_it) > confine.MOST_PROCESSES:
            self.end()
            raise Ended("crashed", f"{self.name} started processes without end and was stopped.")
        if self.peak_mb > self.limits.memory_mb:
            self.end()
            said = f"{self.name} took more than {self.limits.memory_mb:,} MB of memory."
            raise Ended("memory", f"{said} It was stopped.")


def _environment(folder: Path) -> dict[str, str]:
    """Give a server as little of this one's environment as it can live with."""
    import moe_teach

    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    own = {
        "HOME": str(folder),
        "MOE_TEACH_HOME": str(folder),
        "MOE_TEACH_MINE": "off",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(str(moe_teach.__file__)).parents[1]),
    }
    return kept | own
