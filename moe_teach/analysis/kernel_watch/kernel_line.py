"""Finding the line of a learner's kernel that is being executed."""

import linecache
import sys
from pathlib import Path

_OWN_FOLDER = str(Path(__file__).parent)
_LONGEST = 8  # lines of one statement


def kernel_line() -> tuple[str, str | None]:
    """Return the function and the line that asked for the access the watcher is looking at.

    On the stack it stands just outside Triton's frames, and these just outside the watcher's. A
    statement over several lines is put on one; it is None where the source is not at hand.
    """
    frame = sys._getframe()
    past_triton = False
    while frame is not None:
        file = frame.f_code.co_filename
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if file.startswith(_OWN_FOLDER):
            past_triton = False
        elif package == "triton":
            past_triton = True
        elif past_triton:
            return frame.f_code.co_name, _statement(file, frame.f_lineno)
        frame = frame.f_back
    return "", None


def _statement(file: str, number: int) -> str | None:
    text = linecache.getline(file, number).strip()
    for following in range(number + 1, number + _LONGEST):
        if text.count("(") <= text.count(")"):
            break
        text = f"{text} {linecache.getline(file, following).strip()}".strip()
    return text.replace("( ", "(").replace(", )", ")").rstrip(",") or None
