"""Landlock, the kernel's own wall around files: what a worker may read, and where it may write.

Nothing but system calls through `ctypes`: no privilege is needed, and none can take it back.
"""

import ctypes
import os
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from moe_teach.course.grading.worker.namespaces import libc

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same on every architecture
_VERSION_FLAG = 1
_EXECUTE, _WRITE, _READ, _LIST = 1, 2, 4, 8
_ALL_OF = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_FOR_FILES = _EXECUTE | _WRITE | _READ | (1 << 14) | (1 << 15)
_NO_TCP = 3  # bind and connect
_NO_SIGNALS_NO_ABSTRACT = 3
_PACKAGE = Path(__file__).parents[3]
_SYSTEM = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo",
    "/etc/ld.so.cache", "/etc/localtime", "/sys/devices/system/cpu", "/proc/cpuinfo",
    "/proc/meminfo",
)  # fmt: skip
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_SECRET_FILES = ("_answers.", "answer_parts.")

Rule = tuple[str, int]


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


@cache
def version() -> int:
    """Give the version of Landlock that runs here; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    return max(0, _call(_CREATE, None, 0, _VERSION_FLAG))


def prepare() -> None:
    """Look once, before any worker is there, at what all of them may read."""
    if version():
        _fixed()


def enforce(scratch: str) -> None:
    """Let this process, and all that come from it, touch nothing but what a worker may."""
    abi = version()
    whole = _ALL_OF[max(known for known in _ALL_OF if known <= abi)]
    what = _Ruleset(whole, _NO_TCP if abi >= 4 else 0, _NO_SIGNALS_NO_ABSTRACT if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _call(_CREATE, ctypes.byref(what), size, 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "Landlock gives no rules")
    for path, rights in (*_fixed(), (scratch, whole & ~_EXECUTE)):
        _allow(ruleset, path, rights & whole)
    if _call(_RESTRICT, ruleset, 0):
        raise OSError(ctypes.get_errno(), "Landlock does not enforce its rules")
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        at = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no leave
    if not Path(path).is_dir():
        rights &= _FOR_FILES
    _call(_ADD, ruleset, 1, ctypes.byref(_Beneath(rights, at)), 0)
    os.close(at)


@cache
def _fixed() -> tuple[Rule, ...]:
    """List what every worker may read: Python, its libraries, the course without its answers."""
    reads = _READ | _LIST | _EXECUTE
    found = [(path, reads) for path in (*_SYSTEM, *readable())]
    found += [(device, _READ | _WRITE) for device in _DEVICES]
    found += [(str(_PACKAGE), _LIST)]
    return (*found, *((path, rights) for path, rights in _course(_PACKAGE)))


@cache
def readable() -> tuple[str, ...]:
    """List the folders of Python and of installed packages; one that holds the course, in parts."""
    keys = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = {sysconfig.get_path(key) for key in keys} | {sys.executable}
    folders |= {path for path in sys.path if path.endswith("-packages")}
    folders |= {f"{prefix}/lib" for prefix in (sys.base_prefix, sys.prefix)}
    folders |= {os.path.realpath(sys.executable), f"{sys.prefix}/pyvenv.cfg"}
    found: list[str] = []
    for folder in sorted(filter(os.path.exists, map(os.path.realpath, folders))):
        found += _without_course(folder)
    return tuple(found)


def _without_course(folder: str) -> Iterator[str]:
    if not _PACKAGE.is_relative_to(folder):
        yield folder
        return
    for child in Path(folder).iterdir():
        if child != _PACKAGE:
            yield from _without_course(str(child))


def _course(folder: Path) -> Iterator[Rule]:
    """Allow the files of the package one by one, but for what answers, grades or remembers."""
    for child in folder.iterdir():
        if child.name in ("solutions", "results"):
            continue
        if child.is_dir():
            yield str(child), _LIST
            yield from _course(child)
        elif not any(secret in child.name for secret in _SECRET_FILES):
            yield str(child), _READ


def is_open_to_all(path: str) -> bool:
    """Say whether every account may read this, and go through the folders above it."""
    try:
        if not Path(path).stat().st_mode & 0o004:
            return False
        return all(above.stat().st_mode & 0o001 for above in Path(path).parents)
    except OSError:
        return False


def _call(number: int, *arguments: Any) -> int:
    return int(libc().syscall(number, *arguments))
