"""How a worker ends, what that makes of its exercise, and what is seen of it from outside."""

import os
import signal
from pathlib import Path

from moe_teach.course.grading.record import Status
from moe_teach.course.grading.worker import confine
from moe_teach.judging.elsewhere import Gone


class Ended(Gone):
    """The worker is of no more use; `status` says what that makes of its exercise, in words."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def how_it_died(status: int | None, name: str) -> Ended:
    """Name the way a process ended."""
    if status is not None and os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU:
            return Ended("timeout", f"{name} used up its time on the processor and was stopped.")
        called = signal.Signals(number).name
        return Ended("crashed", f"{name} crashed its process ({called}).")
    code = os.WEXITSTATUS(status) if status is not None else "unknown"
    return Ended("crashed", f"{name} ended its process (exit status {code}).")


def family(pid: int) -> list[int]:
    """List a process and all that came from it, as many as are worth counting."""
    found = [pid]
    for one in found:
        found += confine.children(one) if len(found) <= confine.MOST_PROCESSES else []
    return found


def resident_mb(pid: int) -> int:
    """Give the memory of a process, where this system tells it."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 2**20
    except (OSError, IndexError, ValueError):
        return 0
