"""Chapter 07, exercise 7.5: the whole rule of DeepSeek-V3."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch07_modern_moe import deepseek_rule as rule
from moe_teach.chapters.ch07_modern_moe.deepseek_rule import (
    Case,
    gate_slips,
    route,
    tempting,
)
from moe_teach.chapters.ch07_modern_moe.out_of_service import require_living
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require, require_gates_and_ids
from moe_teach.judging.gradients import require_gradients
from moe_teach.judging.reasons import Why, likely

EXERCISE = Exercise(
    id="7.5",
    name="sigmoid_bias_route",
    title="DeepSeek-V3's rule, with experts out of service",
    points=3,
    difficulty=4,
    importance=5,
    minutes=20,
    needs=("3.3", "7.4"),
    version=2,
    hints=(
        "Keep two tensors apart from the first line to the last. `scores` are the sigmoids; "
        "`ranking` is scores plus bias. Groups and experts are chosen by one, gates are read from "
        "the other.",
        "scores = sigmoid(logits in float32); ranking = scores + bias. Who is out of service ranks "
        "at minus infinity. Now add up the two best of a group with one expert in service, and of "
        "a group with none: which of the two sums do you want to be minus infinity?",
        "ranking = ranking.masked_fill(~alive, -torch.inf); best = groups.topk(min(2, size)).values"
        "; second = best[..., 1:]; worth = best[..., 0] + second.masked_fill(second.isneginf(), "
        "0.0).sum(-1). The rest as in 7.4; the gates are scores.gather(-1, expert_ids), divided by "
        "their sum, times gate_scale.",
    ),
    explanation="Everything that steers the load lives in `ranking`, and everything that the layer "
    "computes lives in `scores`. So balancing, or a machine that fails, can change who works, and "
    "never how much a chosen expert's own opinion of itself weighs. Minus infinity is the right "
    "wall for a choice, and a trap in a sum: it swallows the living neighbour.",
)

FREE: tuple[Case, ...] = ((1, 1, 1, 1, 1), (3, 5, 2, 1, 1), (31, 11, 3, 1, 1), (4, 5, 5, 1, 1))
GROUPED: tuple[Case, ...] = (
    (1, 4, 2, 2, 1),
    (3, 6, 2, 3, 1),
    (31, 12, 4, 3, 2),
    (31, 20, 3, 4, 2),
    (7, 36, 5, 12, 4),
)
SINGLES: tuple[Case, ...] = ((2, 3, 1, 3, 2), (7, 5, 2, 5, 3))


def _inputs(
    case: Case, seed: int, shift: float = 0.0, scale: float = 1.0, spread: float = 0.5
) -> dict[str, Any]:
    n_tokens, n_experts, top_k, n_groups, top_groups = case
    random = generator(seed)
    return {
        "logits": 2 * torch.randn(n_experts, n_tokens, generator=random).T,  # rows are not whole
        "expert_bias": spread * torch.randn(n_experts, generator=random) + shift,
        "top_k": top_k,
        "n_groups": n_groups,
        "top_groups": top_groups,
        "gate_scale": scale,
    }


def _set(expert_ids: Tensor) -> Tensor:
    return expert_ids.sort(dim=-1).values


def _judge(
    answer: Any, cases: tuple[Case, ...], seed: int, shift: float, spread: float = 0.5
) -> None:
    given = [_inputs(case, seed, shift, spread=spread) for case in cases]
    got = [answer(**call)[1] for call in given]
    expected = [route(**call)[1] for call in given]
    wrong = [i for i in range(len(cases)) if not close(got[i], expected[i])]
    if not wrong:
        return
    why = rule.FIXED if spread > 1 else rule.OTHER
    if all(close(_set(got[i]), _set(expected[i])) for i in wrong):
        why = rule.ORDER
    known = [tempting(call) for call in given] if spread <= 1 else []
    for slips in zip(*known, strict=True):
        if all(close(a, choice) for a, (choice, _) in zip(got, slips, strict=True)):
            why = slips[0][1]
            break
    at = wrong[0]
    require(
        False,
        "These are not the experts that the rule chooses.",
        **why._asdict(),
        expected=expected[at],
        got=got[at],
        example=given[at],
    )


@EXERCISE.stage("shape")
def _shape(answer: Any, seed: int) -> None:
    for case in (*FREE, *GROUPED):
        given = _inputs(case, seed)
        require_gates_and_ids(answer(**given), case[0], case[2], **given)


@EXERCISE.stage("choice")
def _choice(answer: Any, seed: int) -> None:
    _judge(answer, FREE, seed, shift=0.0)


@EXERCISE.stage("groups")
def _groups(answer: Any, seed: int) -> None:
    _judge(answer, GROUPED, seed, shift=2.0)


@EXERCISE.stage("groups of one")
def _singles(answer: Any, seed: int) -> None:
    given = _inputs(SINGLES[0], seed)
    try:
        answer(**given)
    except (RuntimeError, IndexError):
        require(
            False,
            "It fails with one expert in each group.",
            cause="A group is worth its only score: there is no second best to add.",
            cure="Take `topk(min(2, size))`.",
            example=given,
        )
    _judge(answer, SINGLES, seed, shift=2.0)


@EXERCISE.stage("negative ranking")
def _negative(answer: Any, seed: int) -> None:
    for shift in (-3.0, -12.0):
        _judge(answer, (*GROUPED, *SINGLES), seed, shift)
    _judge(answer, GROUPED, seed, -3e30, spread=1e30)


@EXERCISE.stage("gates")
def _gates(answer: Any, seed: int) -> None:
    for case in (*FREE[1:], *GROUPED):
        given = _inputs(case, seed)
        gates, ids = answer(**given)
        own = given["logits"].sigmoid().gather(-1, ids)
        expected = own / own.sum(dim=-1, keepdim=True)
        require(
            close(gates, expected),
            "The gates are not the normalised sigmoids of the chosen experts.",
            **likely(gates, expected, gate_slips(given, ids), rule.GATES),
            expected=expected,
            got=gates,
            example=given,
        )


@EXERCISE.stage("far from zero")
def _far(answer: Any, seed: int) -> None:
    low = _inputs((9, 7, 3, 1, 1), seed)
    low["logits"] = low["logits"] - 10
    high = _inputs((9, 7, 3, 1, 1), seed)
    row = [1000.0, 1000.0, -1000.0, 1000.0, 90.0, -90.0, 1000.0]
    high["logits"] = torch.tensor(row).expand(9, 7)
    high["expert_bias"] = 0.1 * high["expert_bias"]
    small = Why(
        "A number is added to the sum, or a bound holds it up.", "Divide by the sum as it is."
    )
    large = Why("exp(1000) is infinite.", "`torch.sigmoid` goes around it.")
    for given, symptom, why in (
        (low, "With small scores, around 0.00005, the gates come out wrong.", small),
        (high, "With logits of 1000 and -1000 the result is another one.", large),
    ):
        got, expected = answer(**given), route(**given)
        shown = {"expected": expected, "got": got, "example": given}
        require(close(got, expected), symptom, **why._asdict(), **shown)


@EXERCISE.stage("scale")
def _scale(answer: Any, seed: int) -> None:
    given = _inputs((3, 6, 2, 3, 2), seed, scale=2.5)
    sums = answer(**given)[0].sum(dim=-1)
    require(
        close(sums, torch.full((3,), 2.5)),
        "The gates of a token do not sum to gate_scale.",
        cause="It was left out, or applied before the division, where the factor cancels.",
        cure="Multiply the gates by it after the division.",
        expected=torch.full((3,), 2.5),
        got=sums,
        example=given,
    )
    short = {name: given[name] for name in ("logits", "expert_bias", "top_k")}
    got, expected = answer(**short), route(**short)
    require(
        close(got, expected),
        "Called with logits, bias and top_k alone, the result is another one.",
        cause="A default differs from the stub's.",
        cure="Keep one group, one open group, gate_scale=2.5, and alive=None.",
        expected=expected,
        got=got,
        example=short,
    )


@EXERCISE.stage("float32")
def _float32(answer: Any, seed: int) -> None:
    order = torch.randperm(128, generator=generator(seed))[:104].reshape(8, 13)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        logits = (0.25 + order / 512).to(dtype)  # neighbours, whose sigmoids bfloat16 cannot tell
        no_bias = {"logits": logits, "expert_bias": torch.zeros(13)}
        given = {**_inputs((8, 13, 5, 1, 1), seed), **no_bias}
        gates, ids = answer(**given)
        kind = str(dtype).removeprefix("torch.")
        require(
            gates.dtype != torch.float64,
            f"The gates came in float64, from logits in {kind}.",
            cause="They kept the dtype of the logits, or were computed in double precision.",
            cure="The contract says float32: `logits.float()` comes first.",
            got=gates,
            example=given,
        )
        expected = route(**given)
        require(
            gates.dtype == torch.float32 and close((gates, ids), expected),
            f"Logits in {kind} give another choice, or gates that are not float32.",
            cause="The sigmoid ran in low precision, where neighbouring scores round to the same "
            "number, or the gates were converted back.",
            cure="Convert the logits to float32 before the sigmoid, and nothing after it.",
            expected=Words("gates in float32, and the choice of the exact scores"),
            got=(gates, ids),
            example=given,
        )


@EXERCISE.stage("gradient")
def _gradient(answer: Any, seed: int) -> None:
    for case in (*FREE[1:], *GROUPED[1:3], FREE[0]):
        given = _inputs(case, seed, scale=1.5)
        require_gradients(answer, route, given, seed=seed)


@EXERCISE.stage("out of service")
def _service(answer: Any, seed: int) -> None:
    require_living(answer, seed)
