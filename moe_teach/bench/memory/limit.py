"""A limit on memory that the operating system enforces, on a process and all it starts.

A control group counts what a process keeps in the page cache too: a mapped file cannot hide
there. Where none can be made, the process is held to a limit on its own data, and the page cache
goes free; results say which it was.
"""

import contextlib
import os
import resource
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
DATA_ONLY = "RLIMIT_DATA: the page cache is not counted"


@dataclass(frozen=True)
class Limit:
    """How a limit is enforced, and the words to put before a command that shall keep it.

    `folder` is the control group's own, where one was made: what it counts can be read there.
    """

    how: str
    prefix: tuple[str, ...]
    folder: Path | None = None


@contextlib.contextmanager
def memory_limit(n_bytes: int) -> Iterator[Limit]:
    """Set up the strictest limit this system allows; it is gone after the block."""
    group = _new_group(n_bytes)
    if group is not None:
        # A shell moves itself into the group and then becomes the command.
        join = f'echo $$ > {shlex.quote(str(group.folder / "cgroup.procs"))} && exec "$@"'
        try:
            yield Limit(group.how, ("/bin/sh", "-c", join, "limited"), group.folder)
        finally:
            _remove(group.folder)
        return
    scope = _systemd_scope(n_bytes)
    yield Limit("cgroup by systemd-run", scope) if scope else Limit(DATA_ONLY, _data_limit(n_bytes))


def peak_bytes() -> int:
    """Return the most this process's group, or the process, has ever held."""
    names = {"memory": "memory.max_usage_in_bytes", "": "memory.peak"}
    for controller, folder in _own_groups().items():
        with contextlib.suppress(OSError, KeyError):
            return int((folder / names[controller]).read_text())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@dataclass(frozen=True)
class _Group:
    folder: Path
    how: str


def _new_group(n_bytes: int) -> _Group | None:
    """Make a group below one's own, of version 1 or 2, whichever knows memory."""
    files = {"memory": ("memory.limit_in_bytes", "cgroup v1"), "": ("memory.max", "cgroup v2")}
    for controller, own in _own_groups().items():
        name, how = files[controller]
        folder = own / f"moe_teach-{secrets.token_hex(4)}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / name).write_text(str(n_bytes))
            return _Group(folder, f"{how} ({name}, page cache included)")
        except OSError:
            folder.rmdir()
    return None


def _remove(group: Path) -> None:
    """Remove a group; what has ended a moment ago may still be in it."""
    for _ in range(50):
        with contextlib.suppress(OSError):
            return group.rmdir()
        time.sleep(0.1)
    return group.rmdir()


def _own_groups() -> dict[str, Path]:
    """Return the folders of this process's groups that may count memory, version 1 first."""
    found = {}
    with contextlib.suppress(OSError):
        for line in OWN.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(","):
                found["memory"] = ROOT / "memory" / path.lstrip("/")
            elif controllers == "" and (ROOT / "cgroup.controllers").is_file():
                found[""] = ROOT / path.lstrip("/")
    return dict(sorted(found.items(), reverse=True))


def _systemd_scope(n_bytes: int) -> tuple[str, ...] | None:
    """Ask systemd for a group, as a user may who cannot make one; None where it says no."""
    if shutil.which("systemd-run") is None:
        return None
    user = () if os.geteuid() == 0 else ("--user",)
    limits = ("-p", f"MemoryMax={n_bytes}", "-p", "MemorySwapMax=0")
    command = ("systemd-run", *user, "--scope", "--quiet", *limits)
    tried = subprocess.run((*command, "true"), capture_output=True, check=False)
    return command if tried.returncode == 0 else None


def _data_limit(n_bytes: int) -> tuple[str, ...]:
    script = (
        "import os, resource, sys; "
        f"resource.setrlimit(resource.RLIMIT_DATA, ({n_bytes}, {n_bytes})); "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    return sys.executable, "-c", script
