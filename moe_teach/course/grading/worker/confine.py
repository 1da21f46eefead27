"""The walls around a worker, as far as this machine can build them.

On Linux: a session, limits, a file system that may be read in part and written in one place, and
namespaces in which there is no network and nobody else. Elsewhere a process of its own, no more.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from moe_teach.course.grading.worker import landlock, namespaces

TIERS = {
    1: "a process of its own: loops, exits, crashes, floods of prints and greed for memory cost "
    "one exercise; files and network of this account stay within reach",
    2: "a process of its own behind walls of the kernel: no writing outside of a folder that goes "
    "with it, no reading of solutions, grades or home, no network by TCP, no signals to others",
}
NOBODY = 65534
MOST_PROCESSES = 64
SCRATCH_MB = 64
IS_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 36, 38


@cache
def tier() -> int:
    """Say which tier of `TIERS` this machine gives."""
    # The first versions guard files only: then namespaces must keep signals and network away.
    is_whole = landlock.version() >= 6 or (landlock.version() >= 1 and namespaces.are_permitted())
    return 2 if is_whole else 1


def in_words() -> str:
    """Say which walls this machine has, one after another."""
    if tier() < 2:
        return "a process for each answer, and no walls of the kernel"
    walls = [f"Landlock {landlock.version()}"]
    walls += ["namespaces"] if namespaces.are_permitted() else ["no namespaces"]
    if _is_root():
        walls += ["an account that owns nothing"] if can_drop() else ["still as root"]
    return ", ".join(walls)


@cache
def can_drop() -> bool:
    """Say whether a worker can run under an account that owns nothing, and read what it must."""
    return _is_root() and all(map(landlock.is_open_to_all, landlock.readable()))


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose own is gone."""
    if IS_LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def kill(pid: int) -> None:
    """Kill a worker and its session."""
    for send in (os.kill, os.killpg):
        with contextlib.suppress(OSError):
            send(pid, signal.SIGKILL)


def sweep(kept: set[int]) -> None:
    """Kill what workers left behind: children of this process that are none of the `kept`."""
    for _ in range(50):
        orphans = [pid for pid in children(os.getpid()) if pid not in kept]
        if not orphans:
            return
        for pid in orphans:
            kill(pid)
            with contextlib.suppress(OSError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.002)


def children(pid: int) -> list[int]:
    """List the children of a process, where this system tells them."""
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (OSError, ValueError):
        return []


def enclosed(wish: dict[str, Any], work: Callable[[], None], tell: Callable[[int], None]) -> None:
    """Do the work behind every wall there is; `tell` hears the number of its process."""
    os.setsid()
    if IS_LINUX:
        if wish["drop"]:
            _drop()
        _die_with_parent()
        if wish["namespaces"] and namespaces.enter(wish["scratch"], SCRATCH_MB):
            inner = os.fork()
            if inner:
                tell(inner)
                os.close(wish["socket"])
                _end_alike(os.waitpid(inner, 0)[1])
            _die_with_parent()
            tell = _nobody
    tell(os.getpid())
    _close_all_but(wish["socket"])
    os.chdir(wish["scratch"])
    os.environ.update(dict.fromkeys(("HOME", "TMPDIR", "MOE_TEACH_HOME"), wish["scratch"]))
    sys.dont_write_bytecode = True  # the server keeps what it compiled, an answer leaves nothing
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    _limit(wish)
    if IS_LINUX:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if wish["walls"] and tier() == 2:
        landlock.enforce(wish["scratch"])
    work()


def _nobody(_pid: int) -> None:
    """Tell nobody: who waits outside has told it."""


def _end_alike(status: int) -> None:
    """End as the inner process did, so that its end can be told."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        _keep_no_core()
        os.kill(os.getpid(), number)
        time.sleep(1)
    os._exit(os.WEXITSTATUS(status))


def _keep_no_core() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _close_all_but(descriptor: int) -> None:
    """Leave a worker its line, and nothing to read from or to print into."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, 1024)


def _limit(wish: dict[str, Any]) -> None:
    """Take away what no answer needs; what cannot be limited here is watched by the grader."""
    import resource

    mb = 2**20
    limits = {
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": SCRATCH_MB * mb,
        "RLIMIT_CPU": int(wish["cpu"]) + 2,
        "RLIMIT_NOFILE": 256,
    }
    if IS_LINUX:
        # Addresses alone are free (a kernel's test asks for terabytes of them); data is not.
        limits["RLIMIT_DATA"] = (wish["memory_mb"] + _held_mb()) * mb
    if wish["namespaces"]:
        limits["RLIMIT_NPROC"] = MOST_PROCESSES  # counted anew in a namespace
    for name, most in limits.items():
        with contextlib.suppress(ValueError, OSError):  # a lower one is in force already
            resource.setrlimit(getattr(resource, name), (most, most))


def _held_mb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmData")), 0) // 1024


def _is_root() -> bool:
    return IS_LINUX and os.geteuid() == 0


def _drop() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    _prctl(_PR_SET_DUMPABLE, 1)  # a process that changed hands may not write its own maps


def _die_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    namespaces.libc().prctl(option, value, 0, 0, 0)
