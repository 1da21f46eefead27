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
    limit=30,  # the first use of torch.func imports for seconds on a busy machine
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


def sigmoid_rule(top_k: int) -> Route:
    """Give the rule whose gates are lone sigmoids, and whose choice is not in order."""

    def route(logits: Tensor) -> tuple[Tensor, Tensor]:
        expert_ids = logits.topk(top_k, dim=-1).indices.sort(dim=-1).values
        return logits.sigmoid().gather(-1, expert_ids), expert_ids

    return route


def _problem(n_tokens: int, n_experts: int, d_model: int, seed: int) -> dict[str, Tensor]:
    random = generator(seed)
    shapes = {
        "w_router": (n_experts, d_model),
        "x": (n_tokens, d_model),
        "expert_out": (n_tokens, n_experts, d_model),
        "target": (n_tokens, d_model),
    }
    return {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}


def _near(got: float, expected: float) -> bool:
    return abs(got - expected) <= 1e-3 * expected + 1e-6


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
        f"The norm is no plain Python number, but of type {type(got).__name__}.",
        cause="The norm of a tensor is a tensor with one entry; the gradient itself has many.",
        cure="End in `.norm().item()`.",
        got=got,
        example=problem,
    )


@EXERCISE.stage("value")
def _gradient_value(answer: Any, seed: int) -> None:
    sizes = ((1, 2, 1, 1), (3, 4, 2, 2), (3, 2, 5, 2), (7, 5, 3, 3))
    rules = (softmax_rule, chosen_rule, sigmoid_rule)
    for n_tokens, n_experts, d_model, top_k in sizes:
        for rule in rules if top_k > 1 else (softmax_rule, sigmoid_rule):
            problem = _problem(n_tokens, n_experts, d_model, seed)
            got = answer(rule(top_k), **problem)
            expected = _expected_norm(rule(top_k), *problem.values())
            facts = {"expected": expected, "got": got, "example": {**problem, "top_k": top_k}}
            require(
                _near(got, expected) or not _near(got, expected**2),
                "This is the norm squared.",
                cause="The squares were added up, and no root was taken.",
                cure="The norm is the square root of the summed squares: `.norm()`.",
                **facts,
            )
            factors = sorted({n_tokens, d_model, n_tokens * d_model} - {1})
            times = next((n for n in factors if _near(got, n * expected)), None)
            require(
                _near(got, expected) or times is None,
                f"This is the norm times {times}.",
                cause="The loss is the *mean* over all T · D squared errors, not a sum over tokens "
                "or width.",
                cure="Take `.mean()` of all of them.",
                **facts,
            )
            require(
                _near(got, expected),
                "This is not the norm of d loss / d w_router.",
                cause="Perhaps the outputs are not weighed by all K gates as `route` gives them, "
                "or the norm is not that of all entries of the gradient (Frobenius).",
                cure="y = sum over k of gate times chosen output; mean squared error; gradient; "
                "square root of the sum of its squared entries.",
                **facts,
            )


@EXERCISE.stage("small gradients")
def _gradient_small(answer: Any, seed: int) -> None:
    problem = _problem(5, 4, 3, seed)
    for name in ("expert_out", "target"):
        problem[name] = problem[name] * 1e-3
    got, expected = (
        answer(softmax_rule(2), **problem),
        _expected_norm(softmax_rule(2), *problem.values()),
    )
    require(
        abs(got - expected) <= 1e-3 * expected,
        "A small gradient is not measured as it is.",
        cause="Below some size the norm is rounded or taken for nothing.",
        cure="Only a router without any gradient is dead: return the norm itself, neither rounded "
        "nor set to zero.",
        expected=expected,
        got=got,
        example={"expert_out and target": Words("a thousandth of standard normal numbers")},
    )


@EXERCISE.stage("dead routers")
def _gradient_dead(answer: Any, seed: int) -> None:
    problem = _problem(5, 3, 2, seed)
    for name, route in (
        ("softmax over the one chosen", chosen_rule(1)),
        ("logits detached", detached_rule(2)),
    ):
        # In words: thirty numbers would hide that the route alone is to blame.
        example = {"route": Words(name), "x": Words("5 tokens"), "w_router": Words("3 experts")}
        try:
            got = answer(route, **problem)
        except RuntimeError as error:
            require(
                "does not require grad" not in str(error),
                f"This router ({name}) is cut off, and the audit ends in an error of autograd.",
                cause="Its gates do not depend on the matrix, so there is no gradient to ask for.",
                cure="Look at `loss.requires_grad` first, and return 0.0 where it is False.",
                expected=0.0,
                got=Words("an error from backward()"),
                example=example,
            )
            raise
        require(
            not isinstance(got, bool) and got == 0.0,
            f"This router ({name}) gets no gradient at all, and your audit must be able to say so.",
            cause="Its answer for a router without a gradient is no 0.0, or comes from another "
            "graph than that of `route`.",
            cure="Where `loss.requires_grad` is False, return 0.0.",
            expected=0.0,
            got=got,
            example=example,
        )


@EXERCISE.stage("no traces")
def _gradient_traces(answer: Any, seed: int) -> None:
    problem = _problem(5, 3, 2, seed)
    expected = _expected_norm(softmax_rule(1), *problem.values())
    for gradient in (None, torch.ones(3, 2)):
        in_training = problem["w_router"].clone().requires_grad_()
        in_training.grad = gradient
        got = answer(softmax_rule(1), **{**problem, "w_router": in_training})
        require(
            _near(got, expected),
            "The same router gives another norm once its matrix is a parameter in training, with "
            "a flag and perhaps a `.grad` of its own.",
            cause="Something that was there before is measured along, or was taken for the answer.",
            cure="Work on `w_router.detach().clone().requires_grad_()`.",
            expected=expected,
            got=got,
            example={**problem, "w_router": Words("a parameter in training")},
        )
