"""What every test can rely on: one thread, a fixed seed, and a way past the shape checks."""

from collections.abc import Iterator

import jaxtyping
import pytest
import torch

from moe_teach.ops.triton_mode import choose_mode

# Training imports Triton on its own account, and then it would be too late.
choose_mode()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    # The tests run in parallel processes; more threads would only fight for the same cores.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def as_a_user() -> Iterator[None]:
    """Switch the shape checks off, so that bad input meets the library's own sentences."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
