"""Chapter 03, exercises 3.4 to 3.6: wrong and other right answers about measuring a router."""

import torch

from moe_teach.judging.exercise import right, wrong

# --- 3.4 router_gradient_norm -----------------------------------------------------------------


def _loss(route, w, x, expert_out, target):
    gates, ids = route(x @ w.T)
    chosen = expert_out[torch.arange(len(x))[:, None], ids]
    return (((gates[..., None] * chosen).sum(1) - target) ** 2).mean()


@wrong("3.4", stage="a number", says="plain Python number")
def returns_a_tensor(route, w_router, x, expert_out, target):
    w = w_router.clone().requires_grad_()
    return torch.autograd.grad(_loss(route, w, x, expert_out, target), w)[0].norm()


@wrong("3.4", stage="value", says="square root of the summed squares")
def forgets_the_root(route, w_router, x, expert_out, target):
    w = w_router.clone().requires_grad_()
    loss = _loss(route, w, x, expert_out, target)
    return torch.autograd.grad(loss, w)[0].pow(2).sum().item() if loss.requires_grad else 0.0


@wrong("3.4", stage="dead routers", says="your audit must be able to say")
def calls_a_dead_router_not_a_number(route, w_router, x, expert_out, target):
    w = w_router.clone().requires_grad_()
    loss = _loss(route, w, x, expert_out, target)
    if not loss.requires_grad:
        return float("nan")
    return torch.autograd.grad(loss, w)[0].norm().item()


@wrong("3.4", stage="no traces", says="backward() adds to it")
def lets_gradients_pile_up(route, w_router, x, expert_out, target):
    loss = _loss(route, w_router.requires_grad_(), x, expert_out, target)
    if not loss.requires_grad:
        return 0.0
    loss.backward()
    return w_router.grad.norm().item()


@wrong("3.4", stage="no traces", says="leaves no traces")
def leaves_its_flag_behind(route, w_router, x, expert_out, target):
    loss = _loss(route, w_router.requires_grad_(), x, expert_out, target)
    return torch.autograd.grad(loss, w_router)[0].norm().item() if loss.requires_grad else 0.0


@right("3.4")
def with_backward_on_a_parameter(route, w_router, x, expert_out, target):
    w = torch.nn.Parameter(w_router.detach().clone())
    loss = _loss(route, w, x, expert_out, target)
    if loss.grad_fn is None:
        return 0.0
    loss.backward()
    return float(w.grad.square().sum().sqrt())


@right("3.4")
def with_a_dense_matrix_in_float64(route, w_router, x, expert_out, target):
    w = w_router.double().clone().requires_grad_()
    gates, ids = route(x.double() @ w.T)
    weights = torch.zeros(expert_out.shape[:2], dtype=gates.dtype).scatter(1, ids, gates)
    y = torch.einsum("te,ted->td", weights, expert_out.double())
    loss = torch.nn.functional.mse_loss(y, target.double())
    if not loss.requires_grad:
        return 0.0
    return torch.linalg.matrix_norm(torch.autograd.grad(loss, w)[0]).item()


# --- 3.5 stable_topk_with_margin --------------------------------------------------------------


def _margin(scores, top_k):
    if top_k == scores.shape[-1]:
        return torch.full((len(scores),), torch.inf)
    best = scores.topk(top_k + 1).values
    return best[:, -2] - best[:, -1]


def _stable(scores, top_k):
    return scores.argsort(dim=-1, descending=True, stable=True)[:, :top_k]


@wrong("3.5", stage="shape", says="one margin per token")
def keeps_a_column_of_margins(scores, top_k):
    return _stable(scores, top_k), _margin(scores, top_k)[:, None]


@wrong("3.5", stage="choice", says="do not break ties by changing scores")
def pushes_ties_apart(scores, top_k):
    pushed = scores - 1e-5 * torch.arange(scores.shape[-1])
    return pushed.topk(top_k).indices, _margin(scores, top_k)


@wrong("3.5", stage="ties", says="the lower number comes first")
def trusts_topk(scores, top_k):
    return scores.topk(top_k).indices, _margin(scores, top_k)


@wrong("3.5", stage="margin", says="number top_k + 1 in the order")
def margin_inside_the_chosen(scores, top_k):
    best = scores.sort(dim=-1, descending=True).values
    return _stable(scores, top_k), best[:, 0] - best[:, top_k - 1]


@wrong("3.5", stage="everyone chosen", says="the margin is infinite")
def zero_when_nobody_is_left_out(scores, top_k):
    margin = _margin(scores, top_k)
    return _stable(scores, top_k), torch.where(margin.isinf(), 0.0, margin)


@right("3.5")
def by_python_sorting(scores, top_k):
    rows = scores.tolist()
    order = [sorted(range(len(row)), key=lambda e, row=row: -row[e]) for row in rows]
    return torch.tensor(order)[:, :top_k], _margin(scores, top_k)


@right("3.5")
def in_float64_with_a_padded_column(scores, top_k):
    values, order = (-scores.double()).sort(dim=-1, stable=True)
    values = torch.nn.functional.pad(-values, (0, 1), value=-torch.inf)
    return order[:, :top_k].to(torch.int32), values[:, top_k - 1] - values[:, top_k]


# --- 3.6 changed_share ------------------------------------------------------------------------


@wrong("3.6", stage="a number", says="share of the *unchanged*")
def counts_the_unchanged(expert_ids_a, expert_ids_b):
    same = expert_ids_a.sort(-1).values == expert_ids_b.sort(-1).values
    return same.all(-1).float().mean().item()


@wrong("3.6", stage="order", says="Compare sets, not positions")
def compares_positions(expert_ids_a, expert_ids_b):
    return (expert_ids_a != expert_ids_b).any(-1).float().mean().item()


@wrong("3.6", stage="share", says="not only the first or their sum")
def compares_sums(expert_ids_a, expert_ids_b):
    return (expert_ids_a.sum(-1) != expert_ids_b.sum(-1)).float().mean().item()


@wrong("3.6", stage="no tokens", says="The mean of nothing is NaN")
def forgets_the_empty_batch(expert_ids_a, expert_ids_b):
    differs = expert_ids_a.sort(-1).values != expert_ids_b.sort(-1).values
    return differs.any(-1).float().mean().item()


@right("3.6")
def by_python_sets(expert_ids_a, expert_ids_b):
    rows = list(zip(expert_ids_a.tolist(), expert_ids_b.tolist(), strict=True))
    return sum(set(one) != set(two) for one, two in rows) / max(len(rows), 1)


@right("3.6")
def by_looking_each_expert_up(expert_ids_a, expert_ids_b):
    if expert_ids_a.shape[0] == 0:
        return 0.0
    found = (expert_ids_a[:, :, None] == expert_ids_b[:, None, :]).any(-1)
    return 1.0 - found.all(-1).double().mean().item()
