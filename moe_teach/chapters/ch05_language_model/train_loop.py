"""Chapter 05, exercise 5.6: the training loop, with nothing hidden."""

from functools import lru_cache
from typing import Any

import torch

from moe_teach.chapters.ch05_language_model.training_runs import (
    SLIPS,
    Course,
    course,
    right_loop,
)
from moe_teach.judging.exercise import Exercise, Words, require

EXERCISE = Exercise(
    id="5.6",
    name="train_loop",
    title="A training loop with nothing hidden",
    points=3,
    difficulty=3,
    importance=5,
    minutes=20,
    needs=("5.1",),
    changes_inputs=True,
    limit=30,  # it trains, and a crowded machine takes several times as long
    hints=(
        "One step: empty the gradients; for each part of the batch, compute its share of the loss "
        "and go backward at once; then clip, set the learning rate, step. Backward *adds*, so the "
        "parts need nobody to join them.",
        "The batch's task loss is a sum over all questions divided by their number. So take "
        'reduction="sum" in each part, and divide by (batch.targets != -100).sum() of the whole.',
        "for inputs, targets in zip(batch.inputs.chunk(accumulate), "
        "batch.targets.chunk(accumulate)): ...; (task + balance_coef * balance / "
        "accumulate).backward(). After the parts: nn.utils.clip_grad_norm_(model.parameters(), "
        'clip); group["lr"] = lr_at(step) for each group; optimizer.step().',
    ),
    explanation="Averaging the means of the parts is the bug that most trainers of the world had "
    "until 2024: invisible while all parts are asked equally much, and wrong as soon as texts have "
    "different lengths. Dividing sums by the questions of the whole batch makes accumulation what "
    "it promises to be, a matter of memory and not of learning. The balancing loss of a part looks "
    "at the part's tokens only; that much does change, and the library can count ahead instead.",
)
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"balance_coef": 0.5, "clip": 0.3},
    {"accumulate": 4, "balance_coef": 0.5, "n_steps": 2},
)


def _both(answer: Any, seed: int, options: dict[str, Any]) -> tuple[Course, Any, Course, list]:
    """Train one model with the answer and its twin with the right loop."""
    theirs = course(seed, **options)
    return theirs, theirs.with_loop(answer), *_right_run(seed, tuple(options.items()))


@lru_cache(maxsize=16)
def _right_run(seed: int, options: tuple[tuple[str, Any], ...]) -> tuple[Course, list]:
    """Train with the right loop; nobody changes the result, so the next check finds it ready."""
    ours = course(seed, **dict(options))
    return ours, ours.with_loop(right_loop)


def _shown(options: dict[str, Any], n_steps: int = 3) -> dict[str, Any]:
    return {"model": Words("two layers of 3 experts"), "n_steps": n_steps, **options}


@EXERCISE.stage("what comes back")
def _loop_losses(answer: Any, seed: int) -> None:
    for n_steps in (1, 2):
        run = course(seed, n_steps)
        got = run.with_loop(answer)
        require(
            isinstance(got, list) and len(got) == n_steps,
            "Return a list with one loss for each step.",
            expected=Words(f"a list of {n_steps} numbers"),
            got=got,
            example=_shown({}, n_steps),
        )
        require(
            all(type(loss) is float for loss in got),
            "The losses must be plain floats.",
            cause="A tensor with a graph keeps everything of its step in memory, for as long as "
            "the list lives.",
            cure="`.item()` makes a number of it.",
            got=got,
            example=_shown({}, n_steps),
        )
        require(
            run.model.training,
            "The model was trained in evaluation mode, where routers draw no noise and dropout "
            "sleeps.",
            cure="Call `model.train()` before the first step.",
            example=_shown({}, n_steps),
        )


def _fits(losses: list[float], right: list[float]) -> bool:
    return all(abs(a - b) <= 2e-5 * (1 + abs(b)) for a, b in zip(losses, right, strict=True))


def _weights_fit(theirs: Course, ours: Course) -> bool:
    pairs = zip(theirs.model.parameters(), ours.model.parameters(), strict=True)
    return all(bool((a - b).abs().max() <= 1e-4 * (1 + b.abs().max())) for a, b in pairs)


def _cause(losses: list[float], theirs: Course, seed: int, options: dict[str, Any]) -> str:
    """Find the slip that gives these very losses and weights."""
    for slip, sentence in SLIPS.items():
        twin = course(seed, **options)

        def loop(*given: Any, slip: str = slip, **named: Any) -> list[float]:
            return right_loop(*given, slip=slip, **named)

        if _fits(losses, twin.with_loop(loop)) and _weights_fit(theirs, twin):
            return sentence
    return (
        "Does every step do all six things, in this order: zero_grad, backward, clip, rate, step?"
    )


@EXERCISE.stage("a step at a time")
def _loop_values(answer: Any, seed: int) -> None:
    for options in OPTIONS[:2]:
        _require_same_run(answer, seed, options)


@EXERCISE.stage("in parts")
def _loop_parts(answer: Any, seed: int) -> None:
    for options in OPTIONS[2:]:
        _require_same_run(answer, seed, options)


def _require_same_run(answer: Any, seed: int, options: dict[str, Any]) -> None:
    theirs, losses, ours, right = _both(answer, seed, options)
    if _fits(losses, right) and _weights_fit(theirs, ours):
        return
    apart = [i for i in range(len(right)) if not _fits(losses[i : i + 1], right[i : i + 1])]
    where = f"The losses part at step {apart[0]}." if apart else "The weights part."
    require(
        False,
        f"{where} The same model on the same batches ends elsewhere.",
        cause=_cause(losses, theirs, seed, options),
        expected=right,
        got=losses,
        example=_shown(options),
    )


def _uneven(routing: Any) -> torch.Tensor:
    return routing.probs.square().sum(dim=-1).mean()


@EXERCISE.stage("its helpers")
def _loop_helpers(answer: Any, seed: int) -> None:
    mine: list[tuple[int, int]] = []

    def note(step: int, outputs: Any) -> None:
        mine.append((step, len(outputs)))

    options = {"balance_loss": _uneven, "accumulate": 2, "balance_coef": 1.0, "n_steps": 2}
    theirs = course(seed, on_step=note, **options)
    losses = theirs.with_loop(answer)
    ours, right = _right_run(seed, tuple(options.items()))
    expected = [(step, 2) for step in range(2)]
    require(
        mine == expected,
        "`on_step(step, outputs)` is called once for each step, after the update, with the "
        "model's outputs for all parts of the batch.",
        expected=Words(f"(step, number of outputs): {expected}"),
        got=Words(f"{mine}"),
    )
    require(
        _fits(losses, right) and _weights_fit(theirs, ours),
        "With another `balance_loss` the run ends elsewhere.",
        cause="Was the library's called in the place of the one that was handed in?",
        expected=right,
        got=losses,
    )
