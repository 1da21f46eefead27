"""Exercise 4.5: who was turned away?."""

from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require

EXERCISE = Exercise(
    id="4.5",
    name="drop_report",
    title="Who was turned away?",
    points=1,
    difficulty=2,
    importance=4,
    minutes=15,
    version=2,
    needs=("4.4",),
    hints=(
        "A mean of booleans is a share. Only the shape decides which mean you take: over all, over "
        "the choices of a text, or over the choices of a token.",
        "`(~kept).view(n_texts, -1)` has one line for each text of the batch: its tokens stand "
        "together, and so do their choices.",
        'lost = ~kept; "dropped": lost.float().mean().item(); "by_text": lost.view(n_texts, '
        '-1).float().mean(dim=1); "unserved": int(lost.all(dim=1).sum())',
    ),
    explanation="One number hides the problem, and the same data by text shows it: under first "
    "come the last texts pay for all. `unserved` is the worst case, a token for which the whole "
    "layer was skipped without a word.",
)


# texts, positions, choices; the last has more tokens than 8 bits can count
SIZES = ((1, 1, 1), (2, 1, 2), (2, 3, 1), (5, 1, 1), (3, 5, 2), (7, 4, 3), (2, 600, 1))


def _case(sizes: tuple[int, int, int], seed: int) -> dict[str, Any]:
    n_texts, n_positions, top_k = sizes
    drawn = torch.rand(n_texts, n_positions * top_k, generator=generator(seed))
    fate = torch.linspace(0.9, 0.3, n_texts)[:, None]  # later texts lose more
    return {"kept": (drawn < fate).view(n_texts * n_positions, top_k), "n_texts": n_texts}


def _is_whole(count: Any) -> bool:
    return isinstance(count, Integral) and not isinstance(count, bool)


@EXERCISE.stage("a dictionary")
def _report_form(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _case(sizes, seed)
        got = answer(**given)
        require(
            isinstance(got, dict) and set(got) == {"dropped", "by_text", "unserved"},
            'This is no dictionary with the keys "dropped", "by_text" and "unserved".',
            cause="A key is missing or spelled otherwise, or the three came without names.",
            cure='Return {"dropped": ..., "by_text": ..., "unserved": ...}.',
            got=got,
            example=given,
        )
        is_plain = isinstance(got["dropped"], float) and _is_whole(got["unserved"])
        is_share = isinstance(got["by_text"], Tensor) and got["by_text"].shape == (sizes[0],)
        require(
            is_plain and is_share,
            f'"dropped" is a plain float, "unserved" a plain int, and "by_text" a tensor with one '
            f"entry per text, ({sizes[0]},) here: one of them is of another kind.",
            cause="A mean or a sum of a tensor is a tensor with one entry, and a list is no "
            "tensor.",
            cure="`.item()` makes a number of the first two; leave it out in the third.",
            got=got,
            example=given,
        )


@EXERCISE.stage("dropped")
def _report_dropped(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _case(sizes, seed)
        expected = 1 - given["kept"].float().mean().item()
        got = answer(**given)["dropped"]
        require(
            abs(got - expected) < 1e-5,
            '"dropped" is not the share of all T · K choices that were turned away.',
            cause="Served ones were counted, or tokens in the place of choices, or the count was "
            "not divided by T · K; or it was rounded.",
            cure="It is the share of False in `kept`: `(~kept).float().mean().item()`.",
            expected=expected,
            got=got,
            example=given,
        )


@EXERCISE.stage("by text")
def _report_texts(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _case(sizes, seed)
        expected = torch.stack([1 - part.float().mean() for part in given["kept"].chunk(sizes[0])])
        got = answer(**given)["by_text"]
        facts = {"expected": expected, "got": got, "example": given}
        require(
            close(got, expected) or not close(got, expected * sizes[1] * sizes[2]),
            '"by_text" counts the lost choices of each text.',
            cause="They were added up and not divided.",
            cure="Take the mean, and so return their share of the text's choices.",
            **facts,
        )
        far = (got.double() - expected.double()).abs()
        require(
            not close(got, expected) or bool((far < 1e-5).all()),
            '"by_text" is right to three digits only.',
            cause="Numbers in 16 bits hold no more.",
            cure="Take float32: `.float()`.",
            **facts,
        )
        require(
            close(got, expected),
            '"by_text" is wrong.',
            cause="Text 0 is the *first* T / n_texts tokens in one piece, and each is divided by "
            "its own number of choices.",
            cure="`view(n_texts, -1)` has one line for each text; take the mean of each.",
            **facts,
        )


@EXERCISE.stage("unserved")
def _report_unserved(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _case(sizes, seed)
        expected = sum(not any(token) for token in given["kept"].tolist())
        got = answer(**given)["unserved"]
        require(
            got == expected,
            '"unserved" is wrong: it counts tokens.',
            cause="Asked for are those that lost *all* their choices. A token with one expert left "
            "is served.",
            cure="Ask for `all` along the choices of a token, then add up.",
            expected=expected,
            got=got,
            example=given,
        )


@EXERCISE.stage("all or nobody")
def _report_extremes(answer: Any, seed: int) -> None:
    for share in (0.0, 1.0):
        given = {"kept": torch.full((6, 2), share == 0.0), "n_texts": 3}
        expected = {
            "dropped": share,
            "by_text": torch.full((3,), share),
            "unserved": 6 * int(share),
        }
        got = answer(**given)
        require(
            close(got, expected),
            "Where nobody was turned away all three are zero; where everybody was, the shares are "
            "one and all tokens are unserved. Here they are not.",
            cause="A case of its own was made of one of these two.",
            cure="The means and the count hold for both, without any `if`.",
            expected=expected,
            got=got,
            example=given,
        )
