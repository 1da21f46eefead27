"""One live server for all tests that neither stop nor change it."""

from collections.abc import Iterator

import jaxtyping
import pytest

from moe_teach.nn.model import Model
from tests.deploy.server.live import Live, running, tiny_model


@pytest.fixture(autouse=True, scope="module")
def without_shape_checks() -> Iterator[None]:
    """Clients send what they like, and must meet the library's own sentences."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def model() -> Model:
    return tiny_model()


@pytest.fixture(scope="session")
def live(model: Model) -> Iterator[Live]:
    """A server without a key that every test may ask; nobody may stop or change it."""
    with running(model) as server:
        yield server
