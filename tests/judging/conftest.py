"""A progress folder of its own for every test."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_home(home: Path) -> None:
    """Let no test meet what another one has recorded."""
