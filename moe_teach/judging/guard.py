"""The walls around a learner's code while a check runs it.

A soft time limit that turns an endless loop into a message, prints and warnings kept out of the
notebook, and random number generators left as they were. These are courtesies, not security: the
code runs in the learner's own kernel, where it may do whatever it likes.
"""

import contextlib
import io
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from types import FrameType

PRINT_LIMIT = 2_000  # characters of the learner's prints that feedback repeats
_REPEAT = 0.05  # seconds between alarms after the first, for loops that swallow exceptions


class TookTooLong(BaseException):
    """The soft time limit ran out; not an `Exception`, so that `except Exception` lets it pass."""


class PrintedText(io.TextIOBase):
    """Takes what is printed and keeps its beginning, so that a flood costs no memory."""

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._length = 0

    def writable(self) -> bool:
        """Printing is always possible."""
        return True

    def write(self, text: str) -> int:
        """Keep the part of `text` that still fits."""
        room = PRINT_LIMIT - self._length
        if room > 0:
            self._kept.append(text[:room])
        self._length += len(text)
        return len(text)

    def text(self) -> str:
        """Give what was printed, with a note where the rest was left out."""
        kept = "".join(self._kept)
        if self._length > PRINT_LIMIT:
            kept += f"\n... and {self._length - PRINT_LIMIT:,} more characters"
        return kept


def _ring(_signal: int, _frame: FrameType | None) -> None:
    raise TookTooLong


@contextlib.contextmanager
def time_limit(seconds: float | int) -> Iterator[None]:
    """Raise `TookTooLong` in the body after `seconds` of wall time.

    Uses a real signal, which also ends a sleep. Only the main thread of a POSIX process can be
    stopped like that; elsewhere the body simply runs to its end.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or not hasattr(signal, "setitimer"):
        yield
        return

    before = signal.signal(signal.SIGALRM, _ring)
    try:
        # The alarm repeats: a bare `except: pass` swallows one, but not the one that rings
        # while the handler's own `pass` runs.
        signal.setitimer(signal.ITIMER_REAL, seconds, _REPEAT)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def quiet() -> Iterator[PrintedText]:
    """Keep prints and warnings of the body out of the notebook; prints stay readable."""
    printed = PrintedText()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield printed


@contextlib.contextmanager
def steady_torch() -> Iterator[None]:
    """Leave torch's global random state, gradient mode and default dtype as they were."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    state, dtype, grad = torch.get_rng_state(), torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_rng_state(state)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
