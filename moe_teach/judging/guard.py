"""The walls around a learner's code while a check runs it.

A soft time limit that turns an endless loop into a message, prints and warnings kept out of the
notebook, and a session that is as fresh as the first, whatever other cells did to it. These are
courtesies, not security: the code runs in the learner's own kernel and may do what it likes.
"""

import contextlib
import io
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

PRINT_LIMIT = 2_000  # characters of the learner's prints that feedback repeats
LOOK = 2.0  # seconds in which an object must let itself be looked at
_REPEAT = 0.05  # seconds between alarms after the first, for loops that swallow exceptions
_AT_ONCE = 1e-3  # seconds: an alarm of the notebook's own that fell due during a check
# No check draws its inputs from a seed like this one: an answer that draws without a generator
# must not draw the very numbers it was given.
_FAR_SEED = 1_000_003
_COUNTING = threading.RLock()
_SHARED: list[contextlib.ExitStack] = []  # what the process shares, and one for each check
_PRINTED: dict[int, list["PrintedText"]] = {}  # by thread, the innermost check last


class TookTooLong(BaseException):
    """The soft time limit ran out; not an `Exception`, so that `except Exception` lets it pass."""


class _Alarm:
    """A repeating alarm, and the notebook's own one that it stands in for."""

    def __init__(self) -> None:
        self.is_over = False
        self._begin = time.monotonic()
        self._before: Any = None
        self._left = self._every = 0.0

    def set(self, seconds: float | int) -> None:
        self._before = signal.signal(signal.SIGALRM, self._ring)
        # The alarm repeats: a bare `except: pass` swallows one, but not the one that rings
        # while the handler's own `pass` runs.
        self._left, self._every = signal.setitimer(signal.ITIMER_REAL, seconds, _REPEAT)

    def restore(self) -> None:
        if self._before is None:
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)
        if self._left:
            left = self._left - (time.monotonic() - self._begin)
            signal.setitimer(signal.ITIMER_REAL, max(left, _AT_ONCE), self._every)

    def _ring(self, _signal: int, _frame: FrameType | None) -> None:
        if not self.is_over:
            raise TookTooLong


def within(seconds: float | int, work: Callable[[], T]) -> T:
    """Give what `work` returns, and raise `TookTooLong` in it after `seconds` of wall time.

    Uses a real signal, which also ends a sleep. Only the main thread of a POSIX process can be
    stopped like that; elsewhere the work simply runs to its end.
    """
    if not _can_ring():
        return work()
    alarm = _Alarm()
    try:
        try:
            alarm.set(seconds)
            return work()
        finally:
            alarm.is_over = True  # before all else: from here on an alarm changes nothing
    finally:
        alarm.is_over = True  # once more, for the alarm that rang before the line above
        alarm.restore()


def looked_at(work: Callable[[], T], otherwise: T) -> T:
    """Give what `work` finds out about a learner's object, or `otherwise` if it objects.

    `__repr__`, `__eq__` and their like are the learner's code: they may loop, raise and exit.
    """
    try:
        return within(LOOK, work)
    except BaseException:
        return otherwise


def _can_ring() -> bool:
    return (
        threading.current_thread() is threading.main_thread()
        and hasattr(signal, "setitimer")
        and signal.getsignal(signal.SIGALRM) is not None  # set by Python, so it can be put back
    )


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


class _ByThread:
    """Stands in for a stream: a thread that runs a check prints into it, all others pass."""

    def __init__(self, stream: Any) -> None:
        self._stream = PrintedText() if stream is None else stream

    def __getattr__(self, name: str) -> Any:
        mine = _PRINTED.get(threading.get_ident())
        return getattr(mine[-1] if mine else self._stream, name)


@contextlib.contextmanager
def fresh_session() -> Iterator[PrintedText]:
    """Run the body as in a session that just began, and leave what it changes as it was.

    Its prints are kept, its warnings dropped. Covers random numbers (Python's, NumPy's, torch's)
    and torch's modes: gradients, inference, anomalies, autocast, default dtype and device,
    precision, determinism, threads and whatever intercepts operations. What the whole process
    shares is set by the first of several checks at a time and given back by the last.
    """
    printed, thread = PrintedText(), threading.get_ident()
    with contextlib.ExitStack() as stack:
        if numpy := sys.modules.get("numpy"):
            stack.enter_context(numpy.errstate(all="warn"))
        if "torch" in sys.modules:
            stack.enter_context(_own_modes())
        stack.enter_context(_together())
        _PRINTED.setdefault(thread, []).append(printed)
        stack.callback(_PRINTED[thread].pop)
        yield printed


@contextlib.contextmanager
def _together() -> Iterator[None]:
    with _COUNTING:
        if not _SHARED:
            _SHARED.append(_shared_state())
        _SHARED.append(contextlib.ExitStack())
    try:
        yield
    finally:
        with _COUNTING:
            _SHARED.pop()
            if len(_SHARED) == 1:
                _SHARED.pop().close()


def _shared_state() -> contextlib.ExitStack:
    """Set what all threads share; whoever closes the stack gives it back."""
    stack = contextlib.ExitStack()
    stack.enter_context(contextlib.redirect_stdout(_ByThread(sys.stdout)))  # type: ignore[type-var]
    stack.enter_context(contextlib.redirect_stderr(_ByThread(sys.stderr)))  # type: ignore[type-var]
    stack.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")
    stack.callback(random.setstate, random.getstate())
    random.seed(_FAR_SEED)
    if numpy := sys.modules.get("numpy"):
        stack.callback(numpy.random.set_state, numpy.random.get_state())
        numpy.random.seed(_FAR_SEED)
    if "torch" in sys.modules:
        stack.enter_context(_plain_defaults())
    return stack


@contextlib.contextmanager
def _own_modes() -> Iterator[None]:
    """Set what each thread has for itself."""
    import torch
    from torch import overrides
    from torch.utils import _python_dispatch as dispatch

    # `set_default_device` and `with torch.device(...)` are function modes too.
    functions = overrides._get_current_function_mode_stack()
    operations = dispatch._get_current_dispatch_mode_stack()
    stacks = ((overrides, functions), (dispatch, operations))
    for module, modes in stacks:
        for _ in modes:
            module._pop_mode()
    try:
        with (
            torch.inference_mode(False),  # switches gradients on, too
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False),
        ):
            yield
    finally:
        while overrides._get_current_function_mode_stack():
            overrides._pop_mode()
        for module, modes in stacks:
            for mode in modes:
                module._push_mode(mode)


@contextlib.contextmanager
def _plain_defaults() -> Iterator[None]:
    import torch

    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    precision = torch.get_float32_matmul_precision()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices), torch.autograd.set_detect_anomaly(False):
        torch.default_generator.manual_seed(_FAR_SEED)
        torch.set_default_dtype(torch.float32)
        if strict:  # the call itself imports the compiler and Triton: only where it must be
            torch.use_deterministic_algorithms(False)
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            if strict or torch.are_deterministic_algorithms_enabled():
                torch.use_deterministic_algorithms(strict, warn_only=warns)
            torch.set_float32_matmul_precision(precision)
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
