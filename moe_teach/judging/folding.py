"""Folds a traceback to the frames the learner wrote, and says on whose side an error arose."""

import builtins
import difflib
import functools
import inspect
import linecache
import os
import sysconfig
import traceback
from pathlib import Path
from types import CodeType, FunctionType, TracebackType
from typing import Any

from moe_teach.judging.elsewhere import told_of

_PACKAGE = str(Path(__file__).parents[1]) + os.sep
_INSTALLED = tuple(
    {path for key, path in sysconfig.get_paths().items() if key in ("stdlib", "platstdlib")}
    | {path for key, path in sysconfig.get_paths().items() if key in ("purelib", "platlib")}
)
_SHOWN = 6  # frames of a long recursion that are printed


def file_of(answer: Any) -> str:
    """Name the file (or notebook cell) in which an answer was written; empty if unknown."""
    if issubclass(type(answer), functools.partial):
        return file_of(answer.func)
    code = getattr(inspect.unwrap(answer), "__code__", None)
    if code is None:
        kind = answer if issubclass(type(answer), type) else type(answer)
        functions = [member for member in vars(kind).values() if type(member) is FunctionType]
        # While a check runs, its methods are wrapped by functions that watch them.
        code = inspect.unwrap(functions[0]).__code__ if functions else None
    return code.co_filename if code else ""


def is_learners(function: FunctionType, answer_file: str) -> bool:
    """Tell a function that the learner wrote from one that was installed."""
    return _is_learners(function.__code__.co_filename, answer_file)


def learner_frames(
    trace: TracebackType | None, answer_file: str = "", check: CodeType | None = None
) -> list[traceback.FrameSummary]:
    """Give the frames of the learner's code: their answer's file and all that nobody installed.

    `check` is the code of the stage itself, which is never the learner's.
    """
    summaries = traceback.extract_tb(trace)
    codes = [frame.f_code for frame, _line in traceback.walk_tb(trace)]
    return [
        summary
        for summary, code in zip(summaries, codes, strict=True)
        if code is not check and _is_learners(summary.filename, answer_file)
    ]


def folded(frames: list[traceback.FrameSummary]) -> str:
    """Write frames as "line 3 in name: source", a long recursion shortened in the middle."""
    lines = [_in_words(frame) for frame in frames]
    if len(lines) > _SHOWN:
        left_out = len(lines) - _SHOWN
        lines[_SHOWN // 2 : -(_SHOWN // 2)] = [f"... {left_out} more calls ..."]
    return "\n".join(lines)


def says_not_implemented(error: BaseException, frames: list[traceback.FrameSummary]) -> bool:
    """Tell the stub's own `raise NotImplementedError` from torch's complaint of the same type."""
    if not isinstance(error, NotImplementedError) or not frames:
        return False
    return not error.args or (frames[-1].line or "").startswith("raise NotImplementedError")


def near_name(error: BaseException) -> str:
    """Find the existing name that a mistyped one most likely stands for; empty if none is near."""
    if told := told_of(error):
        return told.near
    name = getattr(error, "name", None)
    if not isinstance(error, NameError | AttributeError) or not name:
        return ""
    try:
        # Private names are nobody's intention, unless one was typed.
        names = [one for one in _names_around(error) if one[0] != "_" or name[0] == "_"]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
    except Exception:  # a learner's object may have a broken __dir__
        return ""
    return near[0] if near else ""


def _names_around(error: NameError | AttributeError) -> list[str]:
    if isinstance(error, AttributeError):
        return dir(error.obj)
    frames = [frame for frame, _line in traceback.walk_tb(error.__traceback__)]
    return [*frames[-1].f_locals, *frames[-1].f_globals, *dir(builtins)] if frames else []


def _in_words(frame: traceback.FrameSummary) -> str:
    source = frame.line or linecache.getline(frame.filename, frame.lineno or 0).strip()
    where = f"line {frame.lineno} in {frame.name}"
    return f"{where}: {source}" if source else where


def _is_learners(filename: str, answer_file: str) -> bool:
    return filename == answer_file or not is_installed(filename)


def is_installed(filename: str) -> bool:
    """Tell a file of Python, of a package or of the course from one of the learner's own."""
    if filename.startswith("<frozen") or filename.startswith(_PACKAGE):
        return True
    return filename.startswith(_INSTALLED) or "-packages/" in filename
