"""A folder of what students handed in, and a fork server for their code."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moe_teach.course.grading.host import Host


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Start a server that is ready for many."""
    host = Host(for_many=True)
    yield host
    host.close()


@pytest.fixture
def lay_out(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """Write files into a folder called hand-in."""

    def write(files: dict[str, bytes]) -> Path:
        for name, content in files.items():
            file = tmp_path / "hand-in" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return tmp_path / "hand-in"

    return write
