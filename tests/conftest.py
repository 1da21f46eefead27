"""What every test can rely on: one thread, a fixed seed, a home of its own, an exercise to try."""

import ast
import linecache
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import jaxtyping._import_hook as shape_checks
import pytest
import torch

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require
from moe_teach.ops.triton_mode import choose_mode

# Training imports Triton on its own account, and then it would be too late.
choose_mode()

# Triton reads a kernel as text and looks its names up where it was written: wrapped into a shape
# check, it would find none of them.
is_marked = shape_checks._is_no_type_check
shape_checks._is_no_type_check = lambda node: ast.unparse(node) == "triton.jit" or is_marked(node)

# The watcher follows every operation of every program, and a check hands on whatever an answer gave
# it: shape checks there are most of a check's time, and take a right answer for a wrong one.
WITHOUT_SHAPES = ("moe_teach.analysis.kernel_watch.", "moe_teach.judging.")
WITH_SHAPES = ("figures", "experiments")  # of a chapter's room; the rest of it are checks


def is_unchecked(module: str) -> bool:
    """Say whether a module is left out of the shape checks."""
    is_a_check = module.startswith("moe_teach.chapters.") and module.count(".") == 3
    return module.startswith(WITHOUT_SHAPES) or (
        is_a_check and module.rpartition(".")[2] not in WITH_SHAPES
    )


is_checked = shape_checks._JaxtypingFinder.should_instrument
shape_checks._JaxtypingFinder.should_instrument = lambda finder, module: (
    not is_unchecked(module) and is_checked(finder, module)
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


@pytest.fixture(autouse=True, scope="session")
def home_of_the_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep texts that are slow to make in a folder of this run, never in the reader's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOE_TEACH_HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("NBGRADER_EXECUTION", raising=False)
        patch.setenv("MOE_TEACH_MINE", "off")  # a pass starts no process that nobody waits for
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name a progress folder of a test's own; who writes to it makes it."""
    monkeypatch.setenv("MOE_TEACH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def double() -> Exercise:
    exercise = Exercise(
        id="9.1",
        name="double",
        title="Twice as much",
        points=2,
        hints=("an idea", "a sketch", "almost code"),
        explanation="Adding is enough.",
        limit=0.5,
    )

    @exercise.stage("shape")
    def _shape(answer: Any, seed: int) -> None:
        for n_tokens in (1, 3):
            x = torch.randn(n_tokens, 2, generator=generator(seed))
            got = answer(x)
            require(
                got.shape == x.shape,
                "The shape must stay as it is.",
                expected=tuple(x.shape),
                got=tuple(got.shape),
                example={"x": x},
            )

    @exercise.stage("values")
    def _values(answer: Any, seed: int) -> None:
        for n_tokens in (1, 3):
            x = torch.randn(n_tokens, 2, generator=generator(seed))
            got = answer(x)
            message = "Every number must be twice as large."
            require(close(got, 2 * x), message, expected=2 * x, got=got, example={"x": x})

    return exercise


@pytest.fixture
def learner() -> Callable[[str], Any]:
    """Define what a learner typed in a cell and return the last thing it defines."""

    def define(code: str) -> Any:
        name = "<a learner's cell>"
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        namespace: dict[str, Any] = {"torch": torch}
        exec(compile(code, name, "exec"), namespace)
        return list(namespace.values())[-1]

    return define
