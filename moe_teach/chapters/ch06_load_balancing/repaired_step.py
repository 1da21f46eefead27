"""Chapter 06, exercise 6.6: repair one routing step, and be judged by the clinic's observations."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch06_load_balancing import step
from moe_teach.chapters.ch06_load_balancing.inputs import balance
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, require, require_tensors
from moe_teach.judging.gradients import require_gradients
from moe_teach.judging.reasons import likely

EXERCISE = Exercise(
    id="6.6",
    name="repaired_step",
    title="Repair a patient",
    points=2,
    difficulty=3,
    importance=4,
    minutes=20,
    needs=("6.1", "6.5"),
    hints=(
        "Examine it as the clinic does: what does it log for even routing at k = 1, 2, 4, and for "
        "a crowd of second choices? Which gradients reach the logits at k = 1?",
        "There is one fault in the gates, one in the counts and one in the total. Gates: "
        "probabilities over all experts, divided by their sum for k >= 2 only. Counts: all T · K "
        "choices. Total: a tensor that still has a graph.",
        "probs = logits.softmax(-1); gates, expert_ids = probs.topk(top_k, -1), gates divided by "
        "their sum if top_k > 1; load = bincount of expert_ids.flatten() / expert_ids.numel(); "
        "logged = E * (load * probs.mean(0)).sum(); total = task_loss + coef * logged.",
    ),
    explanation="Three lines were wrong, and each came from another project. On the clinic's chart "
    "the total looks like loss-not-added: what is logged has a gradient, and nothing of it "
    "arrives. (In loss-detached the logged loss itself has none.) Not one of them raises an error, "
    "and all three together still train: the experts learn, the task loss falls, and the log shows "
    "a number near 1. Known values of small cases find what a falling curve hides.",
)

SIZES = (
    (1, 1, 1),
    (1, 3, 2),
    (5, 3, 1),
    (7, 5, 2),
    (11, 7, 4),
    (4, 3, 3),
    (6, 23, 5),
)  # tokens, experts, top_k
PARTS = ("gates", "expert_ids", "logged", "total")


def _call(
    answer: Any, logits: Tensor, top_k: int, task_loss: float = 2.0, coef: float = 0.25
) -> Any:
    got = answer(logits, top_k, torch.tensor(task_loss), coef)
    require_tensors(got, PARTS, {"logits": logits, "top_k": top_k})
    return got


@EXERCISE.stage("shape")
def _repair_shape(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        logits = step.draw_logits(n_tokens, n_experts, seed)
        got = dict(zip(PARTS, _call(answer, logits, top_k), strict=True))
        shapes = {"gates": (n_tokens, top_k), "expert_ids": (n_tokens, top_k)}
        for name, part in got.items():
            require(
                tuple(part.shape) == shapes.get(name, ()),
                f"`{name}` has the wrong shape: it needs {shapes.get(name, ())}.",
                cause="Losses are single numbers; gates and ids have a row for each token.",
                cure="Return gates, expert_ids, logged, total, in this order.",
                got=part,
                example={"logits": logits, "top_k": top_k},
            )


@EXERCISE.stage("gates")
def _repair_gates(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        logits = step.draw_logits(n_tokens, n_experts, seed)
        gates, ids = _call(answer, logits, top_k)[:2]
        expected, best = logits.softmax(dim=-1).topk(top_k)
        example = {"logits": logits, "top_k": top_k}
        require(
            torch.equal(ids, best),
            "These are not the best experts, best first.",
            cause="The choice was sound before, or the four results stand in another order.",
            cure="Leave the choice as it was.",
            expected=best,
            got=ids,
            example=example,
        )
        if top_k == 1:
            require(
                n_experts == 1 or not close(gates, torch.ones_like(gates)),
                "At k = 1 every gate is the constant 1, so the task teaches the router nothing.",
                cause="A softmax over one chosen logit is 1, and so is one gate over its own sum.",
                cure="Read the gate from the softmax over all experts, and do not divide it.",
                expected=expected,
                got=gates,
                example=example,
            )
        else:
            expected = expected / expected.sum(dim=-1, keepdim=True)
        require(
            close(gates, expected),
            "The gates are other numbers than the text asks for.",
            cause="They are no probabilities over all experts, or have another sum.",
            cure="They are probabilities over all experts, divided by the sum of the chosen ones "
            "where k is 2 or more.",
            expected=expected,
            got=gates,
            example=example,
        )


@EXERCISE.stage("even routing")
def _repair_even(answer: Any, seed: int) -> None:
    for top_k in (1, 2, 4):
        n_experts = 5
        logits = step.even_logits(n_experts)
        logged = _call(answer, logits, top_k)[2].detach()
        facts = {"expected": 1.0, "got": logged, "example": {"logits": logits, "top_k": top_k}}
        require(
            top_k == 1 or not close(logged, torch.tensor(float(top_k))),
            "Even routing logs k and not 1.",
            cause="A token has k choices, and the counts were divided by the tokens alone.",
            cure="Divide the counts by all T · K choices.",
            **facts,
        )
        require(
            close(logged, torch.tensor(1.0)),
            "Even routing must log exactly 1, for every k and every number of experts.",
            **likely(logged, torch.tensor(1.0), step.even_slips(n_experts), step.OTHER),
            **facts,
        )


@EXERCISE.stage("second choices")
def _repair_second(answer: Any, seed: int) -> None:
    logits, top_k = step.crowd_of_seconds(12, 5, seed), 2
    probs = logits.softmax(dim=-1)
    ids = probs.topk(top_k).indices
    expected, seen = balance(probs, ids), balance(probs, ids[:, :1])
    logged = _call(answer, logits, top_k)[2].detach()
    facts = {"expected": expected, "got": logged, "example": {"logits": logits, "top_k": top_k}}
    require(
        not close(logged, seen),
        "Every second choice goes to one expert here, and the logged loss does not notice.",
        cause="Only first choices are counted.",
        cure="Count all columns of expert_ids.",
        **facts,
    )
    require(
        close(logged, expected),
        "The logged loss is not E times the sum of load · mean probability.",
        cause="The load is counted, not summed up from gates; the mean is of probabilities.",
        cure="Count all of expert_ids, and take the mean of the softmax over the tokens.",
        **facts,
    )


@EXERCISE.stage("far from zero")
def _repair_far(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        logits = 1000 * (1 - 2 * (torch.arange(n_tokens) % 2))[:, None] + step.draw_logits(
            n_tokens, n_experts, seed
        )
        got, expected = (
            _call(answer, logits, top_k),
            step.right_step(logits, top_k, torch.tensor(2.0), 0.25),
        )
        require(
            close(got[:3], expected[:3]),
            "Logits near 1000 and -1000 give other gates or another loss than the same logits near "
            "zero would.",
            cause="`exp` of them is infinite or zero.",
            cure="torch's own softmax subtracts each token's maximum first.",
            expected=expected,
            got=got,
            example={"logits": logits, "top_k": top_k},
        )


@EXERCISE.stage("what arrives")
def _repair_arrives(answer: Any, seed: int) -> None:
    for coef, task_loss in ((0.25, 2.0), (3.0, -1.5), (0.0, 0.5)):
        for n_tokens, n_experts, top_k in SIZES[2:]:
            logits = step.draw_logits(n_tokens, n_experts, seed)
            _, _, logged, total = _call(answer, logits, top_k, task_loss, coef)
            example = {"logits": logits, "top_k": top_k, "task_loss": task_loss, "coef": coef}
            require(
                close(total.detach(), task_loss + coef * logged.detach()),
                "The total is not task_loss + coef * logged.",
                cause="Something is missing in it, or weighed otherwise.",
                cure="Return task_loss + coef * logged, and the `logged` that went in.",
                expected=task_loss + coef * logged.detach(),
                got=total.detach(),
                example=example,
            )
            if coef:
                leaf = logits.clone().requires_grad_()
                require(
                    answer(leaf, top_k, torch.tensor(task_loss), coef)[3].requires_grad,
                    "The total has the right value and no graph: nothing of the balance loss "
                    "arrives at the router.",
                    cause="`.item()`, `float()` and `.detach()` all make a bare number.",
                    cure="Add `logged` itself.",
                    example=example,
                )
                _require_part(answer, 3, {**example, "task_loss": torch.tensor(task_loss)}, seed)


def _require_part(answer: Any, part: int, given: dict[str, Any], seed: int) -> None:
    """Compare the gradients of one of the four results."""

    def call(function: Any, values: dict[str, Any]) -> Tensor:
        return function(*values.values())[part]

    require_gradients(answer, step.right_step, given, seed=seed, call=call)


@EXERCISE.stage("task gradient")
def _repair_task(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        logits = step.draw_logits(n_tokens, n_experts, seed)
        example = {"logits": logits, "top_k": top_k}
        gates, _, logged, _ = _call(answer, logits.clone().requires_grad_(), top_k)
        require(
            gates.requires_grad,
            "The gates have no graph, so the task's gradient on the router is 0.",
            cause="They were cut off, by `.detach()` or `torch.no_grad()`.",
            cure="Compute them from the logits without either.",
            got=gates.detach(),
            example=example,
        )
        require(
            logged.requires_grad,
            "The total carries the balance loss's gradient, but what is logged does not.",
            cause="The clinic compares the two, and this one was cut off after it was added.",
            cure="Hand back `logged` as it was before it was added.",
            got=logged.detach(),
            example=example,
        )
        given = {**example, "task_loss": torch.tensor(2.0), "coef": 0.25}
        for part in (0, 2):
            _require_part(answer, part, given, seed)
