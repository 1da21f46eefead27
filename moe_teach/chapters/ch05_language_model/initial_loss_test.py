"""Chapter 05, exercise 5.3: what to ask of a model before it is trained."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from moe_teach.chapters.ch05_language_model import inputs
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


def _cross_entropy(logits: Tensor, targets: Tensor) -> float:
    return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten()).item()


@EXERCISE.stage("three results")
def _first_form(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        ids = _text(sizes, seed)
        got = answer(inputs.causal(sizes[2], 1.0, seed), ids, sizes[2], 0.2)
        example = {"token_ids": ids, "vocab_size": sizes[2], "tolerance": 0.2}
        require(
            isinstance(got, tuple) and len(got) == 3,
            "Return three things: the loss, whether it is near ln V, whether the model is causal.",
            got=got,
            example=example,
        )
        kinds = [type(part) for part in got]
        require(
            issubclass(kinds[0], float) and kinds[1:] == [bool, bool],
            "Return a plain float and two plain bools. `.item()` makes a number of a tensor with "
            "one entry, and `bool(...)` a truth value.",
            expected=Words("a float, a bool, a bool"),
            got=got,
            example=example,
        )


def _slips(logits: Tensor, ids: Tensor, expected: float) -> dict[str, float]:
    """What the usual slips give, under the sentence that names each."""
    asked, answers = logits[:, :-1], ids[:, 1:]
    return {
        "Nothing is shifted: the logits at t are held against the token at t, which the model has "
        "just read. They are for the token at t + 1.": _cross_entropy(logits, ids),
        "The shift goes the wrong way: the logits at t + 1 are held against the token at t. Drop "
        "the *last* logits and the *first* token.": _cross_entropy(logits[:, 1:], ids[:, :-1]),
        "The targets were rolled, so the last position of each row is asked for the first token. S "
        "tokens ask S - 1 questions: drop the last logits.": _cross_entropy(
            logits, ids.roll(-1, dims=1)
        ),
        "This is the sum over all positions. Divide by their number.": expected * answers.numel(),
        "This is the loss in bits. Nats use the natural logarithm; do not divide by ln 2.": (
            expected / math.log(2)
        ),
        "This is the perplexity. Return its logarithm, the mean loss in nats.": math.exp(expected),
        "The softmax was taken twice: cross_entropy wants the logits as they are.": (
            _cross_entropy(asked.softmax(dim=-1), answers)
        ),
    }


@EXERCISE.stage("the loss")
def _first_loss(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        ids = _text(sizes, seed)
        model = inputs.as_module(inputs.causal(sizes[2], 1.0, seed))
        logits = model(ids).detach()
        expected = _cross_entropy(logits[:, :-1], ids[:, 1:])
        got = answer(model, ids, sizes[2], 0.2)[0]
        facts = {"expected": expected, "got": got, "example": {"token_ids": ids, "logits": logits}}
        if math.isclose(got, expected, rel_tol=1e-4, abs_tol=1e-5):
            continue
        for sentence, slip in _slips(logits, ids, expected).items():
            slipped = math.isclose(got, slip, rel_tol=1e-4, abs_tol=1e-5)
            require(not slipped, OTHER_LOSS, cause=sentence, **facts)
        require(
            False,
            OTHER_LOSS,
            cause="Are rows and positions flattened together, with the vocabulary left as the last "
            "dimension, and is every row counted?",
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
            cause="Measure the distance on both sides: such a model sees the answers.",
            **facts,
        )
        require(
            near == expected,
            "The loss must lie within `tolerance` of ln V, the natural logarithm of vocab_size: "
            "the distance is a difference in nats, not a ratio.",
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
                cause="Is it used, or a number of your own?",
                **facts,
            )
            require(
                not near or share > 1,
                "A loss farther from ln V than `tolerance` was called near. The distance is a "
                "difference in nats, not a ratio.",
                **facts,
            )
    for size in (0.2, 0.3, 0.4, 0.5, 0.6):
        model = inputs.causal(11, size, seed)
        require(
            answer(model, ids, 11) == answer(model, ids, 11, 0.2),
            "Without a fourth argument, `tolerance` is 0.2. Keep the default of the stub.",
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
            "replaced. Or was the last row replaced, `[-1]`, and not the last token, `[:, -1]`?",
            **facts,
        )
        require(
            answer(inputs.rounding(vocab_size, seed), ids, vocab_size, 0.2)[2],
            "Two calls of this causal model differ by a few millionths, as sums in another order "
            "do, and it was called a cheat.",
            cure="Allow differences of up to 1e-5.",
            **facts,
        )
        loud = answer(inputs.causal(vocab_size, 9.0, seed), ids, vocab_size, 0.2)[2]
        cheat = answer(inputs.peeking(vocab_size, seed), ids, vocab_size, 0.2)[2]
        require(
            loud or not cheat,
            "A causal model with a high loss failed, and a cheat with a low one passed.",
            cause="Perhaps causality is judged by the size of a loss. Compare logits.",
            **facts,
        )
        require(
            loud,
            "A causal model whose first loss is far from ln V was called a cheat.",
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
            cause="Was it replaced by one that stood there already? `(token + 1) % vocab_size` is "
            "always another.",
            **facts,
        )
        require(
            not any(passed),
            "This model sees the future and was called causal. Replace the last token, and compare "
            "the *logits* of all earlier positions. A loss hides small differences, and an "
            "untrained cheat starts near ln V like everybody else.",
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
            "last token of the row is replaced, and the model was called causal. Replace it in "
            "every row, and compare all earlier positions and all logits, to within 1e-5.",
            expected=False,
            got=True,
            example={"token_ids": ids},
        )
