"""One live server for all tests that neither stop nor change it."""

from collections.abc import Iterator

import pytest

from moe_teach.nn.model import Model
from tests.deploy.server.live import Live, running, tiny_model


@pytest.fixture(scope="session")
def model() -> Model:
    return tiny_model()


@pytest.fixture(scope="session")
def live(model: Model) -> Iterator[Live]:
    """A server without a key that every test may ask; nobody may stop or change it."""
    with running(model) as server:
        yield server
