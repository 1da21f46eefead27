"""The reader's own parts: one module per exercise, in the folder `mine` beside their progress.

A part is plain Python: it can be read, edited by hand and imported without a notebook. With the
folder above it on Python's path, `from mine.e3_1_topk_route import topk_route` finds it anywhere.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Any

from moe_teach.files import home
from moe_teach.judging.exercise import Exercise


class BrokenPart(Exception):
    """A part cannot be used; the message says in a sentence why."""


def folder() -> Path:
    """Return the folder of the reader's own parts."""
    return home() / "mine"


def file_of(exercise: Exercise) -> Path:
    """Return where the part of an exercise is or would be."""
    return folder() / f"e{exercise.id.replace('.', '_')}_{exercise.name.lower()}.py"


def load(exercise: Exercise, file: Path) -> Any:
    """Run a part's file as a module and give what answers the exercise.

    The module stands in `sys.modules` under the name it has for `import`, so that dataclasses,
    pickles and Triton find their way back to it.

    Raises:
        BrokenPart: if the file cannot be run or does not define the answer.
    """
    name = f"mine.{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise BrokenPart(f"{file.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as problem:
        del sys.modules[name]
        if isinstance(problem, KeyboardInterrupt):
            raise
        raise BrokenPart(f"it raised {type(problem).__name__}: {problem}") from problem
    if not hasattr(module, exercise.name):
        raise BrokenPart(f"it defines no `{exercise.name}`")
    return getattr(module, exercise.name)
