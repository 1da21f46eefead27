"""Exercise 4.8: layers that a test must tell apart, and what each broken one gets wrong."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

Experts = Sequence[Callable[[Tensor], Tensor]]
Layer = Callable[[Tensor, Tensor, Tensor, Experts], Tensor]


@dataclass(frozen=True)
class Suspect:
    """One layer, and what is told where a test judges it wrongly: what it does, and a cure."""

    layer: Layer
    does: str
    cure: str


def by_expert(x: Tensor, gates: Tensor, expert_ids: Tensor, experts: Experts) -> Tensor:
    """Right: let every expert look for its tokens."""
    y = torch.zeros_like(x, dtype=torch.float32)
    for e, expert in enumerate(experts):
        token, choice = torch.where(expert_ids == e)
        # No token chooses an expert twice, so no row of y is written to twice at once.
        if len(token):
            y[token] += gates[token, choice, None] * expert(x[token]).float()
    return y.to(x.dtype)


def by_sorting(x: Tensor, gates: Tensor, expert_ids: Tensor, experts: Experts) -> Tensor:
    """Right: sort the choices by expert, and collect by slot."""
    top_k = expert_ids.shape[1]
    order = expert_ids.flatten().argsort(stable=True)
    counts = torch.bincount(expert_ids.flatten(), minlength=len(experts)).tolist()
    slices = x[order // top_k].split(counts)
    answers = torch.cat([expert(rows) for expert, rows in zip(experts, slices, strict=True)])
    slot = order.argsort().view_as(expert_ids)
    return (gates[..., None] * answers[slot].float()).sum(dim=1).to(x.dtype)


def by_everybody(x: Tensor, gates: Tensor, expert_ids: Tensor, experts: Experts) -> Tensor:
    """Right: ask every expert about every token, and mix with gates of zero."""
    weights = torch.zeros(len(x), len(experts)).scatter_add(1, expert_ids, gates)
    answers = torch.stack([expert(x).float() for expert in experts], dim=1)
    return torch.einsum("te,ted->td", weights, answers).to(x.dtype)


def one_at_a_time(x: Tensor, gates: Tensor, expert_ids: Tensor, experts: Experts) -> Tensor:
    """Adds up in the dtype of x, and never shows an expert more than one row."""
    y = torch.zeros_like(x)
    for t, (own, ids) in enumerate(zip(gates, expert_ids.tolist(), strict=True)):
        for gate, e in zip(own, ids, strict=True):
            y[t] += gate.to(x.dtype) * experts[e](x[t : t + 1])[0]
    return y


def counts_in_the_dtype_of_x(x, gates, expert_ids, experts):
    """The layer that the exercise shows, as in its cell."""
    chosen = one_hot(expert_ids.flatten(), len(experts)).to(x.dtype)
    earlier = chosen.cumsum(dim=0) - chosen
    place = (earlier * chosen).sum(dim=1).long()
    n_places = int(place.max()) + 1
    row = expert_ids.flatten() * n_places + place
    block = x.new_zeros(len(experts) * n_places, x.shape[1])
    block[row] = x.repeat_interleave(expert_ids.shape[1], dim=0)
    slices = block.split(n_places)
    answers = torch.cat([expert(rows) for expert, rows in zip(experts, slices, strict=True)])
    mixed = gates[..., None] * answers[row].view(*expert_ids.shape, -1)
    return mixed.sum(dim=1).to(x.dtype)


def overwrites(x, gates, expert_ids, experts):
    """Broken: write the rows of one token over one another."""
    order = expert_ids.flatten().argsort(stable=True)
    token = order // expert_ids.shape[1]
    counts = torch.bincount(expert_ids.flatten(), minlength=len(experts)).tolist()
    slices = x[token].split(counts)
    answers = torch.cat([expert(rows) for expert, rows in zip(experts, slices, strict=True)])
    y = torch.zeros_like(x, dtype=torch.float32)
    y[token] += gates.flatten()[order, None] * answers.float()
    return y.to(x.dtype)


def numbers_the_busy(x, gates, expert_ids, experts):
    """Broken: number only the experts that somebody chose."""
    present = expert_ids.unique()
    return by_everybody(x, gates, torch.searchsorted(present, expert_ids), experts)


def weighs_the_rows(x, gates, expert_ids, experts):
    """Broken: multiply by the gate on the way in."""
    y = torch.zeros_like(x, dtype=torch.float32)
    for e, expert in enumerate(experts):
        token, choice = torch.where(expert_ids == e)
        y[token] += expert((gates[token, choice, None] * x[token]).to(x.dtype)).float()
    return y.to(x.dtype)


def makes_the_gates_sum_to_one(x, gates, expert_ids, experts):
    """Broken: divide the gates of a token by their sum."""
    return by_expert(x, gates / gates.sum(dim=1, keepdim=True), expert_ids, experts)


def has_room_for_twice_the_mean(x, gates, expert_ids, experts):
    """Broken: turn away what exceeds a capacity factor of 2."""
    room = -(-2 * expert_ids.numel() // len(experts))
    chosen = one_hot(expert_ids.flatten(), len(experts))
    place = ((chosen.cumsum(dim=0) - chosen) * chosen).sum(dim=1).view_as(expert_ids)
    return by_expert(x, gates * (place < room), expert_ids, experts)


def hurries_with_one_token(x, gates, expert_ids, experts):
    """Broken: mix only the first choice where a token is alone."""
    if len(x) == 1:
        gates, expert_ids = gates[:, :1], expert_ids[:, :1]
    return by_expert(x, gates, expert_ids, experts)


def mixes_in_the_order_of_the_experts(x, gates, expert_ids, experts):
    """Broken: sort the experts of a token and leave its gates."""
    return by_expert(x, gates, expert_ids.sort(dim=1).values, experts)


def leaves_x_changed(x, gates, expert_ids, experts):
    """Broken: change x in place, as jitter has done."""
    y = by_expert(x, gates, expert_ids, experts)
    x.mul_(0.99)
    return y


RIGHT = (
    Suspect(
        by_expert,
        "It asks every expert about its own tokens, all at once.",
        "Your experts must treat each row by itself, and what must come out is the contract's sum.",
    ),
    Suspect(
        by_sorting,
        "It sorts, and asks an expert that nobody chose about no rows at all.",
        "Your experts must stand (0, D).",
    ),
    Suspect(
        by_everybody,
        "It asks every expert about every token, and mixes with gates of zero.",
        "The contract speaks of y, not of how often an expert is asked.",
    ),
    Suspect(
        one_at_a_time,
        "It adds up in the dtype of x, so in bfloat16 it is off by a few roundings, as the "
        "contract allows.",
        "Two bfloat16 numbers are equal up to about one part in a hundred; allow for that.",
    ),
)
SHOWN = Suspect(
    counts_in_the_dtype_of_x,
    "The demo has float32 numbers, or few tokens. Which line of the code depends on the dtype of "
    "x, and up to which number does bfloat16 know every integer?",
    "Hand it x in bfloat16, with one expert that more than 256 tokens choose.",
)
BROKEN = (
    Suspect(
        overwrites,
        "it forgets an expert of a token that has several.",
        "Let tokens have two experts: `y[token] += ...` writes to one row once, however often "
        "`token` names it.",
    ),
    Suspect(
        mixes_in_the_order_of_the_experts,
        "it gives the gates of a token to its experts in another order.",
        "Let the gates of a token differ, and its experts stand in no order.",
    ),
    Suspect(
        makes_the_gates_sum_to_one,
        "it changes the gates.",
        "Let the gates of a token sum to something else than 1.",
    ),
    Suspect(
        weighs_the_rows,
        "it multiplies by the gate before the expert and not after.",
        "Let the experts be nonlinear: with linear ones that is the same.",
    ),
    Suspect(
        numbers_the_busy,
        "it mistakes the experts where one of them has no token.",
        "Leave an expert out, with a number smaller than those that are chosen.",
    ),
    Suspect(
        has_room_for_twice_the_mean,
        "it turns choices away.",
        "Let one expert be chosen more than twice as often as the mean.",
    ),
    Suspect(
        hurries_with_one_token,
        "it takes a short cut for small batches.",
        "Hand it a single token.",
    ),
    Suspect(
        leaves_x_changed,
        "its answers are right, and it does something else besides.",
        "Keep a copy of x, and look whether x is still the same.",
    ),
)
