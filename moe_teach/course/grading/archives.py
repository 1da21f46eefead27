"""Walks through what was handed in, be it file, folder or archive; nothing is unpacked to the disk.

Names and sizes in an archive are claims of whoever made it: a name is only ever read as text, and a
size is believed as far as the bytes that really come out.
"""

import io
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOST_FILES = 5_000  # of one student; an environment that was packed along has more
MOST_ENTRIES = 500_000  # of everything together
MOST_BYTES = 64 << 20  # of one file: a notebook with its pictures has a few
MOST_TOTAL = 2 << 30  # of all files together, which stay in memory
MOST_RATIO = 200  # unpacked to packed, for files over a megabyte; text reaches 10 to 30
DEEPEST = 3  # a class's archive, a student's in it, and one that their system made
WANTED = (".ipynb", ".py", ".zip", ".json", ".yml")
JUNK = {"__MACOSX", ".ipynb_checkpoints", ".git", "__pycache__", ".venv", "node_modules"}
_WINDOWS_NAMES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{n}{i}" for n in ("com", "lpt") for i in "123456789"),
}
_DAMAGED = "The zip archive is damaged: fetch it once more, or have the notebook itself handed in."


@dataclass(frozen=True)
class File:
    """One file somebody handed in: the folders it lies in and its name, from the root on.

    `content` is None where nobody needs it. `refused` is the sentence that says why it is not
    read; `remark` one about a file that is.
    """

    where: tuple[str, ...]
    content: bytes | None = None
    refused: str = ""
    remark: str = ""

    @property
    def name(self) -> str:
        """Its own name."""
        return self.where[-1]

    @property
    def shown(self) -> str:
        """Its path as people write it, without signs that would turn a line of text around."""
        return printable("/".join(self.where))


def printable(text: str) -> str:
    """Replace what a terminal would obey and not print: control and direction signs, half signs."""
    return "".join(c if c.isprintable() or c == "\u200d" else "\ufffd" for c in text)


def files_of(path: Path) -> Iterator[File]:
    """Give every file under `path`: of a folder, of an archive, or the one file itself."""
    if path.is_dir():
        yield from _bounded(_of_folder(path, path))
    elif is_archive_name(path.name):
        yield from _bounded(_of_archive(path, (), depth=1))
    else:
        yield _from_disk(path, (path.name,))


def is_archive_name(name: str) -> bool:
    """Tell whether a file calls itself a zip archive."""
    return name.lower().endswith(".zip")


def _bounded(found: Iterator[File]) -> Iterator[File]:
    """Stop at the caps, with a word: what one student packed must not cost the others theirs."""
    total, counts = 0, Counter[tuple[str, ...]]()
    for entry, file in enumerate(found):
        total += len(file.content or b"")
        if entry >= MOST_ENTRIES or total > MOST_TOTAL:
            said = f"Reading stopped here, at {entry:,} files and {total >> 20:,} MB."
            yield File(file.where, refused=said)
            return
        folder = file.where[:2] if len(file.where) > 2 else file.where[:1]
        counts[folder] += 1
        if counts[folder] <= MOST_FILES:
            yield file
        elif counts[folder] == MOST_FILES + 1:
            said = f"Only the first {MOST_FILES:,} files of this folder were looked at."
            yield File(file.where, refused=said)


def _of_folder(root: Path, folder: Path) -> Iterator[File]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as problem:
        where = folder.relative_to(root).parts or (folder.name,)
        yield File(where, refused=f"It cannot be read: {problem.strerror}.")
        return
    for entry in entries:
        where = entry.relative_to(root).parts
        if entry.is_symlink():
            yield File(where, refused="A link was handed in, which is not followed.")
        elif entry.is_dir():
            if entry.name not in JUNK:
                yield from _of_folder(root, entry)
        elif not entry.is_file():
            yield File(where, refused="This is no ordinary file.")
        elif is_archive_name(entry.name):
            yield from _of_archive(entry, (*where[:-1], entry.name[:-4]), depth=1)
        else:
            yield _from_disk(entry, where)


def _from_disk(file: Path, where: tuple[str, ...]) -> File:
    if not file.name.lower().endswith(WANTED):
        return File(where)
    if file.stat().st_size > MOST_BYTES:
        return File(where, refused=_too_large(file.stat().st_size))
    try:
        return File(where, file.read_bytes())
    except OSError as problem:
        return File(where, refused=f"It cannot be read: {problem.strerror}.")


def _of_archive(packed: Path | bytes, inside: tuple[str, ...], depth: int) -> Iterator[File]:
    """Give the files in an archive, those of archives in it too."""
    label = inside or (packed.name if isinstance(packed, Path) else "archive.zip",)
    try:
        archive = zipfile.ZipFile(io.BytesIO(packed) if isinstance(packed, bytes) else packed)
    except (OSError, zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError):
        yield File(label, refused=_DAMAGED)
        return
    with archive:
        for info in archive.infolist():
            if not info.is_dir() and not JUNK & set(info.filename.split("/")):
                yield from _member(archive, info, inside, depth)


def _member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, inside: tuple[str, ...], depth: int
) -> Iterator[File]:
    raw = _name_of(info).replace("\\", "/")
    parts = tuple(part for part in raw.split("/") if part not in ("", ".", ".."))
    where = (*inside, *parts) or ("archive.zip",)
    if trouble := _trouble(raw, info):
        yield File(where, refused=trouble)
        return
    if not parts or not parts[-1].lower().endswith(WANTED):
        yield File(where)
        return
    content, refused = _unpacked(archive, info)
    if refused or not is_archive_name(where[-1]):
        is_reserved = any(part.partition(".")[0].lower() in _WINDOWS_NAMES for part in parts)
        remark = "Its name is reserved on Windows." if is_reserved else ""
        yield File(where, None if refused else content, refused, remark)
    elif depth == DEEPEST:
        yield File(where, refused=f"Archives in archives are opened {DEEPEST} deep, no deeper.")
    else:
        yield from _of_archive(content, (*where[:-1], where[-1][:-4]), depth + 1)


def _trouble(raw: str, info: zipfile.ZipInfo) -> str:
    """Say what is wrong with a name or a kind of entry; empty if nothing is."""
    if stat.S_ISLNK(info.external_attr >> 16):
        return "A link was handed in, which is not followed."
    if ".." in raw.split("/"):
        return "Its name leads out of the archive by `..`, and it is not read."
    if raw.startswith("/") or raw[1:2] == ":":
        return "Its name in the archive is an absolute path, and it is not read."
    if info.flag_bits & 0x1:
        return "It is locked with a password."
    if info.file_size > MOST_BYTES:
        return _too_large(info.file_size)
    if info.file_size > 1 << 20 and info.file_size > MOST_RATIO * max(info.compress_size, 1):
        return f"It is packed {MOST_RATIO} to 1 or more, as no notebook is, and is not unpacked."
    return ""


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[bytes, str]:
    """Read one entry, never more of it than the cap, whatever size it claims to have."""
    try:
        with archive.open(info) as stream:
            content = stream.read(MOST_BYTES + 1)
    except Exception as problem:  # zlib, lzma and zipfile each have errors of their own
        return b"", f"It cannot be unpacked: {type(problem).__name__}."
    if len(content) > MOST_BYTES:
        return b"", _too_large(len(content))
    return content, ""


def _name_of(info: zipfile.ZipInfo) -> str:
    """Give an entry's name; old tools write UTF-8 without saying so."""
    if info.flag_bits & 0x800:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _too_large(size: int) -> str:
    return f"It has {size >> 20} MB, and {MOST_BYTES >> 20} MB is the most a notebook may have."
