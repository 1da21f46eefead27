"""Exercise 3.4: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch03_router.router_gradient_norm import EXERCISE


def _loss(route, w, x, expert_out, target):
    gates, ids = route(x @ w.T)
    chosen = expert_out[torch.arange(len(x))[:, None], ids]
    return (((gates[..., None] * chosen).sum(1) - target) ** 2).mean()


@EXERCISE.wrong(stage="a number", says="plain Python number")
def returns_a_tensor(route, w_router, x, expert_out, target):
    w = w_router.clone().requires_grad_()
    return torch.autograd.grad(_loss(route, w, x, expert_out, target), w)[0].norm()


@EXERCISE.wrong(stage="value", says="square root of the summed squares")
def forgets_the_root(route, w_router, x, expert_out, target):
    w = w_router.clone().requires_grad_()
    loss = _loss(route, w, x, expert_out, target)
    return torch.autograd.grad(loss, w)[0].pow(2).sum().item() if loss.requires_grad else 0.0


@EXERCISE.wrong(stage="dead routers", says="your audit must be able to say")
def calls_a_dead_router_not_a_number(route, w_router, x, expert_out, target):
    w = w_router.clone().requires_grad_()
    loss = _loss(route, w, x, expert_out, target)
    if not loss.requires_grad:
        return float("nan")
    return torch.autograd.grad(loss, w)[0].norm().item()


@EXERCISE.wrong(stage="a number", says="left a gradient in its input")
def lets_gradients_pile_up(route, w_router, x, expert_out, target):
    loss = _loss(route, w_router.requires_grad_(), x, expert_out, target)
    if not loss.requires_grad:
        return 0.0
    loss.backward()
    return w_router.grad.norm().item()


@EXERCISE.wrong(stage="a number", says="switched `requires_grad` of its input")
def leaves_its_flag_behind(route, w_router, x, expert_out, target):
    loss = _loss(route, w_router.requires_grad_(), x, expert_out, target)
    return torch.autograd.grad(loss, w_router)[0].norm().item() if loss.requires_grad else 0.0


@EXERCISE.right
def with_backward_on_a_parameter(route, w_router, x, expert_out, target):
    w = torch.nn.Parameter(w_router.detach().clone())
    loss = _loss(route, w, x, expert_out, target)
    if loss.grad_fn is None:
        return 0.0
    loss.backward()
    return float(w.grad.square().sum().sqrt())


@EXERCISE.right
def with_a_dense_matrix_in_float64(route, w_router, x, expert_out, target):
    w = w_router.double().clone().requires_grad_()
    gates, ids = route(x.double() @ w.T)
    weights = torch.zeros(expert_out.shape[:2], dtype=gates.dtype).scatter(1, ids, gates)
    y = torch.einsum("te,ted->td", weights, expert_out.double())
    loss = torch.nn.functional.mse_loss(y, target.double())
    if not loss.requires_grad:
        return 0.0
    return torch.linalg.matrix_norm(torch.autograd.grad(loss, w)[0]).item()


@EXERCISE.wrong(stage="dead routers", says="Look at `loss.requires_grad`")
def asks_the_dead(route, w_router, x, expert_out, target):
    w = w_router.clone().requires_grad_()
    gates, ids = route(x @ w.T)
    chosen = expert_out[torch.arange(len(x))[:, None], ids]
    (((gates[..., None] * chosen).sum(1) - target) ** 2).mean().backward()
    return w.grad.norm().item()
