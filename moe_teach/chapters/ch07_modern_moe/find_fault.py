"""Chapter 07, exercise 7.8: an input that shows what is wrong with a router."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch07_modern_moe.faulty_routers import (
    GALLERY,
    RIGHT,
    Router,
    exact,
    lean_route,
)
from moe_teach.judging.compare import is_tensor
from moe_teach.judging.exercise import Exercise, Words, require

EXERCISE = Exercise(
    id="7.8",
    name="find_fault",
    title="Find what is wrong: a router with a clean record",
    points=3,
    difficulty=4,
    importance=4,
    minutes=20,
    needs=("7.4", "7.5"),
    hints=(
        "A router and the rule have to agree on *which* experts a token is given and on the gate "
        "of each, in whatever order they come. Bring both into one form first: a table (T, 16) "
        "that holds the gate where an expert is chosen, and 0 elsewhere.",
        "One cloud of numbers around zero is one place. Where do logits and biases go in a long "
        "training run? Scores may become tiny, a bias may sink far below zero or rise far above "
        "one, and biases may lie close together. Look at three or four such places.",
        "for shift, bias in ((0, 0), (0, -5), (0, 7), (-12, 8)): logits = shift + torch.randn(64, "
        "16); expert_bias = bias + 0.5 * torch.randn(16); compare torch.zeros(64, 16).scatter_add("
        "1, ids, gates) of both; keep the inputs on which they differ.",
    ),
    explanation="The router above gets its scores back by subtracting what it had added. On paper "
    "that is the same. In float32 a score of 0.000001 that was added to a bias of 8 is mostly "
    "gone, and what comes back is rounding. flashinfer's kernels did this: biases of GLM-5.2 lie "
    "around 12, scores go down to 1e-8, and every gate of a token became 0 (pull request 3875). "
    "The others: a bias in bfloat16, where 238 different biases became 8 (SGLang, 37133; the same "
    "in Megatron-LM, issue 1482); groups closed with 0 and ranked by their best alone (vLLM, "
    "13474); the bias in the gates (vLLM, 12002); a factor that got lost (SGLang, 31449); a "
    "running maximum that starts at -1, caught in review (vLLM, 31478). Four of the seven agree "
    "with the rule, or nearly, as long as biases are small, and tests are written with those.",
)
SIZES, SCALE = (4, 4, 2), 2.5  # top_k, n_groups, top_groups
MAX_TOKENS, N_EXPERTS = 64, 16
EDGE = 1e-3  # gates that differ by more are another answer


def table(route: Router, logits: Tensor, bias: Tensor) -> Tensor:
    """Give the gates as a table (T, E), in float64; no table (NaN) where the router fails."""
    try:
        gates, ids = route(logits.clone(), bias.clone(), *SIZES, SCALE)
        empty = torch.zeros(logits.shape, dtype=torch.float64)
        return empty.scatter_add(-1, ids, gates.double())
    except Exception:
        return torch.full(logits.shape, torch.nan, dtype=torch.float64)


def _differ(one: Router, other: Router, logits: Tensor, bias: Tensor) -> bool:
    gap = (table(one, logits, bias) - table(other, logits, bias)).abs()
    return not bool((gap <= EDGE).all())


def _asked(answer: Any, route: Router) -> Any:
    """Call the answer with a router that insists on the sizes of the text."""

    def strict(
        logits: Tensor, expert_bias: Tensor, top_k: int, n_groups: int, top_groups: int, scale: Any
    ) -> tuple[Tensor, Tensor]:
        asked = (top_k, n_groups, top_groups, scale)
        require(
            asked == (*SIZES, SCALE),
            "The router was called with other sizes than the text gives.",
            cause="Two routers can be compared only where both are asked the same.",
            cure="route(logits, expert_bias, 4, 4, 2, 2.5), and rule the same way",
            expected=(*SIZES, SCALE),
            got=asked,
        )
        return route(logits, expert_bias, *SIZES, SCALE)

    return answer(strict)


def _given(route: Router) -> dict[str, Any]:
    return {"route": Words(route.__name__.strip("_").replace("_", " "))}


def _nonsense(
    logits: Tensor, bias: Tensor, top_k: int, n_groups: int, top_groups: int, scale: float
) -> tuple[Tensor, Tensor]:
    """Give every token the first experts with equal gates: wrong on nearly every input."""
    ids = torch.arange(top_k).expand(len(logits), -1)
    return torch.full(ids.shape, scale / top_k), ids


def _require_inputs(got: Any) -> None:
    """Reject what is no list of fair inputs."""
    require(
        isinstance(got, list) and len(got) <= 20,
        "The answer is a list of inputs: empty for a router that is right, and 20 at most.",
        cause="Something else came back.",
        cure="Collect (logits, expert_bias) in a list.",
        got=got,
    )
    for one in got:
        _require_fair(one)


def _require_fair(got: Any) -> None:
    pair = isinstance(got, tuple) and len(got) == 2 and all(is_tensor(part) for part in got)
    require(
        pair and got[0].ndim == 2 and 1 <= len(got[0]) <= MAX_TOKENS,
        "An input is a tuple of two tensors: logits of 1 to 64 tokens, and expert_bias.",
        cause="Something else stands in the list, or there are more than 64 tokens.",
        cure="found.append((logits, expert_bias))",
        got=got,
    )
    logits, bias = got
    require(
        logits.shape[1] == N_EXPERTS
        and bias.shape == (N_EXPERTS,)
        and logits.dtype == bias.dtype == torch.float32
        and bool((logits.abs() <= 30).all() and (bias.abs() <= 20).all()),
        "An input has 16 experts, is float32, its logits are within ±30 and its biases within ±20.",
        cause="Another shape or dtype, or numbers that no training run reaches.",
        got=got,
    )
    require(
        not _differ(RIGHT[0], exact, logits, bias),
        "This input is not fair: the rule itself gives other experts or gates in float64.",
        cause="Two experts tie, or nearly so, and either choice is right.",
        cure="Draw logits and biases at random, and keep the biases some hundredths apart.",
        got=got,
    )


@EXERCISE.stage("an input")
def _input(answer: Any, seed: int) -> None:
    got = _asked(answer, _nonsense)
    _require_inputs(got)
    require(
        got,
        "A router that gives every token experts 0 to 3 was handed back as right.",
        cause="It was not compared with the rule, or on inputs where the rule does the same.",
        cure="Return the logits and biases on which the two differ.",
        example=_given(_nonsense),
    )


@EXERCISE.stage("right routers")
def _right(answer: Any, seed: int) -> None:
    for route in RIGHT:
        got = _asked(answer, route)
        _require_inputs(got)
        require(
            not got,
            "A right router was turned away.",
            cause="It gives the experts of a token in another order, or its gates differ in the "
            "last digits.",
            cure="Compare tables of gates, (T, 16), with a tolerance of 0.001.",
            expected=[],
            got=Words("a list of inputs"),
            example=_given(route),
        )


def _require_found(answer: Any, route: Router, missed: str, cause: str, cure: str) -> None:
    got, why = _asked(answer, route), {"cause": cause, "cure": cure}
    example = _given(route) if route is lean_route else {}
    _require_inputs(got)
    require(got, f"{missed} was handed back as right.", example=example, **why)
    for one in got:
        require(
            _differ(route, exact, *one),
            f"On this input {missed[0].lower()}{missed[1:]} does what the rule says.",
            got=one,
            example=example,
            cause="Inputs were returned on which nothing was found.",
            cure="Keep those on which the tables of gates differ.",
        )


@EXERCISE.stage("the router above")
def _above(answer: Any, seed: int) -> None:
    _require_found(
        answer,
        lean_route,
        "The router above",
        "Your inputs do not reach the numbers on which it fails. On paper it is right; look for a "
        "line that is not right in float32.",
        "Its gates come back from a subtraction. Try scores that are tiny beside the bias: logits "
        "around -12, biases around 8.",
    )


@EXERCISE.stage("other routers")
def _others(answer: Any, seed: int) -> None:
    for faulty in GALLERY:
        _require_found(answer, faulty.route, "A router with another fault", *faulty.why)
