"""Exercise 2.1: an expert."""

from typing import Any

import torch
from torch import Tensor, nn

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require

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
            "The parameters are not those of two linear layers with bias called `up` and `down`. "
            "`nn.Linear(a, b)` maps from width a to width b.",
            expected=expected,
            got=shapes,
            example={"d_in": d_in, "d_hidden": d_hidden, "d_out": d_out},
        )


@EXERCISE.stage("values")
def _expert_values(answer: Any, seed: int) -> None:
    for shape in ((3,), (1, 3), (4, 3), (2, 5, 3)):
        expert = _make(answer, seed, (3, 7, 2))
        x = torch.randn(shape, generator=generator(seed + 1))
        got = expert(x)
        inner = x @ expert.up.weight.T + expert.up.bias
        linear = inner @ expert.down.weight.T + expert.down.bias
        expected = inner.clamp(min=0) @ expert.down.weight.T + expert.down.bias
        example = {"x": x}
        require(
            isinstance(got, Tensor) and got.shape == (*shape[:-1], 2),
            "The last dimension goes from d_in to d_out, and the leading ones stay as they are.",
            got=got,
            example=example,
        )
        require(
            not close(got, linear),
            "These are two linear layers and nothing between them, which is one linear layer. "
            "The ReLU is missing.",
            expected=expected,
            got=got,
            example=example,
        )
        require(
            close(got, expected),
            "The answer is not `down` of the ReLU of `up`. Does a ReLU stand at the end as well, "
            "or another activation in the middle?",
            expected=expected,
            got=got,
            example=example,
        )
