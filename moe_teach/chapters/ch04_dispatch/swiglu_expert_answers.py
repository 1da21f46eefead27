"""Exercise 4.1: wrong answers with what they must be told, and other right ones."""

import torch
from torch.nn.functional import silu

from moe_teach.chapters.ch04_dispatch.swiglu_expert import EXERCISE


@EXERCISE.wrong(stage="shape", says="`w_down` is missing")
def stops_at_the_inner_width(x, w_gate, w_up, w_down):
    return silu(x @ w_gate.T) * (x @ w_up.T)


@EXERCISE.wrong(stage="values", says="wrong branch")
def opens_the_wrong_branch(x, w_gate, w_up, w_down):
    return ((x @ w_gate.T) * silu(x @ w_up.T)) @ w_down.T


@EXERCISE.wrong(stage="values", says="the older GLU")
def uses_a_sigmoid(x, w_gate, w_up, w_down):
    return ((x @ w_gate.T).sigmoid() * (x @ w_up.T)) @ w_down.T


@EXERCISE.wrong(stage="values", says="before the product")
def applies_silu_to_the_product(x, w_gate, w_up, w_down):
    return silu((x @ w_gate.T) * (x @ w_up.T)) @ w_down.T


@EXERCISE.wrong(stage="gradient", says="could learn")
def computes_without_a_graph(x, w_gate, w_up, w_down):
    with torch.no_grad():
        return (silu(x @ w_gate.T) * (x @ w_up.T)) @ w_down.T


@EXERCISE.right
def by_one_fused_matrix(x, w_gate, w_up, w_down):
    gate, up = (x @ torch.cat([w_gate, w_up]).T).chunk(2, dim=-1)
    return torch.nn.functional.linear(gate * torch.sigmoid(gate) * up, w_down)


@EXERCISE.right
def by_einsum_in_float64(x, w_gate, w_up, w_down):
    gate, up = (torch.einsum("nd,fd->nf", x.double(), w.double()) for w in (w_gate, w_up))
    return torch.einsum("nf,df->nd", silu(gate) * up, w_down.double()).float()


@EXERCISE.wrong(stage="far from zero", says="An `exp` of one's own overflows")
def writes_the_exponential_out(x, w_gate, w_up, w_down):
    gate = x @ w_gate.T
    return (gate * gate.exp() / (1 + gate.exp()) * (x @ w_up.T)) @ w_down.T


@EXERCISE.wrong(stage="gradient", says="gradient of `x` is another one")
def keeps_the_opening_out_of_the_graph(x, w_gate, w_up, w_down):
    return (silu(x.detach() @ w_gate.T) * (x @ w_up.T)) @ w_down.T


@EXERCISE.right
def column_by_column(x, w_gate, w_up, w_down):
    return (w_down @ (silu(w_gate @ x.T) * (w_up @ x.T))).T
