"""Exercise 2.8: an error of one's own, measured on the square."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch02_mixtures.experiments import (
    World,
    draw_start,
    draw_world,
    stacked,
)
from moe_teach.chapters.ch02_mixtures.inputs import inputs, require_scalar
from moe_teach.judging.exercise import Exercise, Goal, Words, WrongAnswer, require

GOAL = Goal(
    quantity="places that the top expert alone paints right",
    unit="%",
    baseline=75.2,
    target=92,
    more_is_better=True,
    side_by_side=True,
    limit="The true maps and borders would reach 99.3%: the noise spoils the rest.",
    cause="Look at what goes wrong under the likelihood: an expert that is a little better "
    "everywhere takes everything, and a region that nobody starts near stays without an expert of "
    "its own. The gates become hard before the experts are any good.",
    cure="Begin so that everybody learns from everything, and let the competition grow: a variance "
    "that starts far above the noise and falls to it early in the training.",
)
EXERCISE = Exercise(
    id="2.8",
    name="my_error",
    title="Open task: an error that finds the regions",
    points=3,
    difficulty=4,
    importance=4,
    minutes=30,
    needs=("2.4",),
    goal=GOAL,
    hints=(
        "The lesson shows what a large variance does, and what a small one does. Neither is good "
        "from the first step to the last, and `progress` tells you where you are.",
        "With a large variance all experts share every place; with a small one the best takes it. "
        "Let the variance fall from the first to the second while the training goes on. How fast, "
        "from where, and to where, is for you to try.",
        "variance = max(0.02, 0.02 ** (3 * progress)), and then the likelihood of the lesson.",
    ),
    explanation="This is annealing: the early error is smooth and has few traps, and by the time "
    "that it sharpens, the experts are spread out. It is one way of several. Others measure the "
    "variance as they go, start with equal gates, or keep the team busy with a term of their own; "
    "chapter 06 is about those. The goal is below what the best of them reach.",
)

N_EXPERTS, N_STEPS, N_WORLDS, N_PLACES = 8, 250, 8, 200
RIGHT = 0.12  # noise of variance 0.01 in three numbers stays below it in 99.3 % of all places
Error = Callable[[Tensor, Tensor, Tensor, float], Tensor]


def worlds_of(seed: int) -> range:
    """Give the worlds of one seed of a check, none of which the lesson or its search has used."""
    return range(10_000 + N_WORLDS * seed, 10_000 + N_WORLDS * (seed + 1))


class _Adam:
    """Adam for one tensor, the same as that of the lesson."""

    # The first optimiser of torch.optim in a process imports a compiler: 3 s, twice what all the
    # training of a check takes.

    def __init__(self, weight: Tensor, lr: float = 0.05) -> None:
        self.weight, self.lr, self.steps = weight, lr, 0
        self.mean, self.square = torch.zeros_like(weight), torch.zeros_like(weight)

    @torch.no_grad()
    def step(self, grad: Tensor) -> None:
        self.steps += 1
        self.mean.lerp_(grad, 1 - 0.9)
        self.square.mul_(0.999).addcmul_(grad, grad, value=1 - 0.999)
        scale = (self.square.sqrt() / (1 - 0.999**self.steps) ** 0.5).add_(1e-8)
        self.weight.addcdiv_(self.mean, scale, value=-self.lr / (1 - 0.9**self.steps))


def train(error: Error, seeds: Sequence[int]) -> Tensor:
    """Train a mixture on each world, and give the share of new places painted right, (S,)."""
    train, new = (stacked(side) for side in zip(*map(draw_world, seeds), strict=True))
    train = World(train.x[..., :N_PLACES], train.y[..., :N_PLACES], train.region)
    starts = zip(*(draw_start(seed, N_EXPERTS) for seed in seeds), strict=True)
    experts, router = (torch.stack(part).requires_grad_() for part in starts)
    parts = [_Adam(experts), _Adam(router)]
    for step in range(N_STEPS):
        losses = _losses(error, step / N_STEPS, experts, router, train)
        pulls = torch.autograd.grad(losses.sum(), [experts, router])
        for part, pull in zip(parts, pulls, strict=True):
            part.step(pull)
    return _painted_right(experts.detach(), router.detach(), new)


def _losses(error: Error, progress: float, experts: Tensor, router: Tensor, world: World) -> Tensor:
    def loss(experts: Tensor, router: Tensor, x: Tensor, y: Tensor) -> Tensor:
        outputs = torch.einsum("eod,dt->teo", experts, x)
        return bare(outputs, (router @ x).T.log_softmax(dim=-1), y.T, progress)

    # Whoever watches the calls of an answer looks at its arguments, which nobody can under `vmap`.
    bare = getattr(error, "__wrapped__", error)
    return torch.vmap(loss, randomness="different")(experts, router, world.x, world.y)


def _painted_right(experts: Tensor, router: Tensor, new: World) -> Tensor:
    owner = (router @ new.x).argmax(dim=1)  # (S, T)
    best = experts[torch.arange(len(owner))[:, None], owner]  # (S, T, 3, 3)
    answers = torch.einsum("stod,sdt->sot", best, new.x)
    return ((new.y - answers).square().sum(dim=1) < RIGHT).double().mean(dim=-1)


@EXERCISE.stage("a loss")
def _loss(answer: Any, seed: int) -> None:
    for progress in (0.0, 0.5, 0.99):
        given = inputs((7, 5, 3), seed)
        leaves = [given["outputs"].requires_grad_(), given["logits"].requires_grad_()]
        with torch.enable_grad():
            got = answer(leaves[0], leaves[1].log_softmax(dim=-1), given["targets"], progress)
            require_scalar(got, **given, progress=progress)
            require(
                bool(got.isfinite()) and got.requires_grad,
                "The error must be finite, and depend on the outputs or the gates.",
                cause="A logarithm of zero or a division by it, or a graph that was cut: "
                "`.detach()`, `.item()` and `torch.no_grad()` cut it.",
                cure="Compute with torch functions from the arguments to the result.",
                got=got,
                example={**given, "progress": progress},
            )


@EXERCISE.stage("several worlds at once")
def _several(answer: Any, seed: int) -> None:
    world = stacked(tuple(draw_world(one)[0] for one in worlds_of(seed)[:2]))
    experts, router = map(
        torch.stack, zip(*(draw_start(s, N_EXPERTS) for s in (0, 1)), strict=True)
    )
    try:
        got = _losses(answer, 0.5, experts, router, world)
    except RuntimeError as error:
        if "vmap" not in str(error):
            raise
        raise WrongAnswer(
            "The error works on one world, and not under `torch.vmap`, which trains several.",
            cause="`.item()`, `float(...)`, `if` on a tensor, or a mask as an index: each needs "
            "to know numbers that differ from world to world.",
            cure="`torch.where` in the place of `if` and of masks, and tensors in the place of "
            "Python numbers.",
            got=Words(str(error).split(".")[0]),
        ) from None
    require(got.shape == (2,), "Under `torch.vmap` each world must have one number.", got=got)


@GOAL.measure
def _shares(answer: Any, seeds: Sequence[int]) -> list[float]:
    worlds = [world for seed in seeds for world in worlds_of(seed)]
    return train(answer, worlds).reshape(len(seeds), N_WORLDS).mean(dim=1).mul(100).tolist()
