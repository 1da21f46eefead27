"""The laws that look inside: at single experts, at the rows of the router, at the bias."""

import torch
from torch import Tensor

from moe_teach.analysis.law import LawBook
from moe_teach.analysis.subject import Subject
from moe_teach.analysis.verdict import demand, demand_close, kept
from moe_teach.types import Routing

INNER_LAWS = LawBook()


@INNER_LAWS.law(
    "kept once", "Every kept choice enters the sum exactly once, with its gate.", "expert"
)
def _kept_once(subject: Subject) -> None:
    x = subject.tokens()
    y, routing = subject(x)
    mixture = _mixture(subject, x, _dense_gates(routing))
    demand_close(y, mixture, "y, not the mixture that the record describes")


@INNER_LAWS.law(
    "k = E is dense",
    "With all experts chosen the layer is the dense mixture.",
    "expert",
    "with_top_k",
)
def _all_chosen(subject: Subject) -> None:
    x = subject.tokens()
    n_experts = subject(x)[1].n_experts
    y, routing = subject.with_top_k(n_experts)(x)
    demand(routing.top_k == n_experts, f"{routing.top_k} experts chosen, not {n_experts}.")
    shares = routing.probs / routing.probs.sum(dim=-1, keepdim=True)
    dense = shares * routing.gates.sum(dim=-1, keepdim=True)
    demand_close(y, _mixture(subject, x, dense), "y with k = E, not the dense mixture")


@INNER_LAWS.law(
    "experts have no names",
    "Renumbering experts and router rows together changes nothing.",
    "expert_rows",
)
def _no_names(subject: Subject) -> None:
    x = subject.tokens()
    y, routing = subject(x)
    order = subject.permutation(routing.n_experts)
    with subject.permuted(order):
        renumbered, renumbered_routing = subject(x)
    old_names = order.to(x.device)[renumbered_routing.expert_ids.long()]
    same = torch.equal(old_names.sort(dim=-1).values, routing.expert_ids.sort(dim=-1).values)
    demand(same, "After renumbering, some tokens go to other experts than before.")
    demand_close(y, renumbered, "y before renumbering, not after")


@INNER_LAWS.law("bias shift", "Adding one constant to every bias changes nothing.", "expert_bias")
def _bias_shift(subject: Subject) -> None:
    x = subject.tokens()
    y, _ = subject(x)
    shifted, _ = _with_bias(subject, x, subject.expert_bias + 0.25)
    demand_close(shifted, y, "y with a shifted bias")


@INNER_LAWS.law(
    "bias stays out",
    "For a given choice of experts the bias does not change the gates.",
    "expert_bias",
)
def _bias_stays_out(subject: Subject) -> None:
    x = subject.tokens()
    n_chosen = subject(x)[1].top_k
    # Neighbours, so that a group-limited router can choose them together.
    push = torch.zeros_like(subject.expert_bias)
    push[-n_chosen:] = 1.0
    _, pushed = _with_bias(subject, x, 8 * push)
    _, harder = _with_bias(subject, x, 16 * push)
    demand(
        torch.equal(_dense_gates(pushed) != 0, _dense_gates(harder) != 0),
        "Two biases that favour the same experts lead to different choices.",
    )
    demand_close(_dense_gates(harder), _dense_gates(pushed), "Gates under a stronger bias")


@torch.no_grad()
def _with_bias(subject: Subject, x: Tensor, bias: Tensor) -> tuple[Tensor, Routing]:
    original = subject.expert_bias.clone()
    try:
        subject.expert_bias.copy_(bias)
        return subject(x)
    finally:
        subject.expert_bias.copy_(original)


def _dense_gates(routing: Routing) -> Tensor:
    """Spread the gates of the kept choices over all experts: (T, E), zero elsewhere."""
    gates = routing.gates * kept(routing)
    nothing = gates.new_zeros(routing.probs.shape)
    return nothing.scatter_add(-1, routing.expert_ids.long(), gates)


def _mixture(subject: Subject, x: Tensor, dense_gates: Tensor) -> Tensor:
    """Run every expert on every token, and mix with gates (T, E) that may be zero."""
    n_experts = dense_gates.shape[-1]
    answers = torch.stack([subject.expert(expert, x) for expert in range(n_experts)], dim=1)
    y = torch.einsum("te,ted->td", dense_gates.to(answers.dtype), answers)
    return y if subject.shared_expert is None else y + subject.shared_expert(x)
