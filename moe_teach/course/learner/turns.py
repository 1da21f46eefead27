"""Lets two kernels take turns at the reader's files."""

import contextlib
import errno
from collections.abc import Iterator

from moe_teach.files import home

_LOCKLESS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
PATIENCE = 3.0  # seconds to wait for another kernel's turn, which takes milliseconds


@contextlib.contextmanager
def taking_turns(name: str) -> Iterator[None]:
    """Hold the lock called `name`; where files cannot be locked, the last one to write wins."""
    from filelock import FileLock, Timeout

    home().mkdir(parents=True, exist_ok=True)
    lock = FileLock(home() / f"{name}.lock", timeout=PATIENCE, poll_interval=0.01)
    with contextlib.ExitStack() as held:
        # A lock that nobody gives back, or a disk that knows none, must not cost the record.
        try:
            held.enter_context(lock)
        except (Timeout, NotImplementedError):
            pass
        except OSError as problem:
            if problem.errno not in _LOCKLESS:
                raise
        yield
