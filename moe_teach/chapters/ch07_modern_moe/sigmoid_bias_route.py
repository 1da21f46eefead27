"""Chapter 07, exercise 7.5: the whole rule of DeepSeek-V3."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch07_modern_moe.deepseek_rule import Case, choose, route, tempting
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require, require_gates_and_ids
from moe_teach.judging.gradients import require_gradients

EXERCISE = Exercise(
    id="7.5",
    name="sigmoid_bias_route",
    title="DeepSeek-V3's rule, from logits to gates",
    points=3,
    difficulty=4,
    importance=5,
    minutes=20,
    needs=("3.3", "7.4"),
    hints=(
        "Keep two tensors apart from the first line to the last. `scores` are the sigmoids; "
        "`ranking` is scores plus bias. Groups and experts are chosen by one, gates are read from "
        "the other.",
        "scores = sigmoid(logits in float32); ranking = scores + bias; choose as in 7.4 on "
        "`ranking`; `scores.gather(-1, expert_ids)` are the raw gates.",
        "expert_ids = group_limited_topk(ranking, top_k, n_groups, top_groups); gates = "
        "scores.gather(-1, expert_ids); return gate_scale * gates / gates.sum(-1, keepdim=True), "
        "expert_ids",
    ),
    explanation="Everything that steers the load lives in `ranking`, and everything that the layer "
    "computes lives in `scores`. So balancing can change who works, never how much a chosen "
    "expert's own opinion of itself weighs.",
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


def _inputs(case: Case, seed: int, shift: float = 0.0, scale: float = 1.0) -> dict[str, Any]:
    n_tokens, n_experts, top_k, n_groups, top_groups = case
    random = generator(seed)
    return {
        "logits": 2 * torch.randn(n_experts, n_tokens, generator=random).T,  # rows are not whole
        "expert_bias": 0.5 * torch.randn(n_experts, generator=random) + shift,
        "top_k": top_k,
        "n_groups": n_groups,
        "top_groups": top_groups,
        "gate_scale": scale,
    }


def _set(expert_ids: Tensor) -> Tensor:
    return expert_ids.sort(dim=-1).values


def _judge(answer: Any, cases: tuple[Case, ...], seed: int, shift: float) -> None:
    given = [_inputs(case, seed, shift) for case in cases]
    got = [answer(**call)[1] for call in given]
    expected = [choose(call, call["logits"].sigmoid() + call["expert_bias"]) for call in given]
    wrong = [i for i in range(len(cases)) if not close(got[i], expected[i])]
    if not wrong:
        return
    cause = ""
    if all(close(_set(got[i]), _set(expected[i])) for i in wrong):
        cause = "The right experts in another order: best *biased* score first."
    slips = [tempting(call) for call in given]
    for sentence in slips[0]:
        if all(close(a, slip[sentence]) for a, slip in zip(got, slips, strict=True)):
            cause = sentence
            break
    at = wrong[0]
    require(
        False,
        "These are not the experts that the rule chooses.",
        cause=cause,
        cure="The choice follows sigmoid(logits) + expert_bias inside the open groups.",
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
            "With one expert in each group, a group is worth its only score. There is no second "
            "best to add: take `topk(min(2, size))`.",
            example=given,
        )
    _judge(answer, SINGLES, seed, shift=2.0)


@EXERCISE.stage("negative ranking")
def _negative(answer: Any, seed: int) -> None:
    for shift in (-3.0, -12.0):
        _judge(answer, (*GROUPED, *SINGLES), seed, shift)


@EXERCISE.stage("gates")
def _gates(answer: Any, seed: int) -> None:
    for case in (*FREE[1:], *GROUPED):
        given = _inputs(case, seed)
        gates, ids = answer(**given)
        scores = given["logits"].sigmoid()
        own, all_of_them = scores.gather(-1, ids), scores.sum(dim=-1, keepdim=True)
        expected = own / own.sum(dim=-1, keepdim=True)
        biased = (scores + given["expert_bias"]).gather(-1, ids)
        slips = {
            "These are the scores as they come; with gate_scale=1 the gates of a token sum to one. "
            "Divide by the sum over the chosen experts.": own,
            "The gates were divided by the sum over *all* experts. Divide by the sum over the "
            "chosen ones.": own / all_of_them,
            "The gates of *all tokens together* sum to one. Divide within each row: "
            "`sum(dim=-1, keepdim=True)`.": own / own.sum(),
            "A softmax came on top of the sigmoids. Divide by the sum, without an "
            "exponential.": own.softmax(dim=-1),
            "Here the bias leaked in. Read them from the unbiased scores.": biased
            / biased.sum(dim=-1, keepdim=True),
        }
        require(
            close(gates, expected),
            "The gates are not the normalised sigmoids of the chosen experts.",
            cause=next((words for words, slip in slips.items() if close(gates, slip)), ""),
            expected=expected,
            got=gates,
            example=given,
        )


@EXERCISE.stage("far from zero")
def _far(answer: Any, seed: int) -> None:
    low = _inputs((9, 7, 3, 1, 1), seed)
    low["logits"] = low["logits"] - 10
    high = _inputs((9, 7, 3, 1, 1), seed)
    high["logits"] = torch.tensor([1000.0, 1000.0, -1000.0, 1000.0, 90.0, -90.0, 1000.0]).expand(
        9, 7
    )
    high["expert_bias"] = 0.1 * high["expert_bias"]
    for given, words in (
        (
            low,
            "With small scores, around 0.00005, the gates of a token no longer sum to gate_scale. "
            "Is a number added to the sum? Nothing is.",
        ),
        (
            high,
            "With logits of 1000 and -1000 the result is another one. exp(1000) is infinite: "
            "`torch.sigmoid` goes around it.",
        ),
    ):
        got, expected = answer(**given), route(**given)
        require(close(got, expected), words, expected=expected, got=got, example=given)


@EXERCISE.stage("scale")
def _scale(answer: Any, seed: int) -> None:
    given = _inputs((3, 6, 2, 3, 2), seed, scale=2.5)
    sums = answer(**given)[0].sum(dim=-1)
    require(
        close(sums, torch.full((3,), 2.5)),
        "`gate_scale` multiplies the gates after the division, so each row sums to gate_scale. Was "
        "it left out, or applied before, where the factor would cancel?",
        expected=torch.full((3,), 2.5),
        got=sums,
        example=given,
    )
    short = {name: given[name] for name in ("logits", "expert_bias", "top_k")}
    got, expected = answer(**short), route(**short)
    require(
        close(got, expected),
        "Called with logits, bias and top_k alone, the result is another one. Keep the stub's "
        "defaults: one group, and gate_scale=2.5.",
        expected=expected,
        got=got,
        example=short,
    )


@EXERCISE.stage("float32")
def _float32(answer: Any, seed: int) -> None:
    order = torch.randperm(128, generator=generator(seed))[:104].reshape(8, 13)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        logits = (0.25 + order / 512).to(dtype)  # neighbours, whose sigmoids bfloat16 cannot tell
        given = {**_inputs((8, 13, 5, 1, 1), seed), "logits": logits}
        given["expert_bias"] = torch.zeros(13)
        gates, ids = answer(**given)
        kind = str(dtype).removeprefix("torch.")
        require(
            gates.dtype != torch.float64,
            f"The gates came in float64, from logits in {kind}. The contract says float32: the "
            "experts' outputs are multiplied with them.",
            got=gates,
            example=given,
        )
        expected = route(**given)
        require(
            gates.dtype == torch.float32 and close((gates, ids), expected),
            f"Low-precision logits (here in {kind}) must be read in float32 before the sigmoid, "
            "and the gates are float32. In bfloat16 neighbouring scores round to the same number, "
            "and another expert wins.",
            expected=Words("gates in float32, and the choice of the exact scores"),
            got=(gates, ids),
            example=given,
        )


@EXERCISE.stage("gradient")
def _gradient(answer: Any, seed: int) -> None:
    for case in (*FREE[1:], *GROUPED[1:3], FREE[0]):
        given = _inputs(case, seed, scale=1.5)
        require_gradients(answer, route, given, seed=seed)
