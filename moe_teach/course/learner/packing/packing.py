"""Packs what a learner has made into one file, and warns of notebooks that were not saved."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from moe_teach.course import registry
from moe_teach.course.learner import desk
from moe_teach.course.learner import progress_file as ledger
from moe_teach.course.learner.mine import parts
from moe_teach.course.learner.packing import form
from moe_teach.course.learner.packing.saved_answers import (
    definitions_in,
    exercises_of,
    is_untouched,
    warning,
)
from moe_teach.files import course_folder
from moe_teach.text_table import counted


def pack(
    chapters: Sequence[int] = (), file: Path | None = None, notebooks: Path | None = None
) -> tuple[Path, list[str]]:
    """Write a pack of some chapters, or of all; give its path and what there is to say.

    Raises:
        LookupError: in a sentence, if there is nothing to pack, a chapter does not exist, or
            something else than a pack stands where it should go.
    """
    wanted = list(chapters) or list(registry.chapters())
    for chapter in wanted:
        registry.room(chapter)
    progress = ledger.read()
    files, said = _own_files(wanted if chapters else None)
    for chapter in wanted:
        found, told = _notebook(chapter, progress, notebooks, is_named=bool(chapters))
        said += told
        if found is not None:
            files[f"exercises/{found.name}"] = found.read_bytes()
    kept = {i: r for i, r in progress.records.items() if int(i.partition(".")[0]) in wanted}
    if not files and not kept:
        raise LookupError(
            "There is nothing to pack: no notebook with an answer was found here, none of your "
            "answers has been carried over, and no check has been run. Go to the folder of your "
            "notebooks, or name it with --notebooks."
        )
    files[form.PROGRESS] = ledger.to_json(ledger.Progress(kept)).encode()
    target = _place(file)
    form.write(target, files)
    return target, [*said, _summary(target, files, len(kept))]


def find_notebook(chapter: int, folder: Path | None) -> Path | None:
    """Find the notebook that somebody writes in: the first with an answer, else the first."""
    name = f"{registry.chapters()[chapter]}.ipynb"
    found = [p for p in dict.fromkeys(f / name for f in _folders(folder)) if p.is_file()]
    return next((p for p in found if _has_answers(chapter, p)), found[0] if found else None)


def _folders(folder: Path | None) -> list[Path]:
    if folder is not None:
        return [folder, folder / "exercises"]
    here, laid_out = Path.cwd(), desk.place()
    known = [laid_out / "exercises"] if laid_out else []
    return [here, here / "exercises", *known, course_folder() / "exercises"]


def _has_answers(chapter: int, notebook: Path) -> bool:
    try:
        saved = definitions_in(notebook)
    except (OSError, ValueError):
        return True  # it is to be packed as it is, and said so
    return not all(is_untouched(exercise, saved) for exercise in exercises_of(chapter))


def _notebook(
    chapter: int, progress: ledger.Progress, folder: Path | None, *, is_named: bool
) -> tuple[Path | None, list[str]]:
    """Give a chapter's notebook if it belongs into the pack, and the warnings about it."""
    notebook = find_notebook(chapter, folder)
    if notebook is None:
        slug = registry.chapters()[chapter]
        told = f"{slug}.ipynb was not found: go to its folder, or name it with --notebooks."
        return None, [told] if is_named else []
    try:
        saved = definitions_in(notebook)
    except ValueError as problem:
        return notebook, [f"{problem} It is packed as it is."]
    exercises = exercises_of(chapter)
    about = [warning(e, notebook, saved, progress.of(e.id)) for e in exercises]
    said = [text for text in about if text]
    if all(is_untouched(exercise, saved) for exercise in exercises):
        if not is_named:
            return None, said
        said = said or [f"{notebook} holds no answer yet, and is packed as it is."]
    return notebook, said


def _own_files(wanted: Sequence[int] | None) -> tuple[dict[str, bytes], list[str]]:
    """Read the learner's own package, or of it what answers some chapters."""
    folder = parts.folder()
    stems = None
    if wanted is not None:
        stems = tuple(parts.file_of(e).stem for chapter in wanted for e in exercises_of(chapter))
    files, said = {}, []
    for path in sorted(folder.rglob("*")):
        name = "mine/" + path.relative_to(folder).as_posix()
        if not path.is_file() or "__pycache__" in path.parts or name == "mine/__init__.py":
            continue  # the package's door is made anew wherever a part arrives
        if stems is not None and not path.stem.startswith(stems):
            continue
        if form.is_allowed(name):
            files[name] = path.read_bytes()
        else:
            said.append(f"{path} is left out: a pack carries modules and their notes only.")
    return files, said


def _place(file: Path | None) -> Path:
    """Say where the pack goes; only an earlier pack is replaced, and only if it was named."""
    if file is not None:
        if file.exists() and not form.is_pack(file):
            raise LookupError(f"{file} is there already and is no pack: name another file.")
        return file
    day = datetime.now(UTC).date().isoformat()
    number, place = 1, Path.cwd() / f"moe-pack-{day}.zip"
    while place.exists():
        number += 1
        place = place.with_name(f"moe-pack-{day}-{number}.zip")
    return place


def _summary(target: Path, files: dict[str, bytes], n_records: int) -> str:
    notebooks = sum(name.startswith("exercises/") for name in files)
    own = sum(name.startswith("mine/e") for name in files)
    counts = f"{counted(notebooks, 'notebook')}, {own} of your parts and"
    return f"Packed {counts} {counted(n_records, 'record')} in {target}."
