"""A file is the old one or the new one, never a part, and others may read it."""

import os
import stat
from pathlib import Path

import pytest

from moe_teach import files
from moe_teach.files import cache_folder, home, write_atomically


def test_a_file_is_written_whole_into_a_folder_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    for content in (b"old", b"new and longer"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


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
