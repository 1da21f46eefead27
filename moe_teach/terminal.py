"""Output that does not fail on a poor terminal: an encoding without accents, a pipe that closes."""

import io
import os
import sys
from collections.abc import Callable

CLOSED = 141  # what shells report for a program whose reader went away


def on_any_terminal(work: Callable[[], int]) -> int:
    """Do the work and return its exit status, whatever happens to what it prints.

    A sign that the terminal's encoding lacks becomes a question mark. A pipe that closes early, as
    `| head` does, ends the work without an error message and with status 141.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        status = work()
        sys.stdout.flush()  # here, where a closed pipe is understood, and not when Python ends
    except BrokenPipeError:
        # Python flushes once more at its end: into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED
    return status
