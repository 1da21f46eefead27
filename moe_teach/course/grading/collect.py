"""Turns what was handed in (notebooks, folders, archives) into submissions, one for each notebook.

Nobody vanishes: whoever handed in something that cannot be read becomes a submission without
content, whose first flag says why.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from moe_teach.course.grading import naming
from moe_teach.course.grading.archives import File, files_of, is_archive_name, printable
from moe_teach.course.grading.record import Submission

UNREADABLE = "Nothing to grade: "
_PART = re.compile(r"^e(\d+)_(\d+)_\w+\.py$")
_RECORD = re.compile(r"^# moe-teach: (\{.*\})[ \t]*$", re.M)
_WEEKS = re.compile(r"(?:week|chapter|sheet|assignment|task|hw|ex)?[-_ ]?\d", re.I)
_TOP_FOLDERS = {"submissions", "submitted", "handed_in"}


def collect(paths: Iterable[Path]) -> list[Submission]:
    """Give all submissions under these paths, sorted by student and name.

    Raises:
        FileNotFoundError: in a sentence, if there is nothing at a path.
    """
    hands: dict[tuple[str, str], list[File]] = {}
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(
                f"There is nothing at {path}. Name a notebook, a folder or a zip archive that "
                "students handed in."
            )
        for student, file in _by_student(path):
            hands.setdefault((student, _container(path)), []).append(file)
    found = [
        submission
        for (student, _), files in _told_apart(hands).items()
        for submission in _of_student(student, files)
    ]
    unique = {(one.student, one.sha256, one.flags): one for one in found}
    return sorted(unique.values(), key=lambda one: (one.student, one.name, one.sha256))


def _by_student(path: Path) -> Iterable[tuple[str, File]]:
    # Of a single notebook the folder's name is the better guess: everybody's is called alike.
    resolved = path.resolve()
    is_alone = path.is_file() and not is_archive_name(path.name)
    root = resolved.parent.name if is_alone else resolved.stem if path.is_file() else resolved.name
    files = _without_top(list(files_of(path)), root)
    people: dict[str, str] = {}
    for file in files:
        if file.name == "submission_metadata.yml" and file.content:
            people |= naming.gradescope_people(file.content.decode("utf-8", "replace"))
    is_pack = any(file.where == ("manifest.json",) or file.where[0] == "mine" for file in files)
    for file in files:
        where = (root,) if is_pack else file.where  # one learner's own archive, made by `pack`
        if is_pack or not _is_the_platforms(file):
            yield naming.student_of(where, root, people), file


def _is_the_platforms(file: File) -> bool:
    """Tell a list or a letter that lies beside all hand-ins from a student's file."""
    is_read = file.refused or file.name.lower().endswith((".ipynb", ".py"))
    is_beside_all = len(file.where) == 1 and not is_read and not naming.is_platforms_name(file.name)
    return is_beside_all or file.name == "submission_metadata.yml"


def _without_top(files: list[File], root: str) -> list[File]:
    """Take off the folders that hold everything, where they are not a student's."""
    while True:
        tops = {file.where[0] for file in files if len(file.where) > 1}
        if len(tops) != 1 or any(len(file.where) == 1 for file in files):
            return files
        (top,) = tops
        people = {file.where[1] for file in files if len(file.where) > 2}
        people = {name for name in people if not _WEEKS.match(name)}
        if top.lower() not in {root.lower(), *_TOP_FOLDERS} and len(people) < 2:
            return files
        files = [replace(file, where=file.where[1:]) for file in files]


def _container(path: Path) -> str:
    """Say in which place a student's files lie together."""
    is_alone = path.is_file() and not is_archive_name(path.name)
    return str(path.resolve().parent if is_alone else path.resolve())


def _told_apart(hands: dict[tuple[str, str], list[File]]) -> dict[tuple[str, str], list[File]]:
    """Keep two people of one name apart: files of one name and two contents from two places."""
    places: dict[str, list[str]] = {}
    for student, place in hands:
        places.setdefault(student, []).append(place)
    apart: dict[tuple[str, str], list[File]] = {}
    for (student, place), files in hands.items():
        others = [f for p in places[student] if p != place for f in hands[student, p]]
        names = {file.name: file.content for file in files if file.content is not None}
        if any(names.get(f.name, f.content) != f.content for f in others):
            remark = f"Another hand-in carries the name {student}: told apart by the folder."
            files = [replace(file, remark=file.remark or remark) for file in files]
            student = f"{student} ({printable(Path(place).stem)})"
        apart.setdefault((student, place), []).extend(files)
    return apart


def _of_student(student: str, files: list[File]) -> list[Submission]:
    flags = [f"{file.shown}: {file.refused}" for file in files if file.refused]
    flags += [f"{file.shown}: {_shadows(file.name)}" for file in files if _shadows(file.name)]
    read = [file for file in files if file.content is not None]
    chosen = [file for file in read if file.name.lower().endswith(".ipynb")]
    chosen = chosen or _own_parts(read)
    chosen = chosen or [f for f in read if f.name.endswith(".py") and not _shadows(f.name)]
    if chosen:
        return [_submission(student, file, flags) for file in chosen]
    listed = ", ".join(sorted(printable(file.name) for file in files)[:5])
    why = files[0].refused or (flags or [f"there is no notebook among {listed}."])[0]
    return [_made(student, files[0].shown, b"", (UNREADABLE + why, *flags))]


def _submission(student: str, file: File, flags: list[str]) -> Submission:
    told = [f"{file.shown}: {file.remark}"] if file.remark else []
    return _made(student, file.shown, file.content or b"", (*told, *flags))


def _made(student: str, name: str, content: bytes, flags: tuple[str, ...]) -> Submission:
    return Submission(
        student=student,
        name=name,
        content=content,
        sha256=hashlib.sha256(content).hexdigest(),
        flags=flags,
    )


def _shadows(name: str) -> str:
    """Say that a file would stand in for a module, were it beside the answers when they run."""
    stem, dot, ending = name.partition(".")
    known = {*sys.stdlib_module_names, "torch", "numpy", "moe_teach", "triton", "sitecustomize"}
    if dot and ending == "py" and stem in known:
        return f"It has the name of the module {stem}; it is ignored."
    return ""


def _own_parts(files: list[File]) -> list[File]:
    """Make a notebook for each chapter of the modules of somebody's folder `mine`."""
    cells: dict[int, dict[str, str]] = {}
    for file in files:
        if not (found := _PART.match(file.name)) or "earlier" in file.where:
            continue
        text = (file.content or b"").decode("utf-8", "replace")
        item_id = _said_id(text) or f"{int(found[1])}.{int(found[2])}"
        if item_id.partition(".")[0].isdecimal():
            cells.setdefault(int(item_id.partition(".")[0]), {})[item_id] = text
    return [_as_notebook(chapter, parts) for chapter, parts in sorted(cells.items())]


def _said_id(text: str) -> str:
    try:
        said = json.loads(_RECORD.search(text)[1])["exercise"]  # type: ignore[index]
    except (TypeError, ValueError, LookupError):
        return ""
    return said if isinstance(said, str) else ""


def _as_notebook(chapter: int, parts: dict[str, str]) -> File:
    cells = [
        {
            "cell_type": "code",
            "metadata": {"moe_teach": {"exercise": item_id, "role": "solution"}},
            "source": text,
        }
        for item_id, text in sorted(parts.items())
    ]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    where = ("mine", f"chapter {chapter:02d} of the folder mine")
    return File(where, json.dumps(notebook).encode("utf-8"))
