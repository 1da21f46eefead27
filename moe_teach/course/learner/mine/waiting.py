"""Answers on their way to becoming parts: written down, and not yet proved in a fresh process.

A text waits in the folder `mine/waiting`, so that neither a kernel that is killed nor a machine
that is switched off loses it; beside it stands why it was turned down, if it was.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from moe_teach.course.learner.mine import parts
from moe_teach.files import write_atomically
from moe_teach.judging.exercise import Exercise

PATIENCE = 120.0  # seconds for a proof: Python and torch start, and the check runs
_RUNNING: dict[Path, subprocess.Popen[bytes]] = {}  # the proofs that this kernel has started


def file_of(exercise: Exercise) -> Path:
    """Return where the text of an exercise waits."""
    part = parts.file_of(exercise)
    return part.parent / "waiting" / part.name


def offer(exercise: Exercise, text: str) -> None:
    """Write down a text that wants to become a part."""
    file = file_of(exercise)
    write_atomically(file, text.encode("utf-8"))
    _verdict(file).unlink(missing_ok=True)


def turn_down(exercise: Exercise, text: str, why: str) -> None:
    """Record why a text did not become a part, unless another one waits by now."""
    file = file_of(exercise)
    if _content(file) == text:
        write_atomically(_verdict(file), why.encode("utf-8"))


def accept(exercise: Exercise, text: str) -> None:
    """Make a proved text the part, unless another one waits by now."""
    file = file_of(exercise)
    if _content(file) == text:
        parts.publish(exercise, text)
        file.unlink(missing_ok=True)
        _verdict(file).unlink(missing_ok=True)


def drop(exercise: Exercise) -> None:
    """Forget what waits: the part itself is what is wanted."""
    for file in (file_of(exercise), _verdict(file_of(exercise))):
        file.unlink(missing_ok=True)


def find(exercise: Exercise) -> parts.Part | None:
    """Read the text that waits and that nobody has judged, if there is one."""
    file = file_of(exercise)
    text = _content(file)
    return parts.Part(file, text) if text is not None and not refusal(exercise) else None


def see_to(exercise: Exercise) -> None:
    """Start the proof of what waits, unless this kernel has done so."""
    if file_of(exercise) not in _RUNNING:
        prove_in_background(exercise)


def is_on_its_way(exercise: Exercise, body: str) -> bool:
    """Tell whether this kernel is having the same text proved right now."""
    part, running = find(exercise), _RUNNING.get(file_of(exercise))
    is_running = running is not None and running.poll() is None
    return is_running and part is not None and part.answers_as(body)


def refusal(exercise: Exercise) -> str:
    """Say why the latest text was turned down; empty if it was not."""
    return _content(_verdict(file_of(exercise))) or ""


def refusals() -> dict[str, str]:
    """List why texts were turned down, by the id of their exercise."""
    verdicts = sorted((parts.folder() / "waiting").glob("*.txt"))
    return {".".join(v.stem[1:].split("_")[:2]): _content(v) or "" for v in verdicts}


def prove_in_background(exercise: Exercise) -> None:
    """Start the proof of what waits, in a process that outlives this one."""
    quiet = subprocess.DEVNULL
    _RUNNING[file_of(exercise)] = subprocess.Popen(
        command(exercise.id), env=environment(), stdout=quiet, stderr=quiet, start_new_session=True
    )


def settle(exercise: Exercise) -> None:
    """See that what waits is judged: let a proof end that is under way, or run one now."""
    running = _RUNNING.pop(file_of(exercise), None)
    if running is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(PATIENCE)
    part = find(exercise)
    if part is None:
        return
    try:
        done = subprocess.run(
            command(exercise.id), env=environment(), capture_output=True, timeout=PATIENCE
        )
        why = f"the fresh process ended with status {done.returncode}."
    except subprocess.TimeoutExpired:
        why = f"the proof took more than {PATIENCE:g} seconds."
    if find(exercise) is not None:
        turn_down(exercise, part.text, why)


def command(*words: str) -> list[str]:
    """Write the command that starts a fresh process; `-P`: nothing of this folder is found."""
    return [sys.executable, "-P", "-m", "moe_teach.course.learner.mine.proving", *words]


def environment() -> dict[str, str]:
    """Let the process find this course, also where it was never installed."""
    import moe_teach

    here = str(Path(str(moe_teach.__file__)).parents[1])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}


def _verdict(file: Path) -> Path:
    return file.with_suffix(".txt")


def _content(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
