"""Exercise 10.6: wrong answers with what they must be told, and other right ones."""

import torch
from torch.nn.functional import silu

from moe_teach.chapters.ch10_triton_experts.kernel_layer import EXERCISE
from moe_teach.chapters.ch10_triton_experts.stand_in_kernels import stand_ins


class Launches:
    """The five launches, each with a door for one slip."""

    block, rows, wide = 16, 16, 16

    def __call__(self, x, gates, expert_ids, w_gate, w_up, w_down, **kernels):
        kernels = {**stand_ins(), **kernels}
        self.top_k, self.n = expert_ids.shape[1], expert_ids.numel()
        self.n_experts, self.d_ff, self.d_model = w_up.shape
        self.width = 1 << (self.n_experts - 1).bit_length()
        ids = expert_ids.reshape(-1).to(torch.int32)
        n_blocks = self.cdiv(self.n, self.block)
        table = torch.empty(n_blocks, self.n_experts, dtype=torch.int32)
        kernels["count"][(self.programs(n_blocks),)](
            ids, table, self.n, self.n_experts, self.block, self.width
        )
        slot, token_idx = torch.empty(2, self.n, dtype=torch.int32)
        base = self.base(table).to(torch.int32)
        sizes = (self.n, self.n_experts, self.top_k, self.block, self.width)
        kernels["place"][(n_blocks,)](ids, base, slot, token_idx, *sizes)
        ends = table.sum(dim=0).cumsum(0).to(torch.int32)
        self.n_tiles = self.tile_count(self.n)
        self.table = torch.empty(3, self.n_tiles, dtype=torch.int32).unbind()
        kernels["tiles"][(self.n_tiles,)](ends, *self.table, self.n_experts, self.rows, self.width)
        h = self.inner(kernels["matmul"], self.lay_out(x), token_idx, w_gate, w_up)
        out = torch.full((self.n, self.d_model), float("nan"))
        kernels["down"][(self.n_tiles, self.cdiv(self.d_model, self.wide))](
            h, w_down.contiguous(), self.order(gates, slot), self.choice(slot), out, *self.table,
            self.d_model, self.d_ff, self.rows, self.wide, 1 << (self.d_ff - 1).bit_length(),
        )  # fmt: skip
        return self.bring(out)

    def cdiv(self, a, b):
        return -(-a // b)

    def programs(self, n_blocks):
        return n_blocks

    def base(self, table):
        totals = table.sum(dim=0)
        return totals.cumsum(0) - totals + table.cumsum(0) - table

    def tile_count(self, n):
        return self.cdiv(n, self.rows) + self.n_experts

    def lay_out(self, x):
        return x.contiguous()

    def product(self, matmul, x, token_idx, w):
        out = torch.full((self.n, self.d_ff), float("nan"))
        matmul[(self.n_tiles, self.cdiv(self.d_ff, self.wide))](
            x, token_idx, w, out, *self.table, self.d_model, self.d_ff, *w.stride(), self.rows,
            self.wide, self.wide,
        )  # fmt: skip
        return out

    def inner(self, matmul, x, token_idx, w_gate, w_up):
        gated, up = (self.product(matmul, x, token_idx, w) for w in (w_gate, w_up))
        return silu(gated) * up

    def order(self, gates, slot):
        return gates.contiguous()

    def choice(self, slot):
        return slot.argsort().to(torch.int32)

    def bring(self, out):
        return out.view(-1, self.top_k, self.d_model).sum(dim=1)


def _named(name, launches):
    """Make a function of an object, with the stub's parameters."""

    def answer(x, gates, expert_ids, w_gate, w_up, w_down, **kernels):
        return launches()(x, gates, expert_ids, w_gate, w_up, w_down, **kernels)

    answer.__name__ = name
    return answer


def _wrong(stage, says):
    return lambda kind: EXERCISE.wrong(stage=stage, says=says)(_named(kind.__name__, kind))


@_wrong("the launches", "one row for each token")
class ReturnsARowForEachChoice(Launches):
    def bring(self, out):
        return out


@_wrong("the launches", "programs, and the grid is")
class LaunchesOneProgramTooFew(Launches):
    def programs(self, n_blocks):
        return max(1, n_blocks - 1)


@_wrong("the launches", "where expert e begins, plus its choices in the blocks before b")
class ForgetsTheBlocksBefore(Launches):
    def base(self, table):
        return table.sum(dim=0).cumsum(0).expand_as(table).contiguous()


@_wrong("the launches", "programs look for them: rows are left out")
class CountsTilesAsIfNobodyShared(Launches):
    def tile_count(self, n):
        return self.cdiv(n, self.rows)


@_wrong("the launches", "whose numbers do not")
class HandsOverAView(Launches):
    def lay_out(self, x):
        return x


@_wrong("the launches", "`matmul` is never launched")
class MultipliesByItself(Launches):
    def product(self, matmul, x, token_idx, w):
        owner, begin, end = (part.tolist() for part in self.table)
        out = torch.empty(self.n, self.d_ff)
        for e, a, b in zip(owner, begin, end, strict=True):
            out[a:b] = x[token_idx[a:b].long()] @ w[e].T
        return out


@_wrong("the launches", "must name every choice once")
class ForgetsTheChoices(Launches):
    def choice(self, slot):
        return torch.zeros_like(slot)


@_wrong("the mixture", "changed places")
class SwapsTheMatrices(Launches):
    def inner(self, matmul, x, token_idx, w_gate, w_up):
        return super().inner(matmul, x, token_idx, w_up, w_gate)


@_wrong("the mixture", "lacks its silu")
class ForgetsTheSilu(Launches):
    def inner(self, matmul, x, token_idx, w_gate, w_up):
        return self.product(matmul, x, token_idx, w_gate) * self.product(matmul, x, token_idx, w_up)


@_wrong("the mixture", "without their gates")
class LeavesTheGatesAtHome(Launches):
    def order(self, gates, slot):
        return torch.ones_like(gates.contiguous())


@_wrong("the mixture", "in the order of the rows")
class SortsTheGates(Launches):
    def order(self, gates, slot):
        return gates.reshape(-1)[slot.long().argsort()]


@_wrong("the mixture", "It needs the inverse")
class HandsOverTheSlot(Launches):
    def choice(self, slot):
        return slot


@_wrong("the mixture", "were averaged")
class AveragesTheChoices(Launches):
    def bring(self, out):
        return out.view(-1, self.top_k, self.d_model).mean(dim=1)


@_wrong("your kernels, watched", "With your own `down`, the answer to 10.3")
class BringsABrokenKernel(Launches):
    def __call__(self, *given, **kernels):
        if "down" not in kernels:
            kernels["down"] = stand_ins()["count"]
            kernels["down"].work = lambda grid, *given: given[4].zero_()
        return super().__call__(*given, **kernels)


@EXERCISE.right
def with_small_blocks(x, gates, expert_ids, w_gate, w_up, w_down, **kernels):
    class Small(Launches):
        block, rows, wide = 4, 2, 8

    return Small()(x, gates, expert_ids, w_gate, w_up, w_down, **kernels)


@EXERCISE.right
def with_many_surplus_tiles(x, gates, expert_ids, w_gate, w_up, w_down, **kernels):
    class Many(Launches):
        def tile_count(self, n):
            return n + self.n_experts

        def choice(self, slot):
            back = torch.empty_like(slot)
            back[slot.long()] = torch.arange(len(slot), dtype=torch.int32)
            return back

    return Many()(x, gates, expert_ids, w_gate, w_up, w_down, **kernels)
