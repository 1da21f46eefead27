"""Tells whose a file is, from the names that learning platforms and people give to files.

A student's name in the gradebook carries the platform's number in brackets, `Anna Berg [12345]`,
so that two people of one name stay two, and grades find their way back.
"""

import re
import unicodedata
from collections.abc import Mapping

from moe_teach.course import registry
from moe_teach.course.grading.archives import printable

_MOODLE = re.compile(r"^(.+?)_(\d+)_assignsubmission_(?:file|onlinetext)_?")
_CANVAS = re.compile(r"^([^\W\d_][\w\-]*?)_(?:LATE_)?(\d+)_(\d+)_(.+)$")
_GRADESCOPE = re.compile(r"^submission_(\d+)$")
_COPIES = re.compile(
    r"(?:[ _-]*\(\d+\)|[ _-]copy\d*|-checkpoint|\.(?:new|unpacked)|-\d{1,2})+$", re.I
)
_KEY = re.compile(r"^(.*) \[([^\]]+)\]$")
_DIRECTIONS = dict.fromkeys(
    map(ord, "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
)


def student_of(where: tuple[str, ...], root: str, people: Mapping[str, str]) -> str:
    """Give the student's name for a file that lies at `where` in a hand-in called `root`.

    `people` maps Gradescope's folders to names, as its own list has them.
    """
    for part in where:
        if found := _MOODLE.match(part):
            return key(found[1], found[2])
        if part in people:
            return people[part]
        if found := _GRADESCOPE.match(part):
            return key(part, found[1])
        if found := _CANVAS.match(part):
            return key(found[1], found[2])
    if len(where) > 1:
        return key(where[0])
    return key(_without_chapter(where[0]) or root)


def key(name: str, number: str = "") -> str:
    """Write a student's name as the gradebook keeps it."""
    name = unicodedata.normalize("NFC", name.translate(_DIRECTIONS)).strip()
    name = printable(" ".join(name.split())) or "unnamed"
    return f"{name} [{number}]" if number else name


def is_platforms_name(name: str) -> bool:
    """Tell whether a learning platform wrote a student's name and number into this name."""
    return any(pattern.match(name) for pattern in (_MOODLE, _GRADESCOPE, _CANVAS))


def parts_of(student: str) -> tuple[str, str]:
    """Give the name and the platform's number of a student; no number is an empty text."""
    found = _KEY.match(student)
    return (found[1], found[2]) if found else (student, "")


def gradescope_people(text: str) -> dict[str, str]:
    """Read who handed in which folder from Gradescope's `submission_metadata.yml`.

    It is a plain list: a folder's name at the margin, below it names, numbers and addresses.
    """
    people: dict[str, dict[str, str]] = {}
    folder = ""
    for line in text.splitlines():
        if found := re.match(r"^[\"']?(submission_\d+)[\"']?:\s*$", line):
            folder = found[1]
            people[folder] = {}
        elif found := re.match(r"^[\s-]+:?(name|sid|email):\s*(.*?)\s*$", line):
            value = found[2].strip("\"'")
            if folder and value not in ("", "null", "~"):
                people[folder].setdefault(found[1], value)
    return {
        folder: key(facts["name"], facts.get("sid") or facts.get("email") or folder[11:])
        for folder, facts in people.items()
        if "name" in facts
    }


def chapter_in(name: str) -> int | None:
    """Give the chapter that a file's name speaks of; None if it speaks of none."""
    lowered = name.lower()
    for number, slug in registry.chapters().items():
        if slug in lowered.replace("-", "_").replace(" ", "_"):
            return number
    return None


def _without_chapter(name: str) -> str:
    """Take ending, chapter and marks of copies off a file's name; what is left is a person's."""
    stem = _COPIES.sub("", name.rpartition(".")[0] or name)
    for slug in registry.chapters().values():
        stem = re.sub(slug.replace("_", "[-_ ]"), "", stem, flags=re.I)
    return _COPIES.sub("", stem).strip(" _-.")
