"""Unpacks what another machine has packed: nothing that is here is lost, the better state wins.

It can be done twice, or once more after a machine was switched off in the middle of it.
"""

import re
from pathlib import Path

from moe_teach.course import registry
from moe_teach.course.learner import desk
from moe_teach.course.learner import progress_file as ledger
from moe_teach.course.learner.mine import parts
from moe_teach.course.learner.packing import form
from moe_teach.course.learner.packing.joining import joined
from moe_teach.files import course_folder, taking_turns, write_atomically
from moe_teach.text_table import counted

_NUMBER = re.compile(r"_\d+$")


def unpack(file: Path, folder: Path | None = None) -> list[str]:
    """Bring in what a pack holds, notebooks into `folder`; give a sentence for each event.

    Raises:
        form.BrokenPack: if the file is not a whole pack; nothing has changed then.
        progress_file.NewerCourse: if its progress, or what is here, needs a newer course.
    """
    files = form.read(file)
    arriving = _progress_in(file, files.pop(form.PROGRESS, None))
    target = folder or notebooks_here()
    said = []
    for name, content in sorted(files.items()):
        shelf, _, rest = name.partition("/")
        if shelf == "mine":
            said += _part(rest, content)
        else:
            said += _notebook(target / rest, content)
    with taking_turns("progress"):
        here = ledger.read()
        both = joined(here, arriving)
        if both != here:
            ledger.save(both)
    changed = sum(both.of(i) != here.of(i) for i in both.records)
    records = counted(changed, "record")
    return [*said, f"Progress: {records} better than before, {len(both.records)} in all."]


def notebooks_here() -> Path:
    """Say where unpacked notebooks go if nobody names a folder."""
    return (desk.place() or Path.cwd()) / "exercises"


def _progress_in(file: Path, text: bytes | None) -> ledger.Progress:
    if text is None:
        return ledger.Progress()
    try:
        return ledger.from_json(text)
    except (ValueError, TypeError, LookupError, AttributeError) as problem:
        raise form.BrokenPack(
            f"{file} holds a record of progress that cannot be read. Nothing was unpacked."
        ) from problem


def _notebook(own: Path, content: bytes) -> list[str]:
    """Bring a notebook in: in its place if nobody wrote there, else beside what stands there."""
    if not own.exists():
        write_atomically(own, content)
        return [f"{own.name} is new in {own.parent}."]
    place = own
    number = 1
    while place.exists():
        if place.read_bytes() == content:
            return []
        if place == own and _is_as_given(own):
            write_atomically(own, content)
            return [f"{own.name} takes the place of the one without answers."]
        ending = "" if number == 1 else f"-{number}"
        place = own.with_name(f"{own.stem}.unpacked{ending}.ipynb")
        number += 1
    write_atomically(place, content)
    return [f"{own.name} stays as you have it here; what came from the pack is {place.name}."]


def _is_as_given(notebook: Path) -> bool:
    """Tell whether a notebook's cells are still those of the course."""
    given = course_folder() / "exercises" / notebook.name
    held = desk.cells_digest(notebook)
    return held is not None and given.is_file() and held == desk.cells_digest(given)


def _part(name: str, content: bytes) -> list[str]:
    """Bring a file of the learner's own package in; of two texts the better proved one is used."""
    own = parts.folder() / name
    with taking_turns("mine"):
        if own.exists() and own.read_bytes() == content:
            return []
        if not own.exists():
            write_atomically(own, content)
            return [] if "/" in name else [f"{name} is new among your parts."]
        if "/" in name or not name.endswith(".py"):
            parts.keep_aside(_NUMBER.sub("", own.stem), content)
            return []
        here = parts.Part(own, own.read_text("utf-8", errors="replace"))
        there = parts.Part(own, content.decode("utf-8", errors="replace"))
        if _is_better(there, here):
            kept = parts.keep_aside(own.stem, own.read_bytes())
            write_atomically(own, content)
            used = "the one from the pack is used"
        else:
            kept = parts.keep_aside(own.stem, content)
            used = "the one that was here stays"
    return [f"{name} differs: {used}, and the other is kept as earlier/{kept.name}."]


def _is_better(there: parts.Part, here: parts.Part) -> bool:
    """Tell whether an arriving part should be used; what was edited by hand here always stays."""
    return not here.is_edited and _worth(there) > _worth(here)


def _worth(part: parts.Part) -> tuple[bool, str]:
    try:
        exercise = registry.find_exercise(str(part.record.get("exercise", "")))
    except registry.UnknownId:
        return False, ""
    return part.is_proved_for(exercise), str(part.record.get("on", ""))
