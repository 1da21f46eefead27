"""Errors on their way between two processes: their kind by name, their words, their own lines."""

import builtins
import traceback
from typing import Any

from moe_teach.judging import folding
from moe_teach.judging.elsewhere import Elsewhere

_TEXT = 4000
_FRAMES = 200


def packed(error: BaseException, answer_file: str, handle: int | None) -> dict[str, Any]:
    """Write an error as plain data."""
    known = getattr(error, "elsewhere", None) or Elsewhere()
    frames = folding.learner_frames(error.__traceback__, answer_file)[-_FRAMES:]
    call = getattr(error, "call_in_turn", None)
    walked = traceback.walk_tb(error.__traceback__)
    in_kernel = any("/triton/" in frame.f_code.co_filename for frame, _line in walked)
    return {
        "kinds": [kind.__name__ for kind in type(error).__mro__ if kind is not object],
        "text": _text(error),
        "bare": not error.args,
        "frames": [[f.filename, f.lineno, f.name, f.line or ""] for f in frames]
        + [[f.filename, f.lineno, f.name, f.line or ""] for f in known.frames],
        "near": known.near or folding.near_name(error),
        "kernel": in_kernel or known.in_kernel,
        "call": call if type(call) is int else None,
        "handle": handle,
    }


def opened(told: Any) -> BaseException:
    """Build the error that was told of: of Python's own kind where there is one."""
    kinds, text = [str(kind) for kind in told["kinds"]], str(told["text"])
    error = _built(kinds, text, bool(told["bare"]))
    frames = tuple(
        traceback.FrameSummary(
            str(file), int(line or 0), str(name), lookup_line=False, line=str(at)
        )
        for file, line, name, at in told["frames"]
    )
    error.elsewhere = Elsewhere(  # type: ignore[attr-defined]
        frames, str(told["near"]), bool(told["kernel"]), told["call"]
    )
    return error


def _built(kinds: list[str], text: str, is_bare: bool) -> BaseException:
    """Make an error of the nearest kind that Python knows, under its own name."""
    for kind in kinds:
        base = getattr(builtins, kind, None)
        if isinstance(base, type) and issubclass(base, BaseException):
            break
    else:
        base, kind = RuntimeError, ""
    made = base if kind == kinds[0] else type(kinds[0], (base,), {})
    words = () if is_bare else (text,)
    try:
        error = made(*words)
        if str(error) == text or is_bare:
            return error
    except Exception:  # a kind that asks for other arguments
        pass
    return type(kinds[0], (made,), {"__init__": _quiet, "__str__": lambda self: text})(*words)


def _quiet(self: BaseException, *words: Any) -> None:
    self.args = words


def _text(error: BaseException) -> str:
    try:
        return str.__str__(str(error))[:_TEXT]
    except Exception:  # a learner's exception may have a broken __str__
        return ""
