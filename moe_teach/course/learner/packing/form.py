"""What a pack looks like: a zip archive with a manifest that names every file by its hash.

    manifest.json                    format, version, when and by which course, hashes
    exercises/NN_slug.ipynb          notebooks as they were saved
    mine/….py                        the learner's own parts, with what is kept beside them
    progress.json                    the record of progress

Names and sizes in an archive are claims of whoever made it. Only these names are read, nothing is
written before all of it has been looked at, and no name ever becomes a path by itself.
"""

import hashlib
import json
import re
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moe_teach.files import replacing
from moe_teach.surroundings import version_of

FORMAT, VERSION = "moe-teach-pack", 1
MANIFEST, PROGRESS = "manifest.json", "progress.json"
MOST_BYTES = 64 << 20  # of one file: a notebook with its pictures has a few
MOST_TOTAL = 512 << 20
_NAMES = re.compile(
    r"exercises/\d\d[a-z]?_[a-z0-9_]+\.ipynb|progress\.json"
    r"|mine/(?:(?:earlier|waiting)/)?[A-Za-z_]\w*\.(?:py|txt)",
    re.ASCII,
)


class BrokenPack(LookupError):
    """A file is no pack that can be used; the message says why and what to do."""


def is_allowed(name: str) -> bool:
    """Tell whether a pack may hold a file of this name."""
    return _NAMES.fullmatch(name) is not None


def write(file: Path, files: dict[str, bytes]) -> None:
    """Write a pack, whole or not at all."""
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "course": version_of("moe-teach", "from a folder"),
        "on": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {name: digest(content) for name, content in sorted(files.items())},
    }
    text = json.dumps(manifest, indent=1) + "\n"
    with replacing(file) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in {MANIFEST: text.encode(), **files}.items():
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)


def read(file: Path) -> dict[str, bytes]:
    """Read and check the files of a pack, without its manifest.

    Raises:
        BrokenPack: if anything in it is not as `write` makes it; nothing has been used then.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return _checked(file, archive)
    except OSError as problem:
        reason = (problem.strerror or str(problem)).rstrip(".")
        raise BrokenPack(f"{file} cannot be read ({reason}). Name a pack.") from problem
    except BrokenPack:
        raise
    except Exception as problem:  # zlib, lzma and zipfile each have errors of their own
        raise BrokenPack(
            f"{file} is not a pack, or it was damaged on its way. Nothing was unpacked: copy it "
            "once more, or make a new one with `moe-teach pack`."
        ) from problem


def is_pack(file: Path) -> bool:
    """Tell whether a file was made by `write`, whatever became of its content since."""
    try:
        with zipfile.ZipFile(file) as archive:
            return json.loads(archive.read(MANIFEST)).get("format") == FORMAT
    except Exception:
        return False


def digest(content: bytes) -> str:
    """Name a file's content."""
    return hashlib.sha256(content).hexdigest()


def _checked(file: Path, archive: zipfile.ZipFile) -> dict[str, bytes]:
    names = archive.namelist()
    strange = [n for n in names if n != MANIFEST and not is_allowed(n)]
    if MANIFEST not in names or len(set(names)) < len(names):
        strange.append(MANIFEST)
    if strange:
        raise BrokenPack(
            f"{file} is not a pack as `moe-teach pack` makes it: it should not hold, or lacks or "
            f"repeats, {strange[0]!r}. Nothing was unpacked."
        )
    sizes = [info.file_size for info in archive.infolist()]
    if max(sizes) > MOST_BYTES or sum(sizes) > MOST_TOTAL:
        raise BrokenPack(f"{file} claims to hold more than any pack does. Nothing was unpacked.")
    listed = _listed(file, archive.read(MANIFEST))
    contents = {name: archive.read(name) for name in names if name != MANIFEST}
    broken = sorted(set(listed) ^ set(contents))
    broken += [n for n in contents if n not in broken and digest(contents[n]) != listed[n]]
    if broken:
        raise BrokenPack(
            f"{file} was changed after it was packed: {broken[0]} is not what its manifest says. "
            "Nothing was unpacked; make a new one with `moe-teach pack`."
        )
    return contents


def _listed(file: Path, text: bytes) -> dict[str, Any]:
    manifest = json.loads(text)
    if manifest["format"] != FORMAT:
        raise BrokenPack(f"{file} is not a pack of the course. Nothing was unpacked.")
    if manifest["version"] > VERSION:
        raise BrokenPack(
            f"{file} was packed by a newer version of the course. Update moe-teach here, then "
            "unpack it. Nothing was unpacked."
        )
    return dict(manifest["files"])
