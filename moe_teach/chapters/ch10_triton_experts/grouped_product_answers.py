"""Exercise 10.7: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch10_triton_experts.grouped_product import EXERCISE
from moe_teach.chapters.ch10_triton_experts.stand_in_kernels import OF_THE_WAY_BACK, stand_ins


class WayBack:
    """Forward and backward, each with a door for one slip."""

    rows, wide = 16, 16

    def __call__(self, x, w, token_idx, expert_offsets, **kernels):
        self.kernels = {**stand_ins(OF_THE_WAY_BACK), **kernels}
        self.token_idx, self.ends = token_idx, expert_offsets
        way = self

        class Product(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x, w):
                ctx.save_for_backward(x, w)
                return way.product(x.contiguous(), w, token_idx)

            @staticmethod
            def backward(ctx, dout):
                x, w = ctx.saved_tensors
                dout = way.lay_out(dout)
                return way.tokens(x, w, dout), way.matrices(x, w, dout)

        return Product.apply(x, w)

    def product(self, rows, matrices, row_idx):
        n_experts, width, depth = matrices.shape
        n_tiles = -(-len(row_idx) // self.rows) + n_experts
        table = torch.empty(3, n_tiles, dtype=torch.int32).unbind()
        lanes = 1 << (n_experts - 1).bit_length()
        self.kernels["tiles"][(n_tiles,)](self.ends, *table, n_experts, self.rows, lanes)
        out = torch.empty(len(row_idx), width)
        sizes = (depth, width, *matrices.stride(), self.rows, self.wide, self.wide)
        grid = (n_tiles, -(-width // self.wide))
        self.kernels["matmul"][grid](rows, row_idx, matrices, out, *table, *sizes)
        return out

    def lay_out(self, dout):
        return dout.contiguous()

    def turned(self, w):
        return w.mT

    def places(self, dout):
        return torch.arange(len(dout), dtype=torch.int32)

    def tokens(self, x, w, dout):
        return self.collect(x, self.product(dout, self.turned(w), self.places(dout)))

    def collect(self, x, drows):
        return torch.zeros_like(x).index_add(0, self.token_idx, drows)

    def gathered(self, x):
        return x[self.token_idx]

    def matrices(self, x, w, dout):
        n_experts, d_ff, d_model = w.shape
        dw = torch.full(w.shape, float("nan"))
        grid = (n_experts, -(-d_ff // self.wide), -(-d_model // self.wide))
        sizes = (d_model, d_ff, self.rows, self.wide, self.wide)
        self.kernels["gradient"][grid](self.gathered(x), dout, self.ends, dw, *sizes)
        return self.finish(dw)

    def finish(self, dw):
        return dw


def _named(name, way):
    """Make a function of an object, with the stub's parameters."""

    def answer(x, w, token_idx, expert_offsets, **kernels):
        return way()(x, w, token_idx, expert_offsets, **kernels)

    answer.__name__ = name
    return answer


def _wrong(stage, says):
    return lambda kind: EXERCISE.wrong(stage=stage, says=says)(_named(kind.__name__, kind))


@_wrong("the launches", "and the launch says")
class LeavesTheMatricesAsTheyAre(WayBack):
    def turned(self, w):
        return w


@_wrong("the launches", "Row n of `rows` and row n of `dout` belong together")
class ForgetsTheGather(WayBack):
    def gathered(self, x):
        return x.contiguous()


@_wrong("the launches", "somebody else does their work")
class AsksTorchForTheMatrices(WayBack):
    def matrices(self, x, w, dout):
        owner = torch.searchsorted(self.ends, torch.arange(len(dout)), right=True)
        outer = dout[:, :, None] * x[self.token_idx][:, None, :]
        return torch.zeros_like(w).index_add(0, owner, outer)


@_wrong("the tokens", "only the last one counts")
class OverwritesWhatATokenHas(WayBack):
    def collect(self, x, drows):
        dx = torch.zeros_like(x)
        for n, token in enumerate(self.token_idx.tolist()):
            dx[token] = drows[n]
        return dx


@_wrong("the tokens", "divided by their number")
class AveragesTheRowsOfAToken(WayBack):
    def collect(self, x, drows):
        dx = torch.zeros_like(x)
        return dx.index_reduce(0, self.token_idx, drows, "mean", include_self=False)


@_wrong("the matrices", "in the order of the rows")
class SortsTheTokensOnceMore(WayBack):
    def gathered(self, x):
        return x[self.token_idx.sort().values]


@_wrong("a loss that is a sum", "was handed a view")
class TakesWhatAutogradGives(WayBack):
    def lay_out(self, dout):
        return dout


@_wrong("your kernels, watched", "With your own `gradient`, the answer to 10.4")
class BringsABrokenGradient(WayBack):
    def __call__(self, *given, **kernels):
        if "gradient" not in kernels:
            kernels["gradient"] = stand_ins(["gradient"])["gradient"]
            kernels["gradient"].work = lambda grid, rows, dout, ends, dw, *sizes: dw.zero_()
        return super().__call__(*given, **kernels)


@EXERCISE.right
def with_small_tiles(x, w, token_idx, expert_offsets, **kernels):
    class Small(WayBack):
        rows, wide = 2, 8

    return Small()(x, w, token_idx, expert_offsets, **kernels)


@EXERCISE.right
def collecting_with_a_matrix_of_ones(x, w, token_idx, expert_offsets, **kernels):
    class ByProduct(WayBack):
        def collect(self, x, drows):
            belongs = torch.arange(len(x))[:, None] == self.token_idx[None, :]
            return belongs.float() @ drows

    return ByProduct()(x, w, token_idx, expert_offsets, **kernels)
