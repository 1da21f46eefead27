"""Output that does not fail on a poor terminal, and the system's errors in sentences."""

import errno
import io
import os
import sys
from collections.abc import Callable

CLOSED = 141  # what shells report for a program whose reader went away
_PLACES = {
    errno.EEXIST: "is there already and is no folder, where a folder is needed",
    errno.ENOTDIR: "leads through a file, where a folder is needed",
    errno.EISDIR: "is a folder, where a file is needed",
    errno.EACCES: "may not be used by this account",
    errno.EPERM: "may not be used by this account",
    errno.EROFS: "lies where nothing can be written",
    errno.ENOSPC: "does not fit on its disk, which is full",
    errno.ENAMETOOLONG: "has a name that is too long for this system",
}


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


def in_a_sentence(problem: OSError) -> str:
    """Say what the system refused, where somebody's own words named the place; "" elsewhere.

    An error that a module of ours has raised with a sentence keeps it. A missing file is no place
    that somebody named badly: it may as well be one that we forgot.
    """
    if problem.strerror is None:
        return str(problem)
    said = _PLACES.get(problem.errno or 0)
    name = problem.filename2 or problem.filename
    return f"{name} {said}: name another place." if said and name else ""
