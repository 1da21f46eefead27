"""Exercise 4.1: wrong answers with what they must be told, and other right ones."""

import torch
from torch.nn.functional import silu
from torch.utils.checkpoint import checkpoint

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


@EXERCISE.wrong(stage="what it keeps", says="each operation saves its own")
def is_the_lessons_expert(x, w_gate, w_up, w_down):
    return (silu(x @ w_gate.T) * (x @ w_up.T)) @ w_down.T


@EXERCISE.wrong(stage="what it keeps", says="still in memory")
def by_one_fused_matrix(x, w_gate, w_up, w_down):
    gate, up = (x @ torch.cat([w_gate, w_up]).T).chunk(2, dim=-1)
    return torch.nn.functional.linear(gate * torch.sigmoid(gate) * up, w_down)


@EXERCISE.wrong(stage="far from zero", says="An `exp` of one's own overflows")
def writes_the_exponential_out(x, w_gate, w_up, w_down):
    gate = x @ w_gate.T
    return (gate * gate.exp() / (1 + gate.exp()) * (x @ w_up.T)) @ w_down.T


@EXERCISE.wrong(stage="gradient", says="through `w_up` alone")
def keeps_the_opening_out_of_the_graph(x, w_gate, w_up, w_down):
    return (silu(x.detach() @ w_gate.T) * (x @ w_up.T)) @ w_down.T


class _ByHand(torch.autograd.Function):
    """The derivation, with places at which it can go wrong."""

    @staticmethod
    def forward(ctx, x, w_gate, w_up, w_down):
        ctx.save_for_backward(x, w_gate, w_up, w_down)
        return (silu(x @ w_gate.T) * (x @ w_up.T)) @ w_down.T

    @staticmethod
    def slope(z):
        return z.sigmoid() * (1 + z * (1 - z.sigmoid()))

    @classmethod
    def backward(cls, ctx, dy):
        x, w_gate, w_up, w_down = ctx.saved_tensors
        z, up = x @ w_gate.T, x @ w_up.T
        dh = dy @ w_down
        d_z, d_up = dh * up * cls.slope(z), dh * silu(z)
        return d_z @ w_gate + d_up @ w_up, d_z.T @ x, d_up.T @ x, dy.T @ (silu(z) * up)


class _SlopeOfTheSigmoid(_ByHand):
    @staticmethod
    def slope(z):
        return z.sigmoid() * (1 - z.sigmoid())


class _SlopeByExponentials(_ByHand):
    @staticmethod
    def slope(z):
        return (1 + (-z).exp() + z * (-z).exp()) / (1 + (-z).exp()).square()


class _ForgetsTheOtherBranch(_ByHand):
    @classmethod
    def backward(cls, ctx, dy):
        _, *of_matrices = super().backward(ctx, dy)
        x, w_gate, w_up, w_down = ctx.saved_tensors
        z, dh = x @ w_gate.T, dy @ w_down
        return (dh * cls.slope(z)) @ w_gate + (dh * silu(z)) @ w_up, *of_matrices


class _SwapsTwoGradients(_ByHand):
    @classmethod
    def backward(cls, ctx, dy):
        d_x, d_gate, d_up, d_down = super().backward(ctx, dy)
        return d_x, d_up, d_gate, d_down


class _SavesTheInnerNumbers(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w_gate, w_up, w_down):
        z, up = x @ w_gate.T, x @ w_up.T
        ctx.save_for_backward(x, w_gate, w_up, w_down, z, up)
        return (silu(z) * up) @ w_down.T

    @staticmethod
    def backward(ctx, dy):
        x, w_gate, w_up, w_down, z, up = ctx.saved_tensors
        dh = dy @ w_down
        d_z, d_up = dh * up * _ByHand.slope(z), dh * silu(z)
        return d_z @ w_gate + d_up @ w_up, d_z.T @ x, d_up.T @ x, dy.T @ (silu(z) * up)


@EXERCISE.wrong(stage="gradient", says="the sigmoid's slope")
def takes_the_slope_of_the_sigmoid(x, w_gate, w_up, w_down):
    return _SlopeOfTheSigmoid.apply(x, w_gate, w_up, w_down)


@EXERCISE.wrong(stage="gradient", says="not even finite")
def writes_the_slope_with_exponentials(x, w_gate, w_up, w_down):
    return _SlopeByExponentials.apply(x, w_gate, w_up, w_down)


@EXERCISE.wrong(stage="gradient", says="the gradient passes `up`")
def forgets_the_other_branch(x, w_gate, w_up, w_down):
    return _ForgetsTheOtherBranch.apply(x, w_gate, w_up, w_down)


@EXERCISE.wrong(stage="gradient", says="gradient of `w_gate` is another one")
def returns_two_gradients_in_each_others_place(x, w_gate, w_up, w_down):
    return _SwapsTwoGradients.apply(x, w_gate, w_up, w_down)


@EXERCISE.wrong(stage="what it keeps", says="so does `save_for_backward`")
def saves_both_products(x, w_gate, w_up, w_down):
    return _SavesTheInnerNumbers.apply(x, w_gate, w_up, w_down)


class _HidesThemInItsContext(_SavesTheInnerNumbers):
    @staticmethod
    def forward(ctx, x, w_gate, w_up, w_down):
        ctx.save_for_backward(x, w_gate, w_up, w_down)
        ctx.z, ctx.up = x @ w_gate.T, x @ w_up.T
        return (silu(ctx.z) * ctx.up) @ w_down.T

    @staticmethod
    def backward(ctx, dy):
        x, w_gate, w_up, w_down = ctx.saved_tensors
        dh = dy @ w_down
        d_z, d_up = dh * ctx.up * _ByHand.slope(ctx.z), dh * silu(ctx.z)
        h = silu(ctx.z) * ctx.up
        return d_z @ w_gate + d_up @ w_up, d_z.T @ x, d_up.T @ x, dy.T @ h


@EXERCISE.wrong(stage="what it keeps", says="An attribute, a list or a closure")
def hides_both_products_in_the_context(x, w_gate, w_up, w_down):
    return _HidesThemInItsContext.apply(x, w_gate, w_up, w_down)


@EXERCISE.right
def by_a_checkpoint(x, w_gate, w_up, w_down):
    return checkpoint(is_the_lessons_expert, x, w_gate, w_up, w_down, use_reentrant=False)


@EXERCISE.right
def by_a_checkpoint_in_float64(x, w_gate, w_up, w_down):
    def inside(*given):
        gate, up = (torch.einsum("nd,fd->nf", given[0].double(), w.double()) for w in given[1:3])
        return torch.einsum("nf,df->nd", silu(gate) * up, given[3].double()).float()

    return checkpoint(inside, x, w_gate, w_up, w_down, use_reentrant=False)


@EXERCISE.right
def row_by_row(x, w_gate, w_up, w_down):
    # Transposed inside and out; what it leaves is one contiguous copy of x.
    return _ByHand.apply(x.contiguous(), w_gate, w_up, w_down).T.contiguous().T
