"""Chapter 03, exercise 3.7: a test that tells a router that keeps its promises from others."""

from typing import Any

import torch

from moe_teach.chapters.ch03_router.strange_routers import BROKEN, RIGHT, Route, disguised, shown
from moe_teach.judging.exercise import Exercise, Words, require

EXERCISE = Exercise(
    id="3.7",
    name="route_test",
    title="Find what is wrong: a router with closed experts",
    points=3,
    difficulty=4,
    importance=5,
    minutes=30,
    needs=("3.3",),
    limit=30,
    hints=(
        "Each promise becomes a comparison. Work ids and gates out yourself, in the slowest and "
        "plainest way, and compare. The art is in the inputs: what would have to happen for the "
        "router of the text to be wrong?",
        "Loop over several shapes (one token; top_k = 1; exactly top_k experts open) and over "
        "biases far above and far below zero. Keep clones of the inputs.",
        "For each case: scores = logits.sigmoid(); ranking = torch.where(is_open, scores + bias, "
        "-torch.inf); ids must equal ranking.topk(top_k).indices; gates must be close to the "
        "scores at the ids, divided by their sum; inputs must equal their clones. Any difference: "
        "return False.",
    ),
    explanation="A closed expert got rank 0, and 0 is the smallest only as long as every score "
    "plus bias is positive. DeepSeek-V3's published code masked in this way, and vLLM (pull "
    "request 13474), SGLang (3705) and transformers (issue 45440) followed; all wrote minus "
    "infinity in the end. The other broken routers are of published kinds as well: a bias in the "
    "gates (vLLM 12002), a lost axis at k = 1 (megablocks 87), an input changed in passing "
    "(transformers 33969). An example that looks right proves little. A test that has turned away "
    "ten broken routers proves more.",
)


def _verdict(answer: Any, route: Route) -> Any:
    torch.manual_seed(0)  # a test that draws without a generator of its own still repeats
    return answer(disguised(route))


@EXERCISE.stage("a verdict")
def _test_form(answer: Any, seed: int) -> None:
    got = _verdict(answer, RIGHT[0])
    require(
        isinstance(got, bool),
        "The verdict is not True or False.",
        cause="A comparison of tensors is a tensor, `torch.equal` is a bool; an `assert` says "
        "nothing where it holds.",
        cure="Return False at the first difference, and True at the end.",
        got=got,
    )


@EXERCISE.stage("right routers")
def _test_right(answer: Any, seed: int) -> None:
    causes = (
        "Something is asked for that nobody promised: exact equality of floats, or inputs outside "
        "the contract, such as fewer than top_k open experts.",
        "This one's ids are 32-bit integers and its gates 64-bit floats, and both are right: "
        "torch.equal and allclose ask for equal dtypes.",
        "This one is exact where the arithmetic is; compare gates by closeness.",
    )
    for route, cause in zip(RIGHT, causes, strict=True):
        require(
            _verdict(answer, route) is True,
            "A router that keeps all its promises was turned away.",
            cause=cause,
            cure="Compare ids as `.long()` and gates as `.float()`, with `torch.allclose`.",
            expected=True,
            got=False,
        )


@EXERCISE.stage("the router of the text")
def _test_shown(answer: Any, seed: int) -> None:
    _require_refused(answer, shown)


@EXERCISE.stage("its relatives")
def _test_relatives(answer: Any, seed: int) -> None:
    for route in BROKEN:
        _require_refused(answer, route)


def _require_refused(answer: Any, route: Route) -> None:
    what, try_this = BROKEN[route]
    message = "A router that breaks one of its promises passed your test"
    named = f": {what}." if route is shown else "; it is not the one of the text."
    require(
        _verdict(answer, route) is False,
        message + named,
        cause="" if route is shown else f"It is {what}.",
        cure=try_this,
        expected=Words("False"),
        got=Words("True"),
    )
