"""A folder of what students handed in."""

from collections.abc import Callable
from pathlib import Path

import pytest


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
