"""Chapter 12, exercise 12.5, a fault to find: experts that were frozen move all the same."""

from typing import Any

import torch
from torch import Tensor, nn

from moe_teach.judging.exercise import Exercise, Words, generator, require

EXERCISE = Exercise(
    id="12.5",
    name="tune_experts",
    title="The frozen ones move",
    points=2,
    difficulty=4,
    importance=4,
    minutes=20,
    changes_inputs=True,  # training changes the weights: that is the task
    limit=60,  # the first optimiser of a process imports a compiler
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
N_EXPERTS, SHAPE = 5, (3, 4)


def _prepared(seed: int) -> tuple[nn.Parameter, torch.optim.AdamW, list[Tensor]]:
    """Make weights that were trained for some steps, their optimiser, and gradients to come."""
    source = generator(seed)

    def drawn() -> Tensor:
        return torch.randn(N_EXPERTS, *SHAPE, generator=source)

    weights = nn.Parameter(drawn())
    optimizer = torch.optim.AdamW([weights], lr=0.05, weight_decay=0.3)
    for _ in range(4):
        weights.grad = drawn()
        optimizer.step()
    return weights, optimizer, [drawn() for _ in range(6)]


def _both(answer: Any, trained: list[int], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weights before, after the answer, and after an AdamW that trains all of them."""
    weights, optimizer, gradients = _prepared(seed)
    before = weights.detach().clone()
    returned = answer(weights, optimizer, [g.clone() for g in gradients], trained)
    require(
        returned is weights,
        "`tune_experts` must return the weights that it was given, trained in place.",
        cause="The optimiser knows this one tensor; a copy of it is nobody's parameter.",
        cure="`return weights`.",
        got=Words(type(returned).__name__),
    )
    everybody, other, _ = _prepared(seed)
    for gradient in gradients:
        everybody.grad = gradient
        other.step()
    return before, weights.detach(), everybody.detach()


CASES = ([3], [0, 4], [1, 2, 3], [0, 1, 2, 3, 4], [])


@EXERCISE.stage("those that stay")
def _tune_still(answer: Any, seed: int) -> None:
    for trained in CASES:
        before, after, _ = _both(answer, trained, seed)
        for expert in (e for e in range(N_EXPERTS) if e not in trained):
            moved = float((after[expert] - before[expert]).abs().max())
            require(
                torch.equal(after[expert], before[expert]),
                f"Expert {expert} is not among the trained {trained}, and moved by up to "
                f"{moved:.2g}.",
                cause=_why_moved(before[expert], after[expert]),
                cure="Keep its row before the step and put it back after it.",
                expected=before[expert],
                got=after[expert],
                example={"trained": trained},
            )


def _why_moved(before: Tensor, after: Tensor) -> str:
    if torch.allclose(after, before * (1 - 0.05 * 0.3) ** 6, atol=1e-5):
        return "It faded by the same share everywhere: weight decay asks for no gradient."
    return "A gradient of zero leaves what the optimiser remembers of earlier steps, and decay."


@EXERCISE.stage("those that learn")
def _tune_learns(answer: Any, seed: int) -> None:
    for trained in CASES:
        before, after, everybody = _both(answer, trained, seed)
        for expert in trained:
            require(
                torch.allclose(after[expert], everybody[expert], atol=1e-6),
                f"Expert {expert} is trained, and is not where AdamW would have brought it.",
                cause="It has not moved at all: its row was put back too."
                if torch.equal(after[expert], before[expert])
                else "Its weight decay, its momentum or some steps are gone.",
                cure="Leave optimiser and settings alone, and repair only rows that must stay.",
                expected=everybody[expert],
                got=after[expert],
                example={"trained": trained},
            )
