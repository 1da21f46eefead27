"""A progress folder of its own for every test, a small exercise, and code as learners type it."""

import linecache
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from moe_teach.course.exercise import Exercise, close, generator, require


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOE_TEACH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
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
