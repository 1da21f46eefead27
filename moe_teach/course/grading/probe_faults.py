"""Says what is wrong with a file of probes: the line, the reason, and what to do.

Teachers write such files at the edge of their time, and not all of them in Python every day: the
name of an exception's class says less to them than the line that it came from.
"""

import inspect
import linecache
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from textwrap import shorten
from typing import Any

_LONGEST = 600  # characters of an error's own words, which may hold whole tensors
_LONGEST_LINE = 60
_AGAIN = "Correct it, and give the command again."


def text_of(file: Path) -> tuple[str, str]:
    """Read a file: its text, and in a sentence why it cannot be read, where that is so."""
    try:
        return file.read_text(encoding="utf-8"), ""
    except UnicodeDecodeError as problem:
        line = problem.object[: problem.start].count(b"\n") + 1
        return "", f"{file}, line {line}, is not text in UTF-8: save the file in that encoding."
    except OSError as problem:
        return "", f"{file} cannot be read: {problem.strerror}. Let it be read, and try again."


def told(problem: BaseException, file: Path) -> str:
    """Say in sentences what stopped the code of a file, and in which of its lines."""
    if isinstance(problem, SyntaxError) and problem.filename in (None, str(file)):
        return f"{_place(file, problem.lineno)} is not Python: {problem.msg}. {_AGAIN}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(problem.__traceback__)
        if frame.filename == str(file)
    ]
    place = _place(file, lines[-1] if lines else None)
    if isinstance(problem, SystemExit):
        return f"{place} ends Python, and all grading with it. Take that out, and try again."
    if isinstance(problem, ImportError):
        return (
            f"{place} cannot import what it asks for: {_words(problem)}. Correct the name, or "
            "install what is missing beside the course."
        )
    return f"{place} went wrong: {_words(problem)}. {_AGAIN}"


def why_no_probe(function: Any) -> str:
    """Say why a thing that `extra` marks cannot be a probe; nothing if it can."""
    if not inspect.isfunction(function):
        name = getattr(function, "__name__", "what is marked")
        return f"{name} is no function. `@extra` stands above a `def`."
    try:
        inspect.signature(function).bind(None, 0)
    except TypeError:
        return (
            f"{function.__name__} must take two things, the answer and a seed: write "
            f"`def {function.__name__}(answer, seed):`."
        )
    return ""


def stopped(probe: Callable[[Any, int], Any], answer: Any, seeds: tuple[int, ...]) -> str:
    """Run a probe until an error of its own stops it, and tell of that; nothing if none does."""
    for seed in seeds:
        try:
            probe(answer, seed)
        except (Exception, SystemExit) as problem:
            return told(problem, Path(inspect.unwrap(probe).__code__.co_filename))
    return ""


def _place(file: Path, number: int | None) -> str:
    if number is None:
        return str(file)
    line = shorten(linecache.getline(str(file), number), _LONGEST_LINE, placeholder=" ...")
    return f"{file}, line {number} (`{line}`)," if line else f"{file}, line {number},"


def _words(problem: BaseException) -> str:
    text = str(problem).strip()[:_LONGEST].rstrip(".")
    if isinstance(problem, KeyError):
        return f"there is no key {text}"
    if isinstance(problem, AssertionError) and not text:
        return "what it asserts does not hold"
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(problem).__name__).lower()
    return text or f"{kind}, without a word of why"
