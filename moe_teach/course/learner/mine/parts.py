"""The reader's own parts: one module per exercise, in the folder `mine` beside their progress.

A part is plain Python: it can be read, edited by hand and imported without a notebook. With the
folder above it on Python's path, `from mine.e3_1_topk_route import topk_route` finds it anywhere.
Its first comment is its record; nothing else is kept about it, so that the folder can be copied.
"""

import hashlib
import importlib.util
import json
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from moe_teach.files import home, taking_turns, write_atomically
from moe_teach.judging.exercise import Exercise
from moe_teach.surroundings import version_of

_RECORD = re.compile(r"^# moe-teach: (\{.*\})[ \t]*\n", re.M)
_DOOR = '''"""What you wrote in the course on Mixture-of-Experts: one module for each exercise.

`moe-teach mine` lists them. Put the folder that holds this one on Python's path to import them:
`sys.path.append(...)`, then for example `from mine.e3_1_topk_route import topk_route`.
"""
'''


class BrokenPart(Exception):
    """A part cannot be used; the message says why, as the end of a sentence."""


@dataclass(frozen=True)
class Part:
    """One file: its text, and the record in it of what it answers."""

    file: Path
    text: str

    @cached_property
    def record(self) -> dict[str, Any]:
        """What the part says of itself; empty where the reader took that line out."""
        found = _RECORD.search(self.text)
        try:
            return dict(json.loads(found[1])) if found else {}
        except ValueError:
            return {}

    @property
    def is_edited(self) -> bool:
        """Tell whether anything but the header has changed since it was written."""
        return self.record.get("text") != _digest(_RECORD.split(self.text)[-1])

    def answers_as(self, body: str) -> bool:
        """Tell whether this part was carried over from the very same text."""
        return self.record.get("text") == _digest(body)

    def is_proved_for(self, exercise: Exercise) -> bool:
        """Tell whether this text has passed the exercise as it stands today."""
        return not self.is_edited and self.record.get("version") == exercise.version


def folder() -> Path:
    """Return the folder of the reader's own parts."""
    return home() / "mine"


def file_of(exercise: Exercise) -> Path:
    """Return where the part of an exercise is or would be."""
    return folder() / f"e{exercise.id.replace('.', '_')}_{exercise.name.lower()}.py"


def read(exercise: Exercise) -> Part:
    """Read a part.

    Raises:
        FileNotFoundError: if there is none.
        BrokenPart: if it is not a text.
    """
    file = file_of(exercise)
    try:
        return Part(file, file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as problem:
        raise BrokenPart(f"it is not a text in UTF-8: {problem}") from problem


def find(exercise: Exercise) -> Part | None:
    """Read a part if there is one that can be read."""
    try:
        return read(exercise)
    except (OSError, BrokenPart):
        return None


def stays(exercise: Exercise) -> str:
    """Say that a part outlives the record of its exercise; empty if there is none."""
    part = find(exercise)
    if part is None:
        return ""
    return f" Your own answer stays in {part.file}; delete that file to be without it."


def composed(exercise: Exercise, body: str, called: str) -> str:
    """Write the whole text of a part: a header for people, a record, and the body."""
    now = datetime.now(UTC)
    record = {
        "exercise": exercise.id,
        "version": exercise.version,
        "answer": called,
        "on": now.isoformat(timespec="seconds"),
        "course": version_of("moe-teach", "from a folder"),
        "text": _digest(body),
    }
    return (
        f'"""Exercise {exercise.id}, {exercise.title}: `{called}` is yours.\n\n'
        f"Carried over on {now.date()} when it passed version {exercise.version} of the exercise, "
        "and passed again in a\nfresh process. Edit it as you like: "
        f'`mine("{exercise.id}")` checks an edited part before it gives it out.\n"""\n\n'
        f"# moe-teach: {json.dumps(record)}\n\n{body}"
    )


def publish(exercise: Exercise, text: str) -> None:
    """Put a proved text in its place; what stood there is kept in the folder `earlier`."""
    file = file_of(exercise)
    with taking_turns("mine"):
        if not (door := folder() / "__init__.py").exists():
            write_atomically(door, _DOOR.encode())
        if file.exists():
            keep_aside(file.stem, file.read_bytes())
        write_atomically(file, text.encode("utf-8"))


def load(exercise: Exercise, file: Path) -> Any:
    """Run a part's file as a module and give what answers the exercise.

    The module stands in `sys.modules` under the name it has for `import`, so that dataclasses,
    pickles and Triton find their way back to it.

    Raises:
        BrokenPart: if the file cannot be run or does not define the answer.
    """
    called = Part(file, file.read_text(encoding="utf-8")).record.get("answer", exercise.name)
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
    if not hasattr(module, called):
        raise BrokenPart(f"it defines no `{called}`")
    return getattr(module, called)


def keep_aside(stem: str, content: bytes) -> Path:
    """Keep a text in the folder `earlier` under the next free number, once; say where."""
    earlier = folder() / "earlier"
    number = 1
    while (kept := earlier / f"{stem}_{number}.py").exists():
        if kept.read_bytes() == content:
            return kept
        number += 1
    write_atomically(kept, content)
    return kept


def _digest(body: str) -> str:
    return hashlib.sha256(body.strip().encode("utf-8")).hexdigest()[:16]
