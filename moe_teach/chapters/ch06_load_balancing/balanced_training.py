"""Chapter 06, exercise 6.7: the reader's own collapse, and their own cures."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch06_load_balancing.balanced_parts import (
    OF_EXERCISE,
    PARTS,
    SLIPS,
    model_and_optimizer,
    right,
    squared,
)
from moe_teach.chapters.ch06_load_balancing.kinds_model import (
    LEARNING_RATE,
    KindsBatches,
    KindsModel,
)
from moe_teach.judging.exercise import Exercise, Words, require, require_tensor
from moe_teach.judging.stand_ins import require_own_part

EXERCISE = Exercise(
    id="6.7",
    name="train_balanced",
    title="Your collapse, your cure",
    points=3,
    difficulty=4,
    importance=4,
    minutes=20,
    needs=("4.7", "5.6", "6.1", "6.3"),
    changes_inputs=True,
    limit=30,  # it trains, and a crowded machine takes several times as long
    hints=(
        "The loop has two doors: `balance_loss` with its factor, and `on_step`. The loss comes in "
        "by the first. The bias needs the second, to see who was chosen, and another `route` in "
        "the layer.",
        "`route` and `on_step` must share one tensor: make `bias` in train_balanced, read it in "
        "the one function, and change it *in place* in the other.",
        "probs = logits.softmax(dim=-1); expert_ids = (probs + bias).topk(top_k).indices; gates = "
        "probs.gather(-1, expert_ids). In on_step: bias.copy_(move(bias, expert_ids, strength)).",
    ),
    explanation="Both cures stand outside the layer and outside the loop: one is a term of the "
    "loss, the other a number that is moved by hand. Neither knows the other's code. The loop's "
    "own default of 0.01 is worth the trap: a comparison with no balancing must switch it off, and "
    'published "baselines without balancing" have forgotten to.',
)
SMALL = ((16, 5, 1, 3, False), (16, 4, 2, 3, True))
STRENGTHS = {"none": 0.0, "loss": 0.3, "bias": 0.05}
IN_USE = {"none": (1, 4), "loss": (6, 8), "bias": (5, 8)}
STEPS = 3


def _run(answer: Any, sizes: Any, seed: int, cure: str, **parts: Any) -> tuple[Any, KindsModel]:
    model, optimizer = model_and_optimizer(sizes, seed)
    batches = KindsBatches(seed)
    got = answer(model, optimizer, batches, STEPS, LEARNING_RATE, cure, STRENGTHS[cure], **parts)
    return got, model


@lru_cache(maxsize=64)
def _right(sizes: Any, seed: int, cure: str, is_squared: bool = False) -> tuple[Any, KindsModel]:
    """Train with the right answer; nobody changes the result, so the next stage finds it ready."""
    return _run(right, sizes, seed, cure, **({"balance": squared} if is_squared else {}))


def _same(one: KindsModel, other: KindsModel) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(bool((a - b).abs().max() < 1e-5) for a, b in pairs)


def _example(sizes: Any, cure: str) -> dict[str, Any]:
    return {"n_experts": sizes[1], "top_k": sizes[2], "n_steps": STEPS, "cure": cure,
            "strength": STRENGTHS[cure]}  # fmt: skip


@EXERCISE.stage("what comes back")
def _balanced_counts(answer: Any, seed: int) -> None:
    for sizes in SMALL:
        got, _ = _run(answer, sizes, seed, "none", **PARTS)
        expected, _ = _right(sizes, seed, "none")
        require_tensor(got, _example(sizes, "none"))
        require(
            got.shape == expected.shape and not got.is_floating_point(),
            "Return a table of integers: one row for each step, one column for each expert.",
            cause="An expert without tokens still has its column, and `on_step` is called once "
            "for each step.",
            cure="torch.bincount(..., minlength=n_experts) in on_step, torch.stack at the end.",
            expected=expected,
            got=got,
            example=_example(sizes, "none"),
        )


def _require_same(answer: Any, seed: int, cure: str) -> None:
    for sizes in SMALL:
        parts = {**PARTS, "balance": squared}
        got, model = _run(answer, sizes, seed, cure, **parts)
        expected, twin = _right(sizes, seed, cure, is_squared=True)
        if torch.equal(got.long(), expected) and _same(model, twin):
            continue
        cause = "Does every part get what its exercise asks for, and nothing twice?"
        for slip, sentence in SLIPS.items():
            table, wrong = _run(right, sizes, seed, cure, slip=slip, **parts)
            if torch.equal(got.long(), table) and _same(model, wrong):
                cause = sentence
                break
        require(
            False,
            f'With cure="{cure}" the training ends elsewhere.',
            cause=cause,
            expected=expected,
            got=got,
            example=_example(sizes, cure),
        )


@EXERCISE.stage("no cure")
def _balanced_none(answer: Any, seed: int) -> None:
    _require_same(answer, seed, "none")


@EXERCISE.stage("the loss")
def _balanced_loss(answer: Any, seed: int) -> None:
    _require_same(answer, seed, "loss")


@EXERCISE.stage("the bias")
def _balanced_bias(answer: Any, seed: int) -> None:
    _require_same(answer, seed, "bias")


@EXERCISE.stage("another word")
def _balanced_unknown(answer: Any, seed: int) -> None:
    model, optimizer = model_and_optimizer(SMALL[0], seed)
    try:
        answer(model, optimizer, KindsBatches(seed), 1, LEARNING_RATE, "luck", 0.1, **PARTS)
    except ValueError:
        return
    require(
        False,
        'cure="luck" is none of the three, and it was trained without a word.',
        cause="Whoever misspells a cure gets a run without one, and believes its numbers.",
        cure="raise ValueError(...) for every other word.",
        expected=Words("a ValueError"),
        got=Words("no error"),
    )


@EXERCISE.stage("with your parts")
def _balanced_yours(answer: Any, seed: int) -> None:
    needed = {"loop": "none", "balance": "loss", "move": "bias"}
    for name, cure in needed.items():
        others = {other: PARTS[other] for other in PARTS if other != name}
        seen = ""
        try:
            got, model = _run(answer, SMALL[0], seed, cure, **others)
        except Exception as error:
            got, model, seen = None, None, f" It raises {type(error).__name__}: {error}"
        expected, twin = _right(SMALL[0], seed, cure)
        item = OF_EXERCISE[name]
        require_own_part(
            model is not None and torch.equal(got.long(), expected) and _same(model, twin),
            name,
            item,
            f"the training ends elsewhere.{seen}",
            expected=expected,
            got=got if isinstance(got, Tensor) else Words("an error"),
        )


@EXERCISE.stage("new tokens")
def _balanced_new_tokens(answer: Any, seed: int) -> None:
    sizes = SMALL[0]
    _, model = _run(answer, sizes, seed, "bias", **PARTS)
    _, twin = _right(sizes, seed, "bias")
    tokens = KindsBatches(seed).test.inputs
    got, expected = (_chosen(trained, tokens) for trained in (model, twin))
    require(
        torch.equal(got, expected),
        'After the training with cure="bias" the layer chooses other experts for new tokens.',
        cause="Does the layer keep its biased route after the training?",
        cure="Leave your route in `model.layer.route`, with the bias where the last step left it.",
        expected=expected,
        got=got,
        example=_example(sizes, "bias"),
    )


@torch.no_grad()
def _chosen(model: KindsModel, tokens: Tensor) -> Tensor:
    (routing,) = model(tokens).routings
    return routing.expert_ids
