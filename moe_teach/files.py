"""Where the course keeps files of its own, and how a file is written so that none is ever half."""

import os
import secrets
from pathlib import Path


def home() -> Path:
    """Return the folder of the reader's own files: `$MOE_TEACH_HOME`, else `~/.moe_teach`."""
    return Path(os.environ.get("MOE_TEACH_HOME") or Path.home() / ".moe_teach").expanduser()


def cache_folder() -> Path:
    """Return the folder of what can be computed again; deleting it costs seconds, not work."""
    return home() / "cache"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a kill at any moment leaves the old content or the new, whole.

    The content goes to a temporary file beside it, is forced to the disk and renamed; the rename
    is forced too, where the system can do that for a folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by `tempfile`, whose files only their owner may read: others share checkpoints.
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Force a folder's list of names to the disk; systems that cannot do it are left alone."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
