"""Chapter 05, exercise 5.7: an evaluation that looks right, to be repaired."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from moe_teach.data.batches import NO_TARGET, Batch
from moe_teach.judging.exercise import Exercise, Words, generator, require

EXERCISE = Exercise(
    id="5.7",
    name="evaluate_model",
    title="Find what is wrong: an evaluation",
    points=3,
    difficulty=4,
    importance=5,
    minutes=25,
    needs=("5.3",),
    changes_inputs=True,  # the last stage says better what was changed
    limit=20,
    hints=(
        "Make inputs that are not like the example: batches that are asked unequally much, a batch "
        "that is not asked at all, logits in bfloat16, a model of which one part is frozen in "
        "evaluation mode. Which of the promises break?",
        "Add up nats, and count questions, over all batches; divide once, at the end. Compute the "
        "nats in float32. Write the mode of *every* module down before `eval()`, and give each its "
        "own back.",
        "modes = [(m, m.training) for m in model.modules()]; nats += cross_entropy(logits.float(), "
        'targets, reduction="sum").item(); n_asked += (targets != -100).sum().item(); afterwards '
        "for m, mode in modes: m.training = mode; return nats / n_asked.",
    ),
    explanation="A mean of means makes the loss depend on how the text was cut into batches "
    "(transformers issues 24839 and 39241). A batch without a question has no mean at all: 0 / 0. "
    "And `model.train()` at the end wakes up whatever somebody had put to sleep on purpose: a "
    "frozen router draws its noise again, dropout comes back. Lightning did so until version 2.2 "
    "(issue 2551, pull request 18951), and this course's own library until the exercise was made.",
)

VOCABULARY = 7


@dataclass
class Answered:
    """What a model returns."""

    logits: Tensor


@dataclass
class Seen:
    """What the model noticed of its calls: was it training, and were gradients recorded?"""

    training: list[bool] = field(default_factory=list)
    recording: list[bool] = field(default_factory=list)


class Noisy(nn.Module):
    """A part that adds noise in training, as a router may."""

    def forward(self, x: Tensor) -> Tensor:
        """Add noise while in training mode."""
        return x + torch.randn_like(x) if self.training else x


class Small(nn.Module):
    """Token ids in, logits out; `dtype` is that of the logits."""

    def __init__(self, seed: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        table = 2 * torch.randn(VOCABULARY, VOCABULARY, generator=generator(seed))
        self.table = nn.Parameter(table.to(dtype).float())
        self.router, self.head = Noisy(), nn.Sequential(Noisy())
        self.kind, self.seen = dtype, Seen()

    def forward(self, token_ids: Tensor) -> Answered:
        """Look logits up, and write down in which state this happened."""
        self.seen.training.append(any(module.training for module in self.modules()))
        self.seen.recording.append(torch.is_grad_enabled())
        return Answered(self.head(self.router(self.table[token_ids])).to(self.kind))


def batch_of(n_rows: int, asked: float, seed: int, length: int = 6) -> Batch:
    """Draw a batch of which about this share is asked for."""
    random = generator(seed)
    text = torch.randint(VOCABULARY, (n_rows, length + 1), generator=random)
    is_asked = torch.rand(n_rows, length, generator=random) < asked
    targets = text[:, 1:].masked_fill(~is_asked, NO_TARGET)
    return Batch(text[:, :-1], targets, torch.zeros(n_rows, dtype=torch.long))


def right_loss(model: Small, batches: list[Batch]) -> float:
    """Average over all that is asked, in float64."""
    nats, n_asked = 0.0, 0
    for batch in batches:
        logits = model.table.detach()[batch.inputs].double()
        targets = batch.targets.flatten()
        nats += cross_entropy(logits.flatten(0, 1), targets, reduction="sum").item()
        n_asked += int((targets != NO_TARGET).sum())
    return nats / n_asked


def _require_loss(answer: Any, model: Small, batches: list[Batch], told: tuple[str, ...]) -> None:
    message, cause, cure = told
    got, expected = answer(model, iter(batches)), right_loss(model, batches)
    asked = ", ".join(str(int((b.targets != NO_TARGET).sum())) for b in batches)
    require(
        isinstance(got, float) and math.isclose(got, expected, rel_tol=1e-5),
        message,
        cause=cause,
        cure=cure,
        expected=expected,
        got=got,
        example={"batches": Words(f"{len(batches)} of them, asked for {asked} tokens")},
    )


@EXERCISE.stage("a number")
def _evaluate_number(answer: Any, seed: int) -> None:
    got = answer(Small(seed), iter([batch_of(2, 1.0, seed)]))
    require(
        isinstance(got, float),
        f"The loss is no plain float, but of type {type(got).__name__}.",
        cause="A sum of tensors is a tensor.",
        cure="End in `.item()`, batch by batch.",
        got=got,
    )


@EXERCISE.stage("as in the example")
def _evaluate_equal(answer: Any, seed: int) -> None:
    for n_batches in (1, 3):
        batches = [batch_of(2, 1.0, seed + i) for i in range(n_batches)]
        told = (
            "With equal batches, all asked for, this is not the mean loss.",
            "The batches come one by one and only once (they may be a generator), the model is to "
            "be in evaluation mode, and position t of the logits stands beside position t of the "
            "targets, which are shifted already.",
            "Go through the batches once; sum of nats over number of questions.",
        )
        _require_loss(answer, Small(seed), batches, told)


@EXERCISE.stage("other batches")
def _evaluate_unequal(answer: Any, seed: int) -> None:
    told = (
        "The same text, cut into batches in another way, gets another loss.",
        "Each batch counts the same here, however much it is asked.",
        "Add up the nats of all batches, count all questions, and divide once.",
    )
    for shares in ((1.0, 0.3), (0.2, 0.5, 1.0)):
        batches = [batch_of(2 + i, share, seed + i) for i, share in enumerate(shares)]
        batches[-1].targets[0, 0] = 0  # somebody asks for something
        _require_loss(answer, Small(seed), batches, told)


@EXERCISE.stage("a silent batch")
def _evaluate_silent(answer: Any, seed: int) -> None:
    batches = [batch_of(3, share, seed) for share in (0.0, 1.0, 0.0)]
    told = (
        "One batch asks for nothing, and the loss of all of them is wrong.",
        "The mean over no questions is 0 / 0, and NaN swallows whatever it is added to.",
        'reduction="sum" gives 0 for such a batch, and 0 questions.',
    )
    _require_loss(answer, Small(seed), batches, told)


@EXERCISE.stage("low precision")
def _evaluate_bfloat16(answer: Any, seed: int) -> None:
    batches = [batch_of(16, 0.9, seed + i) for i in range(3)]
    told = (
        "The logits are bfloat16 and exact, and the loss has lost its digits.",
        "The loss was computed in the dtype of the logits.",
        "Call `.float()` on the logits, before the cross-entropy.",
    )
    _require_loss(answer, Small(seed, torch.bfloat16), batches, told)


@EXERCISE.stage("evaluation")
def _evaluate_mode(answer: Any, seed: int) -> None:
    model = Small(seed)
    answer(model, iter([batch_of(2, 1.0, seed)]))
    require(
        model.seen.training and not any(model.seen.training),
        "A part of the model was in training mode while it was measured.",
        cause="Only the model itself was looked at, or nothing was switched.",
        cure="`model.eval()` reaches all parts.",
    )
    require(
        not any(model.seen.recording),
        "Gradients were recorded, for nothing: an evaluation of a large model runs out of memory.",
        cause="The model was called outside `torch.no_grad()`.",
        cure="with torch.no_grad(): around the calls.",
    )


_LEFT = {
    "nothing": ("the whole model was in training mode", "It stays in evaluation mode for good."),
    "all of it": ("the whole model was in evaluation mode", "`train()` is called at the end."),
    "router": (
        "one part, its router, was frozen in evaluation mode",
        "`model.train(was_training)` reaches all parts, the frozen ones as well.",
    ),
}


@EXERCISE.stage("left as it was")
def _evaluate_left(answer: Any, seed: int) -> None:
    for asleep, (state, cause) in _LEFT.items():
        model = Small(seed)
        for part in {"nothing": (), "all of it": (model,)}.get(asleep, (model.router,)):
            part.eval()
        before = {name or "model": part.training for name, part in model.named_modules()}
        answer(model, iter([batch_of(2, 1.0, seed)]))
        after = {name or "model": part.training for name, part in model.named_modules()}
        require(
            after == before,
            f"Before the call {state}, and after it this is no longer so.",
            cause=cause,
            cure="Note the mode of each of `model.modules()` before, and set `module.training` to "
            "it afterwards, one by one.",
            expected=Words(f"in training mode: {before}"),
            got=Words(f"in training mode: {after}"),
        )
