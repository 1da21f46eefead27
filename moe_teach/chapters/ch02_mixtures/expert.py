"""Exercise 2.1: an expert."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from moe_teach.chapters.ch02_mixtures.inputs import strided
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require
from moe_teach.judging.gradients import require_gradients

EXERCISE = Exercise(
    id="2.1",
    name="Expert",
    title="An expert",
    points=1,
    difficulty=1,
    importance=4,
    minutes=10,
    hints=(
        "A module has two parts: `__init__` makes the layers once, `forward` uses them. Do not "
        "forget what every `nn.Module` does first in `__init__`.",
        "`super().__init__()`, then two `nn.Linear` layers with the names of the text. `forward` "
        "is one line: the second layer of the ReLU of the first.",
        "self.up = nn.Linear(d_in, d_hidden); self.down = nn.Linear(d_hidden, d_out); "
        "return self.down(self.up(x).relu())",
    ),
    explanation="Without the ReLU two linear layers are one linear layer, and an expert could "
    "paint one rule only. `nn.Linear` works on the last dimension, so leading dimensions are free.",
)


def _make(answer: Any, seed: int, sizes: tuple[int, int, int]) -> nn.Module:
    expert = answer(*sizes)
    require(
        isinstance(expert, nn.Module) and hasattr(expert, "_parameters"),
        "`Expert` must be an `nn.Module`, and its `__init__` must call `super().__init__()` first.",
        got=expert,
    )
    with torch.no_grad():
        for parameter in expert.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator(seed)))
    return expert


@EXERCISE.stage("layers")
def _expert_layers(answer: Any, seed: int) -> None:
    for d_in, d_hidden, d_out in ((1, 1, 1), (3, 7, 2), (5, 11, 5)):
        expert = _make(answer, seed, (d_in, d_hidden, d_out))
        shapes = {name: tuple(p.shape) for name, p in expert.named_parameters()}
        expected = {
            "up.weight": (d_hidden, d_in),
            "up.bias": (d_hidden,),
            "down.weight": (d_out, d_hidden),
            "down.bias": (d_out,),
        }
        require(
            shapes == expected,
            "The parameters are not those of two linear layers with bias called `up` and `down`.",
            cause="`nn.Linear(a, b)` maps from width a to width b.",
            expected=expected,
            got=shapes,
            example={"d_in": d_in, "d_hidden": d_hidden, "d_out": d_out},
        )
        frozen = [name for name, p in expert.named_parameters() if not p.requires_grad]
        require(
            not frozen,
            "These parameters cannot learn: they ask for no gradient.",
            got=Words(f"frozen: {', '.join(frozen)}"),
            example={"d_in": d_in, "d_hidden": d_hidden, "d_out": d_out},
        )


def _linear(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _forward(x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    return _linear(_linear(x, weights, "up").clamp(min=0), weights, "down")


def _compare(expert: nn.Module, x: Tensor, d_out: int) -> None:
    got, example = expert(x), {"x": x}
    weights = dict(expert.named_parameters())
    expected = _forward(x, weights)
    require(
        isinstance(got, Tensor) and got.shape == (*x.shape[:-1], d_out),
        "The last dimension goes from d_in to d_out, and the leading ones stay as they are.",
        expected=Words(f"shape {(*x.shape[:-1], d_out)}"),
        got=got,
        example=example,
    )
    tell = {"expected": expected, "got": got, "example": example}
    linear = _linear(_linear(x, weights, "up"), weights, "down")
    require(
        close(got, expected) or not close(got, linear),
        "These are two linear layers and nothing between them, which is one linear layer.",
        cause="The ReLU is missing.",
        **tell,
    )
    require(
        close(got, expected),
        "The answer is not `down` of the ReLU of `up`.",
        cause="Does a ReLU stand at the end as well, another activation in the middle (one with "
        "an upper end, too), or is something added to it?",
        **tell,
    )


@EXERCISE.stage("values")
def _expert_values(answer: Any, seed: int) -> None:
    shapes = ((3,), (1, 3), (4, 3), (2, 5, 3), (0, 3), (2, 1, 5, 3))
    cases = [*(((3, 7, 2), shape) for shape in shapes), ((4, 4, 4), (5, 4)), ((1, 1, 1), (3, 1))]
    for sizes, shape in cases:
        expert = _make(answer, seed, sizes)
        x = torch.randn(shape, generator=generator(seed + 1))
        for given in (x, 100 * x, strided(x)):
            _compare(expert, given, sizes[2])


@EXERCISE.stage("float64")
def _expert_double(answer: Any, seed: int) -> None:
    expert = _make(answer, seed, (3, 7, 2)).double()
    x = torch.randn(5, 3, generator=generator(seed + 1)).double()
    got = expert(x)
    require(
        got.dtype == torch.float64 and close(got, _forward(x, dict(expert.named_parameters()))),
        "An expert in float64 (`Expert(...).double()`) does not answer in float64.",
        cause="`.float()` or a tensor made without a dtype rounds on the way.",
        got=got,
        example={"x": x},
    )


@EXERCISE.stage("gradient")
def _expert_gradient(answer: Any, seed: int) -> None:
    expert = _make(answer, seed, (3, 7, 2))
    weights = {name: p.detach() for name, p in expert.named_parameters()}

    def call(function: Any, given: dict[str, Any]) -> Tensor:
        if function is _forward:
            return _forward(**given)
        # The weights are put in where the parameters stand, so that gradients arrive at them.
        return functional_call(function(3, 7, 2), given["weights"], (given["x"],))

    x = torch.randn(2, 5, 3, generator=generator(seed + 1))
    require_gradients(answer, _forward, {"x": x, "weights": weights}, seed=seed, call=call)
