"""One line that says how training goes: live where somebody watches, plain where nobody does.

In a notebook it is one display that is rewritten in place and ends in words that do not depend on
the clock, so that a stored notebook is the same after every run. In a terminal it is one line. In
a log it is ten lines without speeds. With MOE_TEACH_FAST=1, or off rank 0, it is nothing.
"""

import sys
import time
from html import escape
from io import TextIOBase

from moe_teach.surroundings import wants_short_work
from moe_teach.train.record import StepRecord

SECONDS_BETWEEN = 0.25
LOG_LINES = 10
STEPS_BEFORE_GUESSING = 5  # how long the rest will take


class Progress:
    """The base class, which says nothing."""

    def __init__(self, n_steps: int) -> None:
        self.n_steps = n_steps

    def begin(self, n_done: int) -> None:
        """Say where training goes on, if it was begun before."""

    def show(self, record: StepRecord) -> None:
        """Tell about one step."""

    def close(self, n_done: int) -> None:
        """Say how far training came."""


class LogProgress(Progress):
    """Ten plain lines, for files and for tests: the same after every run on the same machine."""

    def __init__(self, n_steps: int, stream: TextIOBase) -> None:
        super().__init__(n_steps)
        self.stream = stream

    def begin(self, n_done: int) -> None:
        """Print one line, so that a log of several pieces can be read."""
        if n_done:
            print(going_on(n_done, self.n_steps), file=self.stream, flush=True)

    def show(self, record: StepRecord) -> None:
        """Print one line at every tenth of the way."""
        done = record.step + 1
        if done * LOG_LINES // self.n_steps > record.step * LOG_LINES // self.n_steps:
            print(summary(record, self.n_steps), file=self.stream, flush=True)


class LiveProgress(Progress):
    """A line that is rewritten a few times per second; subclasses know where."""

    def __init__(self, n_steps: int) -> None:
        super().__init__(n_steps)
        self.shown_at = -SECONDS_BETWEEN
        self.speed = 0.0
        self.first: tuple[float, int] | None = None  # when, and after how many steps

    def show(self, record: StepRecord) -> None:
        """Rewrite the line, unless that was done a moment ago."""
        old = self.speed or record.tokens_per_second
        self.speed = 0.9 * old + 0.1 * record.tokens_per_second
        now, n_done = time.monotonic(), record.step + 1
        self.first = self.first or (now, n_done)
        if now - self.shown_at >= SECONDS_BETWEEN:
            self.shown_at = now
            text = f"{summary(record, self.n_steps)}, {self.speed:,.0f} tokens/s"
            self.write(text + self._left(now, n_done), n_done)

    def _left(self, now: float, n_done: int) -> str:
        """Say how long it will take, evaluations and checkpoints included, once that is known."""
        since, first = self.first or (now, n_done)
        if n_done - first < STEPS_BEFORE_GUESSING:
            return ""
        seconds = (now - since) / (n_done - first) * (self.n_steps - n_done)
        return f", {duration(seconds)} left"

    def write(self, text: str, n_done: int) -> None:
        """Put the line where it belongs."""
        raise NotImplementedError


class TerminalProgress(LiveProgress):
    """The live line of a terminal."""

    def __init__(self, n_steps: int, stream: TextIOBase) -> None:
        super().__init__(n_steps)
        self.stream = stream

    def begin(self, n_done: int) -> None:
        """Print one line above the live one."""
        if n_done:
            print(going_on(n_done, self.n_steps), file=self.stream, flush=True)

    def write(self, text: str, n_done: int) -> None:
        """Return to the start of the line and clear what is left of the old one."""
        print(f"\r{text}\x1b[K", end="", file=self.stream, flush=True)

    def close(self, n_done: int) -> None:
        """Leave the last line standing."""
        print(f"\r{finished(n_done, self.n_steps)}\x1b[K", file=self.stream, flush=True)


class NotebookProgress(LiveProgress):
    """The live line of a notebook, with a bar."""

    def __init__(self, n_steps: int) -> None:
        super().__init__(n_steps)
        from IPython.display import display

        bundle = _bundle("starting", 0, n_steps)
        self.handle = display(bundle, raw=True, display_id=True)

    def write(self, text: str, n_done: int) -> None:
        """Rewrite the display in place."""
        self.handle.update(_bundle(text, n_done, self.n_steps), raw=True)

    def close(self, n_done: int) -> None:
        """End in words that a second run repeats."""
        self.write(finished(n_done, self.n_steps), n_done)


def progress_for(n_steps: int, wanted: bool, is_first: bool) -> Progress:
    """Choose the line that fits the place where this runs."""
    fast = wants_short_work()
    if not wanted or not is_first or fast:
        return Progress(n_steps)
    if _in_notebook():
        return NotebookProgress(n_steps)
    if sys.stderr.isatty():
        return TerminalProgress(n_steps, sys.stderr)
    return LogProgress(n_steps, sys.stderr)


def summary(record: StepRecord, n_steps: int) -> str:
    """Say step, loss and, where there are experts, how much the busiest exceeds the mean."""
    text = f"step {record.step + 1} of {n_steps}, loss {record.task_loss:.3f}"
    if record.max_violation:
        text += f", imbalance {max(record.max_violation):.2f}"
    return text


def finished(n_done: int, n_steps: int) -> str:
    """Say how far training came, in words that do not depend on the clock."""
    return f"Trained {n_done} of {n_steps} steps."


def going_on(n_done: int, n_steps: int) -> str:
    """Say where a run that was interrupted is taken up."""
    if n_done == n_steps:
        return f"All {n_steps} steps were done before."
    return f"Going on after step {n_done} of {n_steps}."


def duration(seconds: float) -> str:
    """Say a span of time in the unit that people would use: 40 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def _bundle(text: str, n_done: int, n_steps: int) -> dict[str, str]:
    bar = f'<progress value="{n_done}" max="{n_steps}" aria-label="training"></progress>'
    return {"text/html": f"<div>{bar} {escape(text)}</div>", "text/plain": text}


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return bool(getattr(shell, "kernel", None))
