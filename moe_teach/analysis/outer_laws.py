"""The laws that can be tested from outside, with nothing but the forward pass and its record."""

import torch
from torch import nn

from moe_teach.analysis.law import LawBook
from moe_teach.analysis.subject import Subject, both
from moe_teach.analysis.verdict import (
    CannotHold,
    LawBroken,
    demand,
    demand_close,
    kept,
    why_neighbours_matter,
)
from moe_teach.types import Routing

OUTER_LAWS = LawBook()


@OUTER_LAWS.law("shapes", "y is shaped like x and finite, and no tokens give no rows.")
def _shapes(subject: Subject) -> None:
    for n_tokens in (1, 7, 0):
        x = subject.tokens(n_tokens)
        y, routing = subject.answer(x)
        demand(y.shape == x.shape, f"x is {tuple(x.shape)}, but y is {tuple(y.shape)}.")
        demand(bool(y.isfinite().all()), f"y of {n_tokens} tokens is not finite.")
        decided = n_tokens if routing is None else len(routing.expert_ids)
        demand(decided == n_tokens, f"{n_tokens} tokens, but {decided} decisions in the record.")


@OUTER_LAWS.law("distinct experts", "A token's K experts are different ones and exist.")
def _distinct(subject: Subject) -> None:
    _, routing = subject(subject.tokens())
    for token, ids in enumerate(routing.expert_ids.tolist()):
        exist = all(0 <= expert < routing.n_experts for expert in ids)
        demand(exist, f"Token {token} goes to {ids}; there are {routing.n_experts} experts.")
        demand(len(set(ids)) == len(ids), f"Token {token} goes to {ids}: one of them twice.")


@OUTER_LAWS.law("gates sum", "The gates of a token sum to one (or to the scale).", "gate_sum")
def _gates_sum(subject: Subject) -> None:
    _, routing = subject(subject.tokens())
    is_served = kept(routing).any(dim=-1)  # an expert-choice token may have nobody at all
    totals = routing.gates.sum(dim=-1)[is_served]
    expected = torch.full_like(totals, subject.gate_sum)
    demand_close(totals, expected, "Sum of the gates")


@OUTER_LAWS.law("repeatable", "The same tokens give the same answer again, and no buffer moves.")
def _repeatable(subject: Subject) -> None:
    layer, x = subject.layer, subject.tokens()
    buffers = dict(layer.named_buffers()) if isinstance(layer, nn.Module) else {}
    before = {name: buffer.clone() for name, buffer in buffers.items()}
    first, again = both(layer(x))[0], both(layer(x))[0]
    demand(torch.equal(first, again), "Two calls differ: is noise on during evaluation?")
    for name, buffer in buffers.items():
        demand(torch.equal(buffer, before[name]), f"Evaluation moved the buffer {name}.")


@OUTER_LAWS.law("batch invariance", "A token's output does not depend on the tokens beside it.")
def _batch_invariance(subject: Subject) -> None:
    x = subject.tokens()
    y, routing = subject.answer(x)
    alone = torch.cat([subject.answer(token)[0] for token in x.split(1)])
    demand_close(y, alone, "In a batch, not alone", why_neighbours_matter(routing))


@OUTER_LAWS.law(
    "prefix causality", "What comes later does not change the output of earlier tokens."
)
def _prefix_causality(subject: Subject) -> None:
    x = subject.tokens()
    y, routing = subject.answer(x)
    why = why_neighbours_matter(routing)
    for n_tokens in (1, len(x) // 2, len(x) - 1):
        prefix = x[:n_tokens]
        demand_close(y[:n_tokens], subject.answer(prefix)[0], "With a future, not without", why)
        other_future = torch.cat([prefix, x[n_tokens:].flip(-1) * 2])
        changed = subject.answer(other_future)[0][:n_tokens]
        demand_close(y[:n_tokens], changed, "With another future", why)


@OUTER_LAWS.law("router learns", "The task loss alone moves the router.")
def _router_learns(subject: Subject) -> None:
    y, routing = subject(subject.tokens())
    if routing.n_experts == 1:
        raise CannotHold("With one expert there is nothing to choose.")
    demand(routing.logits.requires_grad, "The logits in the record carry no gradient.")
    direction = torch.linspace(-1, 1, y.numel(), device=y.device).view_as(y)
    to_logits, to_gates = torch.autograd.grad(
        (y * direction).sum(), (routing.logits, routing.gates), allow_unused=True
    )
    used = to_logits is not None and to_gates is not None
    strength = to_logits.abs().max() / to_gates.abs().max() if used else torch.zeros(())
    if strength > 1e-5:
        return
    is_constant = routing.top_k == 1 and bool((routing.gates == routing.gates[0]).all())
    if is_constant:
        raise CannotHold("With k = 1 and a normalised gate, the gate is constant.")
    raise LawBroken("No gradient reaches the logits: is a gate detached, rounded or left out?")


@OUTER_LAWS.law("balanced loss", "The load-balancing loss of perfectly even routing is 1.")
def _balanced_loss(subject: Subject) -> None:
    _, routing = subject(subject.tokens())
    n_experts, top_k = routing.n_experts, routing.top_k
    ids = (torch.arange(n_experts)[:, None] + torch.arange(top_k)) % n_experts
    even = torch.full((n_experts, n_experts), 1 / n_experts)
    loss = subject.balance_loss(Routing(torch.zeros_like(even), even, even[:, :top_k], ids))
    hint = "If it is k, the counts are divided by T and not by T * K."
    demand_close(loss, torch.ones_like(loss), "Loss of even routing", hint)
