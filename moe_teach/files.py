"""Where the course keeps files of its own, and how a file is written so that none is ever half."""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

_LOCKLESS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
PATIENCE = 3.0  # seconds to wait for another kernel's turn, which takes milliseconds
LONG_PATIENCE = 60.0  # seconds to wait for another program that writes a model


def home() -> Path:
    """Return the folder of the reader's own files: `$MOE_TEACH_HOME`, else `~/.moe_teach`.

    Raises:
        FileNotFoundError: if the system knows no home of whoever runs this, as in some containers.
    """
    return expanded(os.environ.get("MOE_TEACH_HOME") or "~/.moe_teach")


def expanded(path: str | Path) -> Path:
    """Replace a leading `~` by the home folder it stands for.

    Raises:
        FileNotFoundError: if there is no such home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise FileNotFoundError(
            f"The folder {str(path)!r} cannot be found: the system does not know the home that ~ "
            "stands for. Set the environment variable MOE_TEACH_HOME to a folder that may be "
            "written to, or name the folder without ~."
        ) from None


def clone() -> Path | None:
    """Find the clone of the repository that this runs in or from; None where there is none."""
    candidates = [Path(__file__).parents[1]]
    with contextlib.suppress(OSError):  # the current folder may have been deleted
        candidates = [Path.cwd(), *Path.cwd().parents, *candidates]
    for folder in candidates:
        if (folder / "moe_teach").is_dir() and (folder / "solutions").is_dir():
            return folder
    return None


def repository() -> Path:
    """Find the clone; raise a `LookupError` in a sentence where there is none."""
    folder = clone()
    if folder is None:
        raise LookupError(
            "This verb works in a clone of the course's repository, and there is none here: make "
            "one with `git clone`, go into it, and type the command there."
        )
    return folder


def course_folder() -> Path:
    """The folder of notebooks/, exercises/ and solutions/: the package's own, else the clone.

    A wheel brings them inside the package; in a clone they lie beside it.
    """
    package = Path(__file__).parent
    brought = package / "course"
    return brought if (brought / "solutions").is_dir() else package.parent


def cache_folder() -> Path:
    """Return the folder of what can be computed again; deleting it costs seconds, not work."""
    return home() / "cache"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a kill at any moment leaves the old content or the new, whole."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a file beside `path` to write to; when the block ends well, it takes the place of it.

    The content is forced to the disk before it is renamed, and so is the rename where the system
    can do that for a folder. When the block fails, the old file stays and the new one is removed.
    """
    if path.is_dir():  # said before anything is written, and not of the temporary file's name
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by `tempfile`, whose files only their owner may read: others share checkpoints.
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(6)}.tmp")
    try:
        yield temporary
        with temporary.open("r+b") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a folder; it stands at its path only once the block has ended well.

    Raises:
        FileExistsError: something stands there already, and is left alone.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(
            f"{path} is there already, and what it holds is left alone: name a folder that is not "
            "there or is empty."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(6)}.tmp")
    try:
        temporary.mkdir()
        yield temporary
        sync_folder(temporary)
        temporary.replace(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def taking_turns(name: str) -> Iterator[None]:
    """Let two kernels take turns: hold the lock called `name` in the reader's own folder.

    Where files cannot be locked, the last one to write wins.
    """
    from filelock import FileLock, Timeout

    home().mkdir(parents=True, exist_ok=True)
    lock = FileLock(home() / f"{name}.lock", timeout=PATIENCE, poll_interval=0.01)
    with contextlib.ExitStack() as held:
        with contextlib.suppress(Timeout):  # one that nobody gives back must not cost the record
            _take(lock, held)
        yield


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Change a folder while no other program does: hold the lock in it.

    A program that ends or is killed gives its lock back. Where files cannot be locked, nobody
    waits.

    Raises:
        TimeoutError: another program did not finish for a minute; nothing was done here.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock", timeout=LONG_PATIENCE, poll_interval=0.02)
    with contextlib.ExitStack() as held:
        try:
            _take(lock, held)
        except Timeout:
            raise TimeoutError(
                f"Another program has been changing {folder} for {LONG_PATIENCE:.0f} seconds, and "
                "nothing was done here: wait until it has finished, and try again."
            ) from None
        yield


def _take(lock: contextlib.AbstractContextManager, held: contextlib.ExitStack) -> None:
    """Take a lock until `held` is left; a disk that knows no locks gives none."""
    try:
        held.enter_context(lock)
    except NotImplementedError:
        pass
    except OSError as problem:
        if problem.errno not in _LOCKLESS:
            raise


def sync_folder(folder: Path) -> None:
    """Force a folder's list of names to the disk; systems that cannot do it are left alone.

    Some file systems refuse it for folders, over the network or in containers. The file itself is
    whole and in its place by then, so nothing has failed that anybody should be told of.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
