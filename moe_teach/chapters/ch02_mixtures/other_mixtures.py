"""Other people's sparse mixtures, right and broken, for the test that exercise 2.7 asks for.

Each is called like the answer to exercise 2.6. The faults are of kinds that were published; a
broken one is right in some cases, and its words say in which.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Experts = list[Callable[[Tensor], Tensor]]
Mixture = Callable[[Tensor, Experts, Tensor, int], Tensor]
Choice = Callable[[Tensor, int], tuple[Tensor, Tensor]]  # logits, k -> gates and ids, both (T, K)


class Broken(NamedTuple):
    """A broken mixture, when it is right all the same, what is wrong, and what finds it out."""

    mixture: Mixture
    is_right: str
    cause: str
    cure: str


def _top(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    chosen = logits.topk(k, dim=-1)
    return chosen.values.softmax(dim=-1), chosen.indices


def _mix(x: Tensor, experts: Experts, gates: Tensor, ids: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    for number, expert in enumerate(experts):
        token, choice = torch.where(ids == number)
        if len(token):
            y = y.index_add(0, token, gates[token, choice, None] * expert(x[token]))
    return y


def _by(choose: Choice) -> Mixture:
    return lambda x, experts, logits, k: _mix(x, experts, *choose(logits, k))


def in_log_space(x: Tensor, experts: Experts, logits: Tensor, k: int) -> Tensor:
    """Mix the exponentials of the answers, and take the logarithm."""
    gates, ids = _top(logits, k)
    powers = [lambda rows, expert=expert: expert(rows).exp() for expert in experts]
    total = _mix(x, powers, gates, ids)
    return total.masked_fill(total == 0, torch.finfo(x.dtype).eps).log()


def _over_the_batch(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    gates, ids = _not_renormalised(logits, k)
    return gates / gates.sum(dim=0 if k == 1 else -1, keepdim=True), ids


def _taken_is_zero(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    left, ids = logits.clone(), []
    for _ in range(k):
        ids.append(left.argmax(dim=-1))
        left = left.scatter(-1, ids[-1][:, None], 0.0)
    ids = torch.stack(ids, dim=-1)
    return logits.gather(-1, ids).softmax(dim=-1), ids


def _not_renormalised(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    ids = logits.topk(k, dim=-1).indices
    return logits.softmax(dim=-1).gather(-1, ids), ids


def _ids_in_order(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    gates, ids = _top(logits, k)
    return gates, ids.sort(dim=-1).values


def _one_choice_for_all(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    ids = logits.mean(dim=0).topk(k).indices.expand(len(logits), k)
    return logits.gather(-1, ids).softmax(dim=-1), ids


def _plain_exponentials(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    values, ids = logits.topk(k, dim=-1)
    return values.exp() / values.exp().sum(dim=-1, keepdim=True), ids


def _last_answer(x: Tensor, experts: Experts, logits: Tensor, k: int) -> Tensor:
    (gates, ids), y = _top(logits, k), torch.zeros_like(x)
    for number, expert in enumerate(experts):
        token, choice = torch.where(ids == number)
        if len(token):
            y[token] = gates[token, choice, None] * expert(x[token])
    return y


def _asks_everybody(x: Tensor, experts: Experts, logits: Tensor, k: int) -> Tensor:
    gates, ids = _top(logits, k)
    outputs = torch.stack([expert(x) for expert in experts], dim=1)
    chosen = outputs.gather(1, ids[..., None].expand(*ids.shape, x.shape[1]))
    return (gates[..., None] * chosen).sum(dim=1)


BROKEN = (
    Broken(
        in_log_space,
        "where k = 1, and where the experts agree",
        "Two experts that answer 0 and 2 with equal gates make 1, and this one gives another "
        "number.",
        "Compare with the gated sum at k = 2, with experts that answer different things.",
    ),
    Broken(
        _by(_not_renormalised),
        "where k = E",
        "The gates of the chosen must sum to one, and the softmax was taken over all experts.",
        "Compare with the gated sum at a k between 1 and E.",
    ),
    Broken(
        _last_answer,
        "where k = 1",
        "Of a token's k answers only the last one is kept.",
        "Compare with the gated sum at k = 2.",
    ),
    Broken(
        _by(_ids_in_order),
        "where k = 1, and where better experts come first",
        "A gate meets the answer of another expert.",
        "Compare with the gated sum at k = 2, with several tokens that prefer different experts.",
    ),
    Broken(
        _by(_one_choice_for_all),
        "with one token, and where k = E",
        "The whole batch goes to the same experts.",
        "Give it several tokens that prefer different experts, and a k below E.",
    ),
    Broken(
        _by(_over_the_batch),
        "where k is not 1, and with one token",
        "With k = 1 the gates are normalised over the batch and not for each token.",
        "Try k = 1 with several tokens: the answer is that of the best expert, undiminished.",
    ),
    Broken(
        _by(_taken_is_zero),
        "where at least k logits of a token are positive",
        "An expert that was taken is marked with a logit of 0, which beats every negative one.",
        "Try logits that are all below zero.",
    ),
    Broken(
        _by(_plain_exponentials),
        "where no logit is far from zero",
        "The exponential of a logit of some hundreds is infinite, and the answer NaN.",
        "Try logits that are hundreds apart, as the contract allows.",
    ),
    Broken(
        _asks_everybody,
        "in every number that it gives",
        "It calls every expert with every token, so nothing is saved.",
        "Hand it experts that count the rows they are called with.",
    ),
)


def _token_by_token(x: Tensor, experts: Experts, logits: Tensor, k: int) -> Tensor:
    rows = []
    for row, own in zip(x, logits, strict=True):
        gates, ids = _top(own, k)
        answers = [experts[e](row[None])[0] for e in ids.tolist()]
        rows.append(sum(gate * answer for gate, answer in zip(gates, answers, strict=True)))
    return torch.stack(rows)


def _in_float64(x: Tensor, experts: Experts, logits: Tensor, k: int) -> Tensor:
    gates, ids = _top(logits.double(), k)
    return _mix(x, experts, gates.to(x.dtype), ids)


def _last_of_equals(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    gates, ids = _top(logits.flip(-1), k)
    return gates, logits.shape[-1] - 1 - ids


RIGHT: tuple[tuple[Mixture, str, str], ...] = (
    (_by(_top), "It goes through the experts and adds up.", "Look for what your test forbids."),
    (
        _in_float64,
        "It adds up in another order, and is off in the last digits.",
        "Compare floats with a tolerance: `torch.allclose`, and not `==`.",
    ),
    (
        _token_by_token,
        "It goes through the tokens, and calls an expert with one row at a time.",
        "The order of the work, and how many rows go into one call, are nobody's business.",
    ),
    (
        _by(_last_of_equals),
        "Of two equal logits it takes the other one, which nobody forbids.",
        "Draw logits that are all different: `torch.randn`, and not `zeros` or `randint`.",
    ),
)
