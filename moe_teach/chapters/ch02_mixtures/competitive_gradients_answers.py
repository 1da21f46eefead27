"""Exercise 2.3: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch02_mixtures.answer_parts import errors_of
from moe_teach.chapters.ch02_mixtures.competitive_gradients import EXERCISE


def _parts(outputs, logits, targets):
    gates = logits.softmax(-1)
    return gates, outputs - targets[:, None], errors_of(outputs, targets)


def _pull_at_answers(outputs, logits, targets):
    gates, misses, _ = _parts(outputs, logits, targets)
    return 2 * gates[..., None] * misses / len(targets)


def _pull_at_router(outputs, logits, targets):
    gates, _, errors = _parts(outputs, logits, targets)
    return gates * (errors - (gates * errors).sum(-1, keepdim=True)) / len(targets)


def _with(answers=_pull_at_answers, router=_pull_at_router):
    def answer(outputs, logits, targets):
        return answers(outputs, logits, targets), router(outputs, logits, targets)

    return answer


def _named(name, answer):
    answer.__name__ = name
    return answer


@EXERCISE.wrong(stage="shape", says="asks autograd")
def lets_autograd_do_it(outputs, logits, targets):
    with torch.enable_grad():
        outputs, logits = outputs.clone().requires_grad_(), logits.clone().requires_grad_()
        loss = (logits.softmax(-1) * errors_of(outputs, targets)).sum(-1).mean()
        return torch.autograd.grad(loss, (outputs, logits))


@EXERCISE.wrong(stage="shape", says="End in `return d_outputs, d_logits`")
def gives_a_list(outputs, logits, targets):
    return list(_with()(outputs, logits, targets))


@EXERCISE.wrong(stage="shape", says="the shape of what it pulls at")
def one_pull_for_each_token(outputs, logits, targets):
    return _pull_at_answers(outputs, logits, targets), _parts(outputs, logits, targets)[2].sum(-1)


_ABOUT_ANSWERS = {
    "points_downhill": (lambda *a: -_pull_at_answers(*a), "uphill"),
    "forgets_the_two": (lambda *a: _pull_at_answers(*a) / 2, "was not derived"),
    "sums_over_the_tokens": (lambda *a: _pull_at_answers(*a) * len(a[0]), "grows with the batch"),
    "pulls_without_gates": (lambda *a: 2 * _parts(*a)[1] / len(a[0]), "as if its gate were 1"),
    "pulls_all_alike": (lambda *a: 2 * _parts(*a)[1] / a[1].numel(), "whatever its gate"),
    "pulls_the_blend": (
        lambda *a: 2 * _parts(*a)[0][..., None]
        * ((_parts(*a)[0][..., None] * a[0]).sum(1, keepdim=True) - a[2][:, None]) / len(a[0]),
        "A factor is missing or too many",
    ),
}  # fmt: skip
for _name, (_answers, _says) in _ABOUT_ANSWERS.items():
    _wrong = EXERCISE.wrong(stage="pull at the answers", says=_says)
    _wrong(_named(_name, _with(answers=_answers)))


def _own_gate_alone(*a):
    gates, _, errors = _parts(*a)
    return gates * (1 - gates) * errors / len(errors)


def _plain_mean(*a):
    gates, _, errors = _parts(*a)
    return gates * (errors - errors.mean(-1, keepdim=True)) / len(errors)


_ABOUT_ROUTER = {
    "mean_over_the_outputs": (
        lambda *a: _pull_at_router(*a) / a[0].shape[2],
        "by the number of outputs",
    ),
    "lifts_the_bad_ones": (lambda *a: -_pull_at_router(*a), "lowers it"),
    "sums_router_over_tokens": (
        lambda *a: _pull_at_router(*a) * len(a[0]), "only a share of the pull"),
    "lets_others_stay": (
        lambda *a: _parts(*a)[0] * _parts(*a)[2] / len(a[0]), "gives to one takes from all"),
    "own_gate_alone": (_own_gate_alone, "the other gates move, too"),
    "plain_mean_of_errors": (_plain_mean, "Weigh the mean with the gates"),
    "forgets_the_gate": (
        lambda *a: _pull_at_router(*a) / _parts(*a)[0], "Each logit moves every gate"),
}  # fmt: skip
for _name, (_router, _says) in _ABOUT_ROUTER.items():
    _wrong = EXERCISE.wrong(stage="pull at the router", says=_says)
    _wrong(_named(_name, _with(router=_router)))


@EXERCISE.wrong(stage="other inputs", says="infinite in float32")
def exponentials_as_they_are(outputs, logits, targets):
    powers = logits.exp()
    return _with()(outputs, (powers / powers.sum(-1, keepdim=True)).log(), targets)


@EXERCISE.wrong(stage="other inputs", says="rounded to float32")
def answers_in_float32(outputs, logits, targets):
    return tuple(part.float() for part in _with()(outputs, logits, targets))


@EXERCISE.right
def with_the_whole_jacobian(outputs, logits, targets):
    gates, misses, errors = _parts(outputs, logits, targets)
    jacobian = torch.diag_embed(gates) - gates[:, :, None] * gates[:, None, :]
    d_logits = (jacobian @ errors[..., None])[..., 0] / len(targets)
    return torch.einsum("te,teo->teo", gates, misses).mul(2) / len(targets), d_logits


@EXERCISE.right
def token_by_token_in_float64(outputs, logits, targets):
    rows = []
    for own, row, target in zip(outputs.double(), logits.double(), targets.double(), strict=True):
        gates, miss = row.softmax(-1), own - target
        error = miss.square().sum(-1)
        rows.append((2 * gates[:, None] * miss, gates * (error - gates @ error)))
    d_outputs, d_logits = (torch.stack(part) / len(rows) for part in zip(*rows, strict=True))
    return d_outputs, d_logits
