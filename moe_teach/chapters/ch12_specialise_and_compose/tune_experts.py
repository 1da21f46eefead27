"""Chapter 12, exercise 12.5, a fault to find: experts that were frozen move all the same."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from moe_teach.judging.exercise import Exercise, Words, generator, require
from moe_teach.judging.reasons import Why, likely

EXERCISE = Exercise(
    id="12.5",
    name="tune_experts",
    title="The frozen ones move",
    points=2,
    difficulty=4,
    importance=4,
    minutes=20,
    version=2,
    changes_inputs=True,  # training changes the weights: that is the task
    limit=60,  # an answer that makes an optimiser of its own imports a compiler
    hints=(
        "Run it on zero gradients and look who moves. A gradient of zero is not 'leave it alone': "
        "what does AdamW do with weight decay, and with what it remembers?",
        "The optimiser knows whole tensors and no rows. So whatever it did to rows that are to "
        "stay can only be taken back after its step.",
        "still = [e for e in range(len(weights)) if e not in trained]; before = "
        "weights.detach()[still].clone(); ... optimizer.step(); with torch.no_grad(): "
        "weights[still] = before.",
    ),
    explanation="Two things move what has no gradient: weight decay, and the momentum of earlier "
    "steps. Setting decay to zero cures the first for everybody, also for those that should be "
    "trained as before; clearing the optimiser's memory cures the second and starts the trained "
    "ones anew. Putting the rows back is exact, and cheap as long as the layer is. The library "
    "hides the still rows from the optimiser altogether (`training_experts`), so that it keeps "
    "no moments for them either.",
)
N_EXPERTS, SHAPE, N_STEPS = 5, (3, 4), 4
RATE, DECAY = 0.05, 0.3


class PlainAdamW(torch.optim.AdamW):
    """AdamW with torch's own arithmetic, but without its wrappers for compiled code.

    They import torch's compiler at the first step of a process, which takes a second.
    """

    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


def _prepared(seed: int) -> tuple[nn.Parameter, torch.optim.AdamW, list[Tensor]]:
    """Make weights that were trained for some steps, their optimiser, and gradients to come."""
    source = generator(seed)

    def drawn() -> Tensor:
        return torch.randn(N_EXPERTS, *SHAPE, generator=source)

    weights = nn.Parameter(drawn())
    optimizer = PlainAdamW([weights], lr=RATE, weight_decay=DECAY)
    for _ in range(3):
        weights.grad = drawn()
        optimizer.step()
    return weights, optimizer, [drawn() for _ in range(N_STEPS)]


def _called(answer: Any, trained: list[int], seed: int) -> tuple[Tensor, Any, Any]:
    """Return the weights before, the weights after the answer, and their optimiser."""
    weights, optimizer, gradients = _prepared(seed)
    before = weights.detach().clone()
    given = [g.clone() for g in gradients]
    returned = answer(weights, optimizer, given, trained)
    require(
        returned is weights,
        "`tune_experts` must return the weights that it was given, trained in place.",
        cause="The optimiser knows this one tensor; a copy of it is nobody's parameter.",
        cure="`return weights`.",
        got=Words(type(returned).__name__),
    )
    require(
        all(torch.equal(now, then) for now, then in zip(given, gradients, strict=True)),
        "The gradients that were handed in have changed.",
        cause="A mask was written into the gradient itself, and `weights.grad = g` is `g`, not a "
        "copy.",
        cure="No mask is needed: put rows back instead. Or work with `g.clone()`.",
    )
    return before, weights, optimizer


def _adamw(seed: int, spoil: Callable[[torch.optim.AdamW], Any] = id) -> Tensor:
    """Return the weights after an AdamW that trains everybody, perhaps one that lost something."""
    weights, optimizer, gradients = _prepared(seed)
    spoil(optimizer)
    for gradient in gradients:
        weights.grad = gradient
        optimizer.step()
    return weights.detach()


def _forget_decay(optimizer: torch.optim.AdamW) -> None:
    optimizer.param_groups[0]["weight_decay"] = 0.0


def _forget_steps(optimizer: torch.optim.AdamW) -> None:
    optimizer.state.clear()


def _forget_moments(optimizer: torch.optim.AdamW) -> None:
    for kept in optimizer.state.values():
        kept["exp_avg"].zero_()
        kept["exp_avg_sq"].zero_()


def _forget_both(optimizer: torch.optim.AdamW) -> None:
    _forget_decay(optimizer)
    _forget_steps(optimizer)


NO_DECAY = Why(
    "Its weight decay is gone. One setting holds for all rows of the tensor.",
    "Leave the optimiser's settings alone, and repair only rows that must stay.",
)
NO_MEMORY = Why(
    "Its momentum is gone: the optimiser, or what it remembers of earlier steps, is new.",
    "Step with the optimiser that was handed in, as it is, and repair only rows that must stay.",
)
NO_MOMENTS = Why(
    "Its moments were set to zero, as they may be for those that stay and not for the trained.",
    "Leave alone what the optimiser remembers, and repair only rows that must stay.",
)
NEITHER = Why(
    "Both its weight decay and its momentum are gone.",
    "Leave optimiser and settings alone, and repair only rows that must stay.",
)
SLIPS = (
    (_forget_decay, NO_DECAY),
    (_forget_steps, NO_MEMORY),
    (_forget_moments, NO_MOMENTS),
    (_forget_both, NEITHER),
)
OTHER = Why(
    "Each gradient is one step of this optimiser; here some are missing, summed or changed.",
    "For each g: `weights.grad = g`, then `optimizer.step()`, and nothing else for trained rows.",
)
CASES = ([3], [4, 0], [1, 2, 3], [0, 1, 2, 3, 4], [])


@EXERCISE.stage("those that stay")
def _tune_still(answer: Any, seed: int) -> None:
    everybody = _adamw(seed)
    for trained in CASES:
        before, weights, _ = _called(answer, trained, seed)
        after = weights.detach()
        for expert in (e for e in range(N_EXPERTS) if e not in trained):
            moved = float((after[expert] - before[expert]).abs().max())
            require(
                torch.equal(after[expert], before[expert]),
                f"Expert {expert} is not among the trained {trained}, and moved by up to "
                f"{moved:.2g}.",
                cause=_why_moved(before[expert], after[expert], everybody[expert]),
                cure="Keep a copy of its row from before the step, and put it back after it.",
                expected=before[expert],
                got=after[expert],
                example={"trained": trained},
            )


def _why_moved(before: Tensor, after: Tensor, as_trained: Tensor) -> str:
    if torch.allclose(after, before, atol=1e-5):
        return "It came back by computing, which rounds; only a copy of before has its last bits."
    if torch.allclose(after, before * (1 - RATE * DECAY) ** N_STEPS, atol=1e-5):
        return "It faded by the same share everywhere: weight decay asks for no gradient."
    if torch.allclose(after, as_trained, atol=1e-5):
        return (
            "It was trained. If its row was put back: `weights[e]` and `.detach()` alone are a "
            "view of the weights, and move with them."
        )
    return (
        "A gradient of zero leaves what the optimiser remembers of earlier steps, and decay. And a "
        "row kept as `weights[e]` is a view of the weights, which moves with them."
    )


@EXERCISE.stage("those that learn")
def _tune_learns(answer: Any, seed: int) -> None:
    everybody = _adamw(seed)
    for trained in CASES:
        before, weights, _ = _called(answer, trained, seed)
        after = weights.detach()
        for expert in trained:
            if torch.allclose(after[expert], everybody[expert], atol=1e-6):
                continue
            require(
                False,
                f"Expert {expert} is trained, and is not where AdamW would have brought it.",
                **_why_lost(after[expert], before[expert], everybody[expert], expert, seed),
                expected=everybody[expert],
                got=after[expert],
                example={"trained": trained},
            )


def _why_lost(
    after: Tensor, before: Tensor, expected: Tensor, expert: int, seed: int
) -> dict[str, str]:
    if torch.equal(after, before):
        return {
            "cause": "It has not moved at all: its row was put back too, or no step was made.",
            "cure": "Put back only the rows of experts that are not in `trained`.",
        }
    slips = ((_adamw(seed, spoil)[expert], why) for spoil, why in SLIPS)
    return likely(after, expected, slips, OTHER)


@EXERCISE.stage("what comes after")
def _tune_leaves_no_trace(answer: Any, seed: int) -> None:
    settings = _settings(_prepared(seed)[1])
    for trained in ([3], []):
        _, weights, optimizer = _called(answer, trained, seed)
        require(
            weights.requires_grad and _settings(optimizer) == settings,
            "The training is over, and the weights want no gradient any longer or the optimiser "
            "has other settings than before.",
            cause="`requires_grad`, the learning rate or the weight decay was switched for the "
            "repair, and not switched back.",
            cure="The repair needs neither; `torch.no_grad()` allows writing into the rows.",
            expected=settings,
            got=_settings(optimizer),
        )
        before = weights.detach().clone()
        weights.grad = torch.ones_like(before)
        optimizer.step()
        moved = (weights.detach() != before).flatten(1).any(dim=1).tolist()
        hooks = optimizer._optimizer_step_pre_hooks | optimizer._optimizer_step_post_hooks
        require(
            all(moved) and not hooks,
            "A later step does not move every expert, or something of yours still runs with it.",
            cause="A hook of the repair is still there, or the optimiser has another tensor.",
            cure="Put rows back inside `tune_experts`, and leave nothing behind.",
            got=moved,
            example={"trained": trained},
        )


def _settings(optimizer: torch.optim.AdamW) -> dict[str, Any]:
    names = ("lr", "betas", "eps", "weight_decay")
    return {name: optimizer.param_groups[0][name] for name in names}
