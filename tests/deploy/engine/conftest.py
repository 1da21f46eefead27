"""One tiny model for all tests that do not change it."""

import pytest

from moe_teach.nn.model import Model
from tests.deploy.engine.tiny import tiny


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny()
