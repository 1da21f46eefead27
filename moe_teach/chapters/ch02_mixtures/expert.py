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
        "What `Expert(...)` gives is no `nn.Module` that is ready.",
        cause="The class has another base, or its `__init__` does not call `super().__init__()`.",
        cure="Begin with `class Expert(nn.Module):`, and `__init__` with `super().__init__()`.",
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
            cause="A layer has another name, another width or no bias, or hides in a list or in a "
            "`forward`. `nn.Linear(a, b)` maps from width a to width b.",
            cure="In `__init__`, write self.up = nn.Linear(d_in, d_hidden) and self.down = "
            "nn.Linear(d_hidden, d_out).",
            expected=expected,
            got=shapes,
            example={"d_in": d_in, "d_hidden": d_hidden, "d_out": d_out},
        )
        frozen = [name for name, p in expert.named_parameters() if not p.requires_grad]
        require(
            not frozen,
            "These parameters cannot learn: they ask for no gradient.",
            cause="requires_grad is False, set by hand or by a `no_grad` around the layers.",
            cure="Leave the layers as `nn.Linear` makes them.",
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
        cause="The input was flattened, squeezed or taken for a matrix. It may be one vector, have "
        "four dimensions, or be a batch of nobody.",
        cure="Apply the two layers to `x` as it is: `nn.Linear` works on the last dimension.",
        expected=Words(f"shape {(*x.shape[:-1], d_out)}"),
        got=got,
        example=example,
    )
    tell = {"expected": expected, "got": got, "example": example}
    linear = _linear(_linear(x, weights, "up"), weights, "down")
    require(
        close(got, expected) or not close(got, linear),
        "These are two linear layers and nothing between them, which is one linear layer.",
        cause="The ReLU is missing there; before the first layer or after the last, it is no help.",
        cure="Write self.down(self.up(x).relu()).",
        **tell,
    )
    require(
        close(got, expected),
        "The answer is not `down` of the ReLU of `up`.",
        cause="There is another activation in the middle (GELU, SiLU, one with an upper end), one "
        "more at the end, or something is added, normalised or dropped.",
        cure="Write self.down(self.up(x).relu()), and nothing else.",
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
        cure="Convert nothing: the layers and `x` have one dtype.",
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
