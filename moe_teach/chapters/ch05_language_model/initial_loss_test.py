"""Chapter 05, exercise 5.3: what to ask of a model before it is trained."""

import math
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch05_language_model import inputs
from moe_teach.chapters.ch05_language_model.loss_slips import cross_entropy, loss_slips
from moe_teach.judging.exercise import Exercise, Words, generator, require

EXERCISE = Exercise(
    id="5.3",
    name="initial_loss_test",
    title="A test for the first minute",
    points=2,
    difficulty=3,
    importance=5,
    minutes=20,
    hints=(
        "Two small experiments. For the loss, line logits and targets up: drop the last logits and "
        "the first token. For causality, call the model twice and compare what must be equal.",
        "`functional.cross_entropy` wants logits (N, V) and targets (N,): flatten both. Work on a "
        "`clone()` when you change the last token; `(token + 1) % vocab_size` is always another.",
        "loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), token_ids[:, 1:].flatten()"
        ").item(); near = abs(loss - math.log(vocab_size)) <= tolerance; causal = allclose of both "
        "logits at [:, :-1].",
    ),
    explanation="The first test costs one forward pass and catches a start that shouts, an answer "
    "among the inputs, and a loss that was summed or counted in another unit. It is blind to a "
    "leak that the model has not learned to use: with the whole future in sight, an untrained "
    "model still says ln V. That is what the second test is for.",
)
OTHER_LOSS = "This is not the mean cross-entropy of the next tokens."
SIZES = ((1, 2, 3), (1, 4, 5), (3, 5, 7))  # sequences, positions, vocabulary


def _text(sizes: tuple[int, int, int], seed: int) -> Tensor:
    # The last id of a large vocabulary never stands in it: V cannot be read off a text.
    n_used = sizes[2] if sizes[2] < 5 else sizes[2] - 1
    return torch.randint(n_used, sizes[:2], generator=generator(seed + 1))


@EXERCISE.stage("three results")
def _first_form(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        ids = _text(sizes, seed)
        got = answer(inputs.causal(sizes[2], 1.0, seed), ids, sizes[2], 0.2)
        example = {"token_ids": ids, "vocab_size": sizes[2], "tolerance": 0.2}
        require(
            isinstance(got, tuple | list) and len(got) == 3,
            "These are not three things: the loss, whether it is near ln V, whether the model is "
            "causal.",
            cause="One of the three results is left out, or they came under names.",
            cure="Return three things, with commas between them: loss, near, causal.",
            got=got,
            example=example,
        )
        kinds = [type(part) for part in got]
        require(
            issubclass(kinds[0], float) and kinds[1:] == [bool, bool],
            "These are not a plain float and two plain bools.",
            cause="A tensor with one entry is neither, and they come in this order.",
            cure="`.item()` makes a number of a tensor with one entry, and `bool(...)` a truth "
            "value.",
            expected=Words("a float, a bool, a bool"),
            got=got,
            example=example,
        )


@EXERCISE.stage("the loss")
def _first_loss(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        ids = _text(sizes, seed)
        model = inputs.as_module(inputs.causal(sizes[2], 1.0, seed))
        logits = model(ids).detach()
        expected = cross_entropy(logits[:, :-1], ids[:, 1:])
        got = answer(model, ids, sizes[2], 0.2)[0]
        facts = {"expected": expected, "got": got, "example": {"token_ids": ids, "logits": logits}}
        if math.isclose(got, expected, rel_tol=1e-4, abs_tol=1e-5):
            continue
        for (cause, cure), slip in loss_slips(logits, ids, expected).items():
            slipped = math.isclose(got, slip, rel_tol=1e-4, abs_tol=1e-5)
            require(not slipped, OTHER_LOSS, cause=cause, cure=cure, **facts)
        require(
            False,
            OTHER_LOSS,
            cause="Not every row or position is counted, the sum is divided by another number, or "
            "rows, positions and vocabulary were mixed.",
            cure="Flatten rows and positions together, and leave the vocabulary as the last "
            "dimension: `.flatten(0, 1)` for the logits, `.flatten()` for the tokens.",
            **facts,
        )


@EXERCISE.stage("near ln V")
def _first_near(answer: Any, seed: int) -> None:
    ids, vocab_size = _text((5, 7, 11), seed), 11
    for name, model in (
        ("knows nothing", inputs.causal(vocab_size, 0.001, seed)),
        ("shouts", inputs.causal(vocab_size, 5.0, seed)),
        ("sees the answers", inputs.knowing(vocab_size)),
    ):
        loss, near, _ = answer(model, ids, vocab_size, 0.2)
        expected = abs(loss - math.log(vocab_size)) <= 0.2
        example = {"model": Words(f"one that {name}"), "loss": loss, "vocab_size": vocab_size}
        facts = {"expected": expected, "got": near, "example": example}
        require(
            near == expected or loss > math.log(vocab_size) or expected,
            "A loss far *below* ln V was let through.",
            cause="Only losses above it are refused, and a model below it sees the answers.",
            cure="Measure the distance on both sides: `abs(loss - math.log(vocab_size))`.",
            **facts,
        )
        require(
            near == expected,
            "Whether the loss lies within `tolerance` of ln V came out wrong.",
            cause="The distance is a difference in nats, not a ratio; ln V is the natural "
            "logarithm of vocab_size, not of what is found in a text.",
            cure="abs(loss - math.log(vocab_size)) <= tolerance.",
            **facts,
        )


@EXERCISE.stage("tolerance")
def _first_tolerance(answer: Any, seed: int) -> None:
    ids, vocab_size = _text((5, 7, 11), seed), 11
    for model in (inputs.knowing(vocab_size), inputs.causal(vocab_size, 0.3, seed)):
        loss = answer(model, ids, vocab_size)[0]
        distance = abs(loss - math.log(vocab_size))
        for share in (1e6, 1.1, 0.9):
            near = answer(model, ids, vocab_size, share * distance)[1]
            example = {"loss": loss, "vocab_size": vocab_size, "tolerance": share * distance}
            facts = {"expected": share > 1, "got": near, "example": example}
            require(
                near or share < 1,
                "A loss within `tolerance` was refused.",
                cause="It is not used, but a number of your own.",
                cure="Compare the distance with `tolerance`, as it is given.",
                **facts,
            )
            require(
                not near or share > 1,
                "A loss farther from ln V than `tolerance` was called near.",
                cause="The distance is divided by something, or `tolerance` is widened.",
                cure="The distance is a difference in nats, not a ratio: "
                "abs(loss - math.log(vocab_size)) <= tolerance.",
                **facts,
            )
    for size in (0.2, 0.3, 0.4, 0.5, 0.6):
        model = inputs.causal(11, size, seed)
        require(
            answer(model, ids, 11) == answer(model, ids, 11, 0.2),
            "Without a fourth argument, another answer comes than with a tolerance of 0.2.",
            cause="The parameter has another default than in the stub, where `tolerance` is 0.2.",
            cure="Keep the default of the stub.",
        )


@EXERCISE.stage("causal")
def _first_causal(answer: Any, seed: int) -> None:
    for sizes in ((1, 3, 5), (3, 5, 7)):
        ids, vocab_size = _text(sizes, seed), sizes[2]
        facts = {"expected": True, "got": False, "example": {"token_ids": ids}}
        require(
            answer(inputs.causal(vocab_size, 0.01, seed), ids, vocab_size, 0.2)[2],
            "A causal model was called a cheat.",
            cause="The logits at the *last* position may change, because it reads the token you "
            "replaced; or the last row was replaced, `[-1]`, or the first token.",
            cure="Replace `[:, -1]`, and compare the logits at `[:, :-1]`.",
            **facts,
        )
        require(
            answer(inputs.rounding(vocab_size, seed), ids, vocab_size, 0.2)[2],
            "Two calls of this causal model differ by a few millionths, as sums in another order "
            "do, and it was called a cheat.",
            cause="They were compared exactly, or by their sum.",
            cure="Allow differences of up to 1e-5 in each logit.",
            **facts,
        )
        loud = answer(inputs.causal(vocab_size, 9.0, seed), ids, vocab_size, 0.2)[2]
        cheat = answer(inputs.peeking(vocab_size, seed), ids, vocab_size, 0.2)[2]
        require(
            loud or not cheat,
            "A causal model with a high loss failed, and a cheat with a low one passed.",
            cause="Perhaps causality is judged by the size of a loss.",
            cure="Compare logits, before and after the last token is replaced.",
            **facts,
        )
        require(
            loud,
            "A causal model whose first loss is far from ln V was called a cheat.",
            cause="Two losses were compared, or the first of the two questions decides the second.",
            cure="Compare the logits, and nothing computed from them: the loss may change.",
            **facts,
        )


@EXERCISE.stage("a cheat")
def _first_cheat(answer: Any, seed: int) -> None:
    for sizes in ((1, 3, 2), (1, 3, 5), (3, 5, 7)):
        ids, vocab_size = _text(sizes, seed), sizes[2]
        lasts = [torch.full_like(ids[:, -1:], v) for v in range(vocab_size)]
        texts = [torch.cat([ids[:, :-1], last], dim=1) for last in lasts]
        passed = [
            answer(inputs.peeking(vocab_size, seed), text, vocab_size, 0.2)[2] for text in texts
        ]
        first = passed.index(True) if any(passed) else 0
        facts = {"expected": False, "got": True, "example": {"token_ids": texts[first]}}
        require(
            all(passed) or not any(passed),
            "This model sees the future, and with this last token it was called causal.",
            cause="It was replaced by one that stood there already: a fixed, a random or a "
            "neighbour's token may be the same.",
            cure="`(token + 1) % vocab_size` is always another.",
            **facts,
        )
        require(
            not any(passed),
            "This model sees the future and was called causal.",
            cause="A loss hides small differences (an untrained cheat starts near ln V like "
            "everybody else), and another token than the last one tells nothing.",
            cure="Replace the last token, and compare the *logits* of all earlier positions.",
            **facts,
        )


@EXERCISE.stage("a leak anywhere")
def _first_leak(answer: Any, seed: int) -> None:
    ids, vocab_size = _text((3, 5, 7), seed), 7
    places = [(row, position) for row in range(3) for position in range(4)]
    for at, size in (*((at, 1.0) for at in places), ((1, 2), 5e-5)):
        require(
            not answer(inputs.leaking(vocab_size, at, size, seed), ids, vocab_size, 0.2)[2],
            f"In row {at[0]}, at position {at[1]}, one logit moves by {size:g} or more when the "
            "last token of the row is replaced, and the model was called causal.",
            cause="Only some rows or positions are replaced or compared, a mean or a sum hides "
            "it, or the tolerance is too wide.",
            cure="Replace it in every row, and compare all earlier positions and all logits, one "
            "by one, to within 1e-5.",
            expected=False,
            got=True,
            example={"token_ids": ids},
        )
