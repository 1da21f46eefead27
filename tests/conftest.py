"""What every test can rely on: one thread, a fixed seed, and a way past the shape checks."""

import ast
from collections.abc import Iterator

import jaxtyping
import jaxtyping._import_hook as shape_checks
import pytest
import torch

from moe_teach.ops.triton_mode import choose_mode

# Training imports Triton on its own account, and then it would be too late.
choose_mode()

# Triton reads a kernel as text and looks its names up where it was written: wrapped into a shape
# check, it would find none of them.
is_marked = shape_checks._is_no_type_check
shape_checks._is_no_type_check = lambda node: ast.unparse(node) == "triton.jit" or is_marked(node)

# The watcher follows every operation of every program: checked, it is most of a kernel's time.
UNCHECKED = "moe_teach.analysis.kernel_watch."
is_checked = shape_checks._JaxtypingFinder.should_instrument
shape_checks._JaxtypingFinder.should_instrument = lambda finder, module: (
    not module.startswith(UNCHECKED) and is_checked(finder, module)
)


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
