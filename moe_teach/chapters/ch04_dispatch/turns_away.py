"""Chapter 04, exercise 4.8: a test that finds what is wrong with a layer."""

from typing import Any

from torch import Tensor

from moe_teach.chapters.ch04_dispatch.layers_on_trial import (
    BROKEN,
    RIGHT,
    SHOWN,
    Experts,
    Layer,
    Suspect,
)
from moe_teach.judging.exercise import Exercise, Words, require

EXERCISE = Exercise(
    id="4.8",
    name="turns_away",
    title="Find what is wrong: a layer that passes its demo",
    points=3,
    difficulty=4,
    importance=5,
    minutes=20,
    limit=20,
    hints=(
        "A test has two halves: what must come out, by the plainest code that you can trust, and "
        "the inputs. The inputs are the harder half. Go through the contract word by word, and "
        "ask of each word which input would show that a layer ignores it.",
        "What must come out: ask every expert about every token, and pick. For the inputs, think "
        "of one token, an expert without tokens, one with most of them, gates that differ and do "
        "not sum to 1, experts that are not linear, and both dtypes, with many tokens.",
        "answers = torch.stack([expert(x).float() for expert in experts], dim=1); right = "
        "(gates[..., None] * answers[torch.arange(T)[:, None], expert_ids]).sum(dim=1). Try T = 1 "
        "and T = 40 in float32, and T = 700 in bfloat16, where all tokens choose one expert.",
    ),
    explanation="The layer counts places in the dtype of x, and bfloat16 has 8 bits for them: "
    "after 256 come 258 and 260. Two choices get one place, the second overwrites the first, and "
    "nothing fails. A demo in float32 or with few tokens never shows it. The other layers have "
    "relatives in published code: whether `y[idx] += ...` loses an expert was asked of DeepSeek-V3 "
    "(deepseek-ai/DeepSeek-V3, issue 942; within one expert's loop it does not), jitter that "
    "changes x for the experts too was a bug of Switch in transformers (issue 33969), gates that "
    "are not the ones of the record of LongCat in mlx-lm (pull request 508).",
)


def _judged(answer: Any, suspect: Suspect) -> Any:
    """Ask the test about a layer that it cannot know by its name."""
    right: Layer = suspect.layer

    def layer(x: Tensor, gates: Tensor, expert_ids: Tensor, experts: Experts) -> Tensor:
        return right(x, gates, expert_ids, experts)

    return answer(layer)


@EXERCISE.stage("a verdict")
def _verdict(answer: Any, seed: int) -> None:
    for suspect in (RIGHT[0], BROKEN[0]):
        got = _judged(answer, suspect)
        require(
            isinstance(got, bool),
            "The verdict on a layer is True (it is wrong) or False (nothing is wrong with it).",
            cause="A comparison of tensors gives a tensor, and `assert` gives nothing at all.",
            cure="`bool(...)` makes a verdict of a tensor with one entry.",
            got=got,
        )


@EXERCISE.stage("right layers")
def _innocent(answer: Any, seed: int) -> None:
    if seed:  # the layers stay the same, and a test takes long for each
        return
    for suspect in RIGHT:
        require(
            not _judged(answer, suspect),
            "A layer is turned away that keeps the contract to the letter.",
            cause=suspect.does,
            cure=suspect.cure,
            expected=False,
            got=True,
        )


@EXERCISE.stage("the layer above")
def _shown(answer: Any, seed: int) -> None:
    require(
        _judged(answer, SHOWN),
        "The layer of the cell above passes your test, and it breaks the contract.",
        cause=SHOWN.does,
        cure=SHOWN.cure,
        expected=True,
        got=False,
    )


@EXERCISE.stage("other broken layers")
def _broken(answer: Any, seed: int) -> None:
    missed = [suspect for suspect in BROKEN if not _judged(answer, suspect)]
    require(
        not missed,
        f"{len(missed)} of {len(BROKEN)} other broken layers pass your test.",
        cause=f"Of one of them: {missed[0].does}" if missed else "",
        cure=missed[0].cure if missed else "",
        expected=Words("True for each of them"),
        got=Words(f"False for {len(missed)}"),
    )
