"""Chapter 02, exercises 2.1 and 2.2: the expert and the soft mixture."""

from typing import Any

import torch
from torch import Tensor, nn

from moe_teach.judging.compare import close, require_tensor
from moe_teach.judging.exercise import Exercise, generator, require

EXPERT = Exercise(
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


@EXPERT.stage("layers")
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


@EXPERT.stage("values")
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


SOFT = Exercise(
    id="2.2",
    name="soft_mixture",
    title="The soft mixture",
    points=1,
    difficulty=1,
    importance=5,
    minutes=10,
    hints=(
        "Two steps: logits to gates that sum to one over the *experts*, then a weighted sum over "
        "the experts.",
        "`logits.softmax(dim=-1)` is (T, E). Give it a third dimension to multiply with outputs "
        "(T, E, O), then sum over dimension 1.",
        'torch.einsum("te,teo->to", logits.softmax(dim=-1), outputs)',
    ),
    explanation="The einsum names what is summed: e occurs on the left only. This blend is what "
    "the cooperative error, equation (1.1) of the paper, compares with the target.",
)
SIZES = ((1, 1, 1), (1, 3, 2), (5, 4, 1), (7, 5, 3))  # tokens, experts, outputs


def inputs(sizes: tuple[int, int, int], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw outputs (T, E, O), logits (T, E) and targets (T, O)."""
    n_tokens, n_experts, d_out = sizes
    draw = generator(seed)
    return (
        torch.randn(n_tokens, n_experts, d_out, generator=draw),
        torch.randn(n_tokens, n_experts, generator=draw),
        torch.randn(n_tokens, d_out, generator=draw),
    )


@SOFT.stage("shape")
def _soft_shape(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        outputs, logits, targets = inputs(sizes, seed)
        got = answer(outputs, logits)
        require_tensor(got, {"outputs": outputs, "logits": logits})
        require(
            got.shape == targets.shape,
            f"The blend has one vector per token: shape {tuple(targets.shape)} here. Sum over the "
            "experts, dimension 1.",
            got=got,
            example={"outputs": outputs, "logits": logits},
        )


@SOFT.stage("values")
def _soft_values(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        outputs, logits, _ = inputs(sizes, seed)
        got = answer(outputs, logits)
        expected = (logits.softmax(dim=-1)[..., None] * outputs).sum(dim=1)
        example = {"outputs": outputs, "logits": logits}
        require(
            close(got, expected) or not close(got, (logits[..., None] * outputs).sum(dim=1)),
            "The logits themselves were used as gates. Gates are positive and sum to one over the "
            "experts: take a softmax.",
            expected=expected,
            got=got,
            example=example,
        )
        require(
            sizes[1] == 1 or not close(got, expected / sizes[1]),
            "This is the blend divided by the number of experts. The gates sum to one already: sum "
            "over the experts, do not take the mean.",
            expected=expected,
            got=got,
            example=example,
        )
        require(
            close(got, expected),
            "The blend is off. Is the softmax taken over the experts, the *last* dimension of the "
            "logits, and does each gate meet its own expert?",
            expected=expected,
            got=got,
            example=example,
        )
