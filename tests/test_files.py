"""A file is the old one or the new one, never a part, and others may read it."""

import os
import stat
from pathlib import Path

import pytest

from moe_teach import files
from moe_teach.data.cache import cached_text
from moe_teach.files import cache_folder, clone, expanded, home, repository, write_atomically


def test_a_file_is_written_whole_into_a_folder_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    for content in (b"old", b"new and longer"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_in_the_place_of_a_file_is_named_and_stays(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    with pytest.raises(IsADirectoryError) as refused:
        write_atomically(tmp_path / "place", b"new")
    assert refused.value.filename == str(tmp_path / "place")
    assert list(tmp_path.rglob("*")) == [tmp_path / "place"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_an_error_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*args):
        raise OSError("the disk is full")

    monkeypatch.setattr(files.os if failing == "fsync" else files.Path, failing, fail)
    with pytest.raises(OSError, match="the disk is full"):
        write_atomically(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="permissions of other systems differ")
def test_others_may_read_what_the_reader_may_show_them(tmp_path: Path) -> None:
    plain, path = tmp_path / "plain", tmp_path / "file"
    plain.write_bytes(b"")
    write_atomically(path, b"")

    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_the_cache_lies_in_the_readers_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOE_TEACH_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "cache"

    monkeypatch.delenv("MOE_TEACH_HOME")
    assert home() == Path.home() / ".moe_teach"


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as a user whom the system does not know, as containers with a number for a user do."""
    import pwd

    def unknown(uid: int):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "MOE_TEACH_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.skipif(
    os.name != "posix", reason="other systems keep no list of users to be missing in"
)
def test_without_a_home_the_folder_is_refused_in_a_sentence_that_names_the_cure(homeless) -> None:
    for folder in (home, cache_folder):
        with pytest.raises(FileNotFoundError, match=r"Set the environment variable MOE_TEACH_HOME"):
            folder()


@pytest.mark.skipif(
    os.name != "posix", reason="other systems keep no list of users to be missing in"
)
def test_without_a_home_texts_are_made_and_not_kept(homeless) -> None:
    assert cached_text("name", lambda: "made") == "made"


def test_a_path_that_cannot_be_expanded_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MOE_TEACH_HOME", "~no-such-user/here")

    with pytest.raises(FileNotFoundError, match=r"'~no-such-user/here' cannot be found: .* name"):
        home()
    assert expanded("plain/path") == Path("plain/path")


@pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="folders cannot be forced to disk here")
@pytest.mark.parametrize("refused", ["open", "fsync"])
def test_a_file_system_that_cannot_sync_folders_still_keeps_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    real = getattr(os, refused)

    def only_files(what, *rest):
        of_folder = Path(what if refused == "open" else f"/dev/fd/{what}").is_dir()
        if of_folder:
            raise OSError(22, "Invalid argument")
        return real(what, *rest)

    monkeypatch.setattr(files.os, refused, only_files)
    write_atomically(tmp_path / "file", b"kept")

    assert (tmp_path / "file").read_bytes() == b"kept"


def test_the_clone_is_found_from_a_folder_that_was_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert clone() == Path(files.__file__).parents[1]


def test_an_installed_package_has_no_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "site-packages/moe_teach/files.py"))

    assert clone() is None
    with pytest.raises(LookupError, match="there is none here"):
        repository()
