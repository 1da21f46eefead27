"""Writes a hand-out: exercises, perhaps lessons, a page for students, and a manifest with hashes.

What somebody has changed in it since is left alone, and the new form comes beside it. Solutions and
the teacher's own probes are never in it.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from moe_teach.course import registry
from moe_teach.course.authoring import pages
from moe_teach.course.handout.notebooks import for_students
from moe_teach.course.handout.page import students_page
from moe_teach.course.learner.packing.form import digest
from moe_teach.files import write_atomically
from moe_teach.surroundings import version_of

FORMAT, VERSION = "moe-teach-handout", 1
MANIFEST = "manifest.json"


class NoPlace(LookupError):
    """The hand-out cannot be written where it should go; the message says why."""


def release(
    root: Path,
    folder: Path,
    chapters: Sequence[int] = (),
    *,
    repository: str = "",
    lessons: bool = False,
    title: str = "Mixture of Experts",
) -> list[str]:
    """Write or renew a hand-out of some chapters, or of all; give a sentence for each event.

    `repository` is where the hand-out will lie on GitHub, as owner/name.

    Raises:
        LookupError: in a sentence, if a chapter does not exist, a notebook is not fit to be handed
            out, or the folder is no place for a hand-out.
    """
    _demand_place(root, folder)
    before = _before(folder)
    files = _files(root, list(chapters) or list(registry.chapters()), repository, lessons, title)
    said, count = [], 0
    for name, content in files.items():
        is_new, told = _renewed(folder / name, content, before.get(name, ""))
        count += is_new
        said += told
    said += [
        f"{name} is of an earlier release and not of this one: delete it if students should not "
        "have it any more."
        for name in sorted(set(before) - set(files))
        if (folder / name).exists()
    ]
    kept = {n: h for n, h in before.items() if n not in files and (folder / n).exists()}
    _list_files(folder, kept | {name: digest(content) for name, content in files.items()})
    return [
        *said,
        f"{len(files)} files are handed out in {folder}, {count} of them new or renewed.",
    ]


def _list_files(folder: Path, hashes: dict[str, str]) -> None:
    facts = {
        "format": FORMAT,
        "version": VERSION,
        "course": version_of("moe-teach", "from a folder"),
        "files": dict(sorted(hashes.items())),
    }
    write_atomically(folder / MANIFEST, (json.dumps(facts, indent=1) + "\n").encode())


def _files(
    root: Path, chapters: list[int], repository: str, lessons: bool, title: str
) -> dict[str, bytes]:
    for chapter in chapters:
        registry.room(chapter)
    slugs = [registry.chapters()[chapter] for chapter in sorted(set(chapters))]
    found = [root / "exercises" / f"{slug}.ipynb" for slug in slugs]
    if lessons:
        numbers = {slug[:2] for slug in slugs}
        pages_of = sorted((root / "notebooks").glob("*.ipynb"))
        found += [path for path in pages_of if path.name[:2] in numbers]
    given = {f"{path.parent.name}/{path.name}" for path in found}
    url = pages.repository_url(root)
    files = {
        f"{path.parent.name}/{path.name}": for_students(path, given, url, repository)
        for path in found
    }
    files["README.md"] = students_page(title, slugs, url, repository, given).encode("utf-8")
    files["requirements.txt"] = (  # what Binder installs
        f"moe-teach[lab,kernels] @ git+{url}\n".encode()
    )
    return files


def _renewed(file: Path, content: bytes, given_before: str) -> tuple[bool, list[str]]:
    """Bring one file up to date; say whether it was written, and what became of a changed one."""
    if not file.exists():
        write_atomically(file, content)
        return True, []
    held = digest(file.read_bytes())
    if held == digest(content):
        return False, []
    if held == given_before:
        write_atomically(file, content)
        return True, []
    beside = file.with_name(f"{file.stem}.new{file.suffix}")
    number = 1
    while beside.exists() and beside.read_bytes() != content:
        number += 1
        beside = file.with_name(f"{file.stem}.new-{number}{file.suffix}")
    if not beside.exists():
        write_atomically(beside, content)
    return False, [f"{file.name} was changed by somebody and stays; {beside.name} is the new form."]


def _demand_place(root: Path, folder: Path) -> None:
    place, course = folder.resolve(), root.resolve()
    shelves = [course / name for name in ("notebooks", "exercises", "solutions", "moe_teach")]
    if place == course or place in course.parents or any(place.is_relative_to(s) for s in shelves):
        raise NoPlace(f"{folder} holds the course itself. Name a folder of its own for the class.")
    if folder.exists() and not folder.is_dir():
        raise NoPlace(f"{folder} is a file. Name a folder for the hand-out.")
    slugs = registry.chapters().values()
    probes = [f"{slug}.py" for slug in slugs if (folder / f"{slug}.py").exists()]
    if probes:
        raise NoPlace(
            f"{folder} holds {probes[0]}, which is called like a teacher's probes, and students "
            "would get it. Name another folder, or move the file away."
        )


def _before(folder: Path) -> dict[str, str]:
    """Read what an earlier release has written here."""
    manifest = folder / MANIFEST
    if not manifest.exists():
        return {}
    try:
        facts = json.loads(manifest.read_bytes())
        if facts["format"] != FORMAT:
            raise ValueError
        return {str(name): str(value) for name, value in facts["files"].items()}
    except (ValueError, TypeError, LookupError, AttributeError) as problem:
        raise NoPlace(
            f"{manifest} is there and is not a hand-out's. Name another folder, or move it away."
        ) from problem
