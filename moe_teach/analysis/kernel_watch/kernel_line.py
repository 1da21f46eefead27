"""Finding the line of a learner's kernel that is being executed."""

import linecache
import sys
from dataclasses import dataclass
from pathlib import Path

_OWN_FOLDER = str(Path(__file__).parent)
_LONGEST = 8  # lines of one statement


@dataclass(frozen=True)
class Line:
    """A statement of a kernel, or of a device function that it called.

    `text` is put on one line; it is None where the source is not at hand.
    """

    function: str
    text: str | None

    def __str__(self) -> str:
        return f"In {self.function}: `{self.text}`." if self.text else ""


def kernel_line() -> Line:
    """Return the line that asked for what the watcher is looking at.

    On the stack it stands just outside Triton's frames, and these just outside the watcher's.
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
            return Line(frame.f_code.co_name, _statement(file, frame.f_lineno))
        frame = frame.f_back
    return Line("", None)


def _statement(file: str, number: int) -> str | None:
    text = linecache.getline(file, number).strip()
    for following in range(number + 1, number + _LONGEST):
        if text.count("(") <= text.count(")"):
            break
        text = f"{text} {linecache.getline(file, following).strip()}".strip()
    return text.replace("( ", "(").replace(", )", ")").rstrip(",") or None
