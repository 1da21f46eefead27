"""One line that says how training goes: live where somebody watches, plain where nobody does.

In a notebook it is one display that is rewritten in place and ends in words that do not depend on
the clock, so that a stored notebook is the same after every run. In a terminal it is one line. In
a log it is ten lines without speeds. With MOE_TEACH_FAST=1, or off rank 0, it is nothing.
"""

import os
import sys
import time
from html import escape
from io import TextIOBase

from moe_teach.train.record import StepRecord

SECONDS_BETWEEN = 0.25
LOG_LINES = 10


class Progress:
    """The base class, which says nothing."""

    def __init__(self, n_steps: int) -> None:
        self.n_steps = n_steps

    def show(self, record: StepRecord) -> None:
        """Tell about one step."""

    def close(self, n_done: int) -> None:
        """Say how far training came."""


class LogProgress(Progress):
    """Ten plain lines, for files and for tests: the same after every run on the same machine."""

    def __init__(self, n_steps: int, stream: TextIOBase) -> None:
        super().__init__(n_steps)
        self.stream = stream

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

    def show(self, record: StepRecord) -> None:
        """Rewrite the line, unless that was done a moment ago."""
        old = self.speed or record.tokens_per_second
        self.speed = 0.9 * old + 0.1 * record.tokens_per_second
        now = time.monotonic()
        if now - self.shown_at >= SECONDS_BETWEEN:
            self.shown_at = now
            text = f"{summary(record, self.n_steps)}, {self.speed:,.0f} tokens/s"
            self.write(text, record.step + 1)

    def write(self, text: str, n_done: int) -> None:
        """Put the line where it belongs."""
        raise NotImplementedError


class TerminalProgress(LiveProgress):
    """The live line of a terminal."""

    def __init__(self, n_steps: int, stream: TextIOBase) -> None:
        super().__init__(n_steps)
        self.stream = stream

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
    fast = os.environ.get("MOE_TEACH_FAST", "") not in ("", "0")
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


def _bundle(text: str, n_done: int, n_steps: int) -> dict[str, str]:
    bar = f'<progress value="{n_done}" max="{n_steps}" aria-label="training"></progress>'
    return {"text/html": f"<div>{bar} {escape(text)}</div>", "text/plain": text}


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return bool(getattr(shell, "kernel", None))
