"""Chapter 03, exercise 3.4: measure the gradient that the task sends to a router."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.exercise import Exercise, Words, generator, require

Route = Callable[[Tensor], tuple[Tensor, Tensor]]

EXERCISE = Exercise(
    id="3.4",
    name="router_gradient_norm",
    title="Does the task reach the router?",
    points=2,
    difficulty=4,
    importance=5,
    minutes=20,
    needs=("3.1",),
    hints=(
        "Build the smallest MoE layer there is, from what you are given: logits, route, the gated "
        "sum of the chosen experts' outputs, the mean squared error. Then ask for one gradient.",
        "Work on `w_router.detach().clone().requires_grad_()`, so that nothing of the caller's "
        "changes. Pick the outputs with `expert_out[torch.arange(T)[:, None], expert_ids]`.",
        "y = (gates[..., None] * chosen).sum(dim=1); loss = ((y - target) ** 2).mean(); return 0.0 "
        "unless loss.requires_grad; (gradient,) = torch.autograd.grad(loss, w); return the norm.",
    ),
    explanation="`autograd.grad` hands the gradient back instead of adding it to `.grad`, so two "
    "audits agree. A loss that needs no gradient is not an error here: it is the finding, and its "
    "name is 0.0.",
)


def softmax_rule(top_k: int) -> Route:
    """Give the rule whose gates are probabilities over all experts."""

    def route(logits: Tensor) -> tuple[Tensor, Tensor]:
        gates, expert_ids = logits.softmax(dim=-1).topk(top_k, dim=-1)
        return gates, expert_ids

    return route


def chosen_rule(top_k: int) -> Route:
    """Give the rule whose gates are a softmax over the chosen logits only."""

    def route(logits: Tensor) -> tuple[Tensor, Tensor]:
        chosen, expert_ids = logits.topk(top_k, dim=-1)
        return chosen.softmax(dim=-1), expert_ids

    return route


def detached_rule(top_k: int) -> Route:
    """Give a rule that cuts the router off."""
    return lambda logits: chosen_rule(top_k)(logits.detach())


def _problem(n_tokens: int, n_experts: int, d_model: int, seed: int) -> dict[str, Tensor]:
    random = generator(seed)
    shapes = {
        "w_router": (n_experts, d_model),
        "x": (n_tokens, d_model),
        "expert_out": (n_tokens, n_experts, d_model),
        "target": (n_tokens, d_model),
    }
    return {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}


def _expected_norm(route: Route, w_router: Tensor, x: Tensor, out: Tensor, target: Tensor) -> float:
    w = w_router.double().requires_grad_()
    gates, ids = route(x.double() @ w.T)
    weights = torch.zeros(out.shape[:2], dtype=torch.float64).scatter(1, ids, gates)
    loss = (torch.einsum("te,ted->td", weights, out.double()) - target.double()).pow(2).mean()
    (gradient,) = torch.autograd.grad(loss, w)
    return gradient.norm().item()


@EXERCISE.stage("a number")
def _gradient_number(answer: Any, seed: int) -> None:
    problem = _problem(3, 4, 2, seed)
    got = answer(softmax_rule(2), **problem)
    require(
        isinstance(got, float),
        "Return a plain Python number: `.item()` turns a tensor with one entry into one.",
        got=got,
        example=problem,
    )


@EXERCISE.stage("value")
def _gradient_value(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, d_model, top_k in ((1, 2, 1, 1), (3, 4, 2, 2), (7, 5, 3, 3)):
        problem = _problem(n_tokens, n_experts, d_model, seed)
        got = answer(softmax_rule(top_k), **problem)
        expected = _expected_norm(softmax_rule(top_k), *problem.values())
        require(
            abs(got - expected) <= 1e-3 * expected + 1e-6,
            "This is not the norm of d loss / d w_router. Check three things: the outputs are "
            "weighed by the gates, the loss is the *mean* of all squared errors, and the norm is "
            "the square root of the summed squares.",
            expected=expected,
            got=got,
            example={**problem, "top_k": top_k},
        )


@EXERCISE.stage("dead routers")
def _gradient_dead(answer: Any, seed: int) -> None:
    problem = _problem(5, 3, 2, seed)
    for name, route in (("softmax over one", chosen_rule(1)), ("detached", detached_rule(2))):
        try:
            got = answer(route, **problem)
        except RuntimeError as error:
            require(
                "does not require grad" not in str(error),
                f"This router ({name}) is cut off: its gates do not depend on the matrix, so there "
                "is no gradient to ask for, and backward() refuses. Look at `loss.requires_grad` "
                "first, and return 0.0 where it is False.",
                expected=0.0,
                got=Words("an error from backward()"),
                example=problem,
            )
            raise
        require(
            got == 0.0,
            f"This router ({name}) gets no gradient at all, and your audit must be able to say "
            "so: return 0.0.",
            expected=0.0,
            got=got,
            example=problem,
        )


@EXERCISE.stage("no traces")
def _gradient_traces(answer: Any, seed: int) -> None:
    problem = _problem(5, 3, 2, seed)
    w_router = problem["w_router"]
    first, again = (answer(softmax_rule(1), **problem) for _ in range(2))
    require(
        abs(first - again) <= 1e-6 * first,
        "A second audit of the same router gave another number: the first one's gradient is still "
        "in `.grad`, and backward() adds to it. Use torch.autograd.grad on a copy.",
        expected=first,
        got=again,
        example=problem,
    )
    require(
        not w_router.requires_grad and w_router.grad is None,
        "An audit leaves no traces, but the caller's `w_router` now carries a gradient or asks "
        "for one. Work on a detached copy.",
        example=problem,
    )
