"""The page of what is yours: whose answer `mine` gives to each exercise, since when, and where."""

import ast
from dataclasses import dataclass

from moe_teach.course import registry
from moe_teach.course.learner.mine import parts, waiting
from moe_teach.course.learner.notes import Note
from moe_teach.judging.exercise import Exercise

_HEADER = ("exercise", "answer", "whose", "since", "file")


@dataclass(frozen=True)
class Entry:
    """One exercise: whose answer there is, the day it was carried over, its file; a remark."""

    exercise: Exercise
    whose: str
    since: str = "-"
    file: str = "-"
    remark: str = ""

    @property
    def is_yours(self) -> bool:
        """Tell whether `mine` would give the reader's own."""
        return self.whose.startswith("yours")


def entries() -> list[Entry]:
    """List all exercises of the course; no part is run for it."""
    items = (item for item in registry.every_item() if isinstance(item, Exercise))
    return [_entry(exercise) for exercise in items]


def overview() -> Note:
    """Show whose answer there is to each exercise."""
    try:
        listed, problem = entries(), ""
    except OSError as error:
        listed, problem = [], f"(Your parts cannot be read: {error.strerror or error}.)"
    yours = sum(entry.is_yours for entry in listed)
    text = [
        f"{yours} of {len(listed)} answers are yours. Each is a module that you may read, edit and "
        'take along; `mine("3.1")` gives the one of exercise 3.1.',
        _where(),
        *(f"{entry.exercise.id}: {entry.remark}" for entry in listed if entry.remark),
        problem,
    ]
    rows = tuple(_row(entry) for entry in listed)
    return Note("What is yours", "\n\n".join(filter(None, text)), header=_HEADER, rows=rows)


def _where() -> str:
    try:
        folder = parts.folder()
    except OSError as problem:
        return f"({problem})"
    return (
        f"They are in {folder}. Without the course: "
        f"`import sys; sys.path.append({str(folder.parent)!r})`, then `from mine.… import …`."
    )


def _row(entry: Entry) -> tuple[str, ...]:
    exercise = entry.exercise
    return (exercise.id, exercise.name, entry.whose, entry.since, entry.file)


def _entry(exercise: Exercise) -> Entry:
    remark = ""
    if refusal := waiting.refusal(exercise):
        remark = f"your latest answer could not be carried over: {refusal}"
    elif waiting.find(exercise):
        remark = "your latest answer is being proved in a fresh process."
    try:
        part = parts.read(exercise)
    except (FileNotFoundError, NotADirectoryError):
        return Entry(exercise, "the course's", remark=remark)
    except (OSError, parts.BrokenPart) as problem:
        return Entry(exercise, "broken", file=parts.file_of(exercise).name, remark=f"{problem}.")
    since = str(part.record.get("on", "-"))[:10]
    if why := _fault(exercise, part):
        return Entry(exercise, "broken", since, part.file.name, why)
    return Entry(exercise, _whose(exercise, part), since, part.file.name, remark)


def _whose(exercise: Exercise, part: parts.Part) -> str:
    if part.record.get("version", exercise.version) != exercise.version:
        return "yours, out of date"
    return "yours, edited by hand" if part.is_edited else "yours"


def _fault(exercise: Exercise, part: parts.Part) -> str:
    """Say what keeps a part from being run, as far as reading it tells."""
    try:
        tree = ast.parse(part.text)
    except (SyntaxError, ValueError) as problem:
        return f"{part.file.name} is not Python ({problem})."
    called = part.record.get("answer", exercise.name)
    names = {
        getattr(node, "id", getattr(node, "name", None))
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    }
    imported = {
        a.asname or a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names
    }
    return "" if called in names | imported else f"{part.file.name} defines no `{called}`."
