# %% [markdown]
# # 10 Triton experts: exercises
#
# Four kernels and a bill (10.1 to 10.5). Together with the lesson's SwiGLU kernel they are a layer
# of experts that copies no row and pads no row; the bill says how fast any machine can run it. 10.6
# launches your kernels of this chapter and of chapter 09 one after the other: a layer. 10.7 makes
# it learn. 10.8 asks how you would know that a kernel is wrong; 10.9 is an open task with a figure.
#
# Every kernel here is run by Triton's **interpreter** on the CPU, program by program, under a
# watch: what would write into somebody else's memory on a GPU is a sentence here. All blocks are
# tiny, and all sizes awkward; tiles of 4, which NVIDIA's compiler refuses (page 10b), are fine in
# the interpreter, and the addresses are the same. Matrices multiply with `tl.dot(a, b, acc,
# input_precision="ieee")`, which adds the product of two tiles to `acc`.

# %%
import os

# Judged on the CPU, on a machine with a GPU too: there a mistake is a message and not a crash.
os.environ["TRITON_INTERPRET"] = "1"

import torch
from torch import Tensor
from torch.nn import functional

from moe_teach.course import check, mine
from moe_teach.ops.triton_host import tl, triton

# %% [markdown]
# ## Exercise 10.1: The K loop, with the gather inside
#
# Row n of the result belongs to token `token_idx[n]` and to the expert e that owns the tile:
#
# $$\text{out}[n, f] = \sum_d x[\text{token\_idx}[n], d] \cdot w[e, f, d]$$
#
# Nobody copies the tokens into sorted rows first: the kernel picks them up where they lie. Which
# rows and columns this program owns is written already. Write the loop over `d`, in steps of
# `BLOCK_D`, and the store.
#
# `x` (T, D) and `out` (N, F) are contiguous. `w` need not be: `w[e, f, d]` lies at
# `w_ptr + e * stride_e + f * stride_f + d * stride_d`. N, D and F need not be multiples of the
# blocks. Sum in float32, whatever the inputs are.
#
# The tensors can be **large**: more than $2^{31}$ numbers in `x`, in `out` and in all of `w`, while
# tokens, rows and experts are int32. Widen them before you multiply. One expert's own matrix is
# small: within it 32 bits are enough.


# %%
@triton.jit
def gathered_matmul_kernel(
    x_ptr, token_idx_ptr, w_ptr, out_ptr, tile_expert_ptr, tile_begin_ptr, tile_end_ptr,
    D, F, stride_e, stride_f, stride_d,
    BLOCK_ROWS: tl.constexpr, BLOCK_F: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Multiply the tokens of one tile by their expert's matrix, one block of columns.

    x (T, D); token_idx (N,) int32; w (E, F, D) by its strides; out (N, F).
    Tile t: rows tile_begin[t] to tile_end[t] - 1, at most BLOCK_ROWS of them, of expert
    tile_expert[t]; -1 marks a surplus tile without rows.
    """
    e = tl.load(tile_expert_ptr + tl.program_id(0))
    if e < 0:
        return
    n = tl.load(tile_begin_ptr + tl.program_id(0)) + tl.arange(0, BLOCK_ROWS)  # my rows ...
    end = tl.load(tile_end_ptr + tl.program_id(0))  # ... as far as they are below this
    f = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)  # my columns
    ### BEGIN SOLUTION
    token = tl.load(token_idx_ptr + n, mask=n < end, other=0).to(tl.int64)
    at_expert = w_ptr + e.to(tl.int64) * stride_e
    acc = tl.zeros((BLOCK_ROWS, BLOCK_F), tl.float32)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        at_x = x_ptr + token[:, None] * D + d[None, :]
        a = tl.load(at_x, mask=(n[:, None] < end) & (d[None, :] < D), other=0.0)
        at_w = at_expert + f[None, :] * stride_f + d[:, None] * stride_d
        b = tl.load(at_w, mask=(f[None, :] < F) & (d[:, None] < D), other=0.0)
        acc = tl.dot(a, b, acc, input_precision="ieee")
    is_mine = (n[:, None] < end) & (f[None, :] < F)
    tl.store(out_ptr + n.to(tl.int64)[:, None] * F + f[None, :], acc, mask=is_mine)
    ### END SOLUTION


# %%
check("10.1", gathered_matmul_kernel)

# %% [markdown]
# ## Exercise 10.2: Whose tile is this?
#
# Expert e owns the rows from `expert_offsets[e - 1]` (0 for the first expert) up to
# `expert_offsets[e]`. Cut every expert's rows into tiles of `BLOCK_ROWS`; the last tile of an
# expert may be shorter, and an expert without rows has no tile. Number the tiles through all
# experts. Program t finds tile t **by itself**, from the offsets alone, and stores three integers:
#
# - `tile_expert[t]`: the expert,
# - `tile_begin[t]`: its first row,
# - `tile_end[t]`: the row after its last one.
#
# More programs are launched than there are tiles, because nobody counted them. A surplus program
# stores -1, 0, 0. `BLOCK_E` is a power of two and at least E. Useful: `tl.cumsum(a, axis=0)`,
# `tl.sum(a, axis=0)`, `tl.where`, `tl.minimum`.


# %%
@triton.jit
def find_tile_kernel(
    expert_offsets_ptr, tile_expert_ptr, tile_begin_ptr, tile_end_ptr, E,
    BLOCK_ROWS: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """Find the expert and the rows of this program's tile.

    expert_offsets (E,) int32, never falling; the three outputs are int32, one entry per program.
    """
    t = tl.program_id(0)
    ### BEGIN SOLUTION
    e = tl.arange(0, BLOCK_E)
    ends = tl.load(expert_offsets_ptr + e, mask=e < E, other=0)
    begins = tl.load(expert_offsets_ptr + e - 1, mask=(e > 0) & (e < E), other=0)
    n_tiles = (ends - begins + BLOCK_ROWS - 1) // BLOCK_ROWS
    done = tl.cumsum(n_tiles, axis=0)  # tiles up to and with expert e
    owner = tl.sum((done <= t).to(tl.int32), axis=0)  # so many experts are done before tile t

    is_owner = e == owner
    begin = tl.sum(tl.where(is_owner, begins + (t - done + n_tiles) * BLOCK_ROWS, 0), axis=0)
    end = tl.minimum(begin + BLOCK_ROWS, tl.sum(tl.where(is_owner, ends, 0), axis=0))
    tl.store(tile_expert_ptr + t, tl.where(owner < E, owner, -1))
    tl.store(tile_begin_ptr + t, tl.where(owner < E, begin, 0))
    tl.store(tile_end_ptr + t, tl.where(owner < E, end, 0))
    ### END SOLUTION


# %%
check("10.2", find_tile_kernel)

# %% [markdown]
# ## Exercise 10.3: The way out, in the epilogue
#
# The second product, `h @ w_down[e].T`, is the last stop before a token collects its answers. Its
# tile is still in registers. Finish it there: multiply each row by its **gate**, and store it in
# the place of its **choice**, so that all K answers of a token lie side by side:
#
# $$\text{out}[c, d] = \text{gates}[c] \cdot \sum_f h[n, f] \cdot w[e, d, f]
# \qquad c = \text{choice}[n]$$
#
# `choice[n]` numbers the choices of the flattened batch: choice k of token t is t · K + k, and
# every choice occurs once. The product is written, with its masks (here F fits into one block, so
# there is no loop). Write what comes after it.
#
# `h`, `out` and all of `w` can be **large**, as in 10.1: more than $2^{31}$ numbers, while rows and
# choices are int32. Widen `choice[n]` before you multiply, as the given lines do with `n` and `e`.


# %%
@triton.jit
def down_kernel(
    h_ptr, w_ptr, gates_ptr, choice_ptr, out_ptr, tile_expert_ptr, tile_begin_ptr, tile_end_ptr,
    D, F,
    BLOCK_ROWS: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_F: tl.constexpr,
):  # fmt: skip
    """Multiply a tile by w_down, weigh its rows with their gates, and put them in their places.

    h (N, F), sorted by expert; w (E, D, F); gates (N,) and out (N, D) by choice; choice (N,) int32
    leads from rows to choices. All contiguous; tiles as in 10.1.
    """
    e = tl.load(tile_expert_ptr + tl.program_id(0)).to(tl.int64)  # wide before it is multiplied
    if e < 0:
        return
    n = tl.load(tile_begin_ptr + tl.program_id(0)) + tl.arange(0, BLOCK_ROWS)
    end = tl.load(tile_end_ptr + tl.program_id(0))
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    f = tl.arange(0, BLOCK_F)  # all of F
    at_h = h_ptr + n.to(tl.int64)[:, None] * F + f[None, :]
    inner = tl.load(at_h, mask=(n[:, None] < end) & (f[None, :] < F), other=0.0)
    at_w = w_ptr + e * D * F + d[None, :] * F + f[:, None]
    matrix = tl.load(at_w, mask=(d[None, :] < D) & (f[:, None] < F), other=0.0)
    acc = tl.dot(inner, matrix, input_precision="ieee")  # (BLOCK_ROWS, BLOCK_D), float32
    ### BEGIN SOLUTION
    place = tl.load(choice_ptr + n, mask=n < end, other=0).to(tl.int64)
    gate = tl.load(gates_ptr + place, mask=n < end, other=0.0).to(tl.float32)
    is_mine = (n[:, None] < end) & (d[None, :] < D)
    tl.store(out_ptr + place[:, None] * D + d[None, :], gate[:, None] * acc, mask=is_mine)
    ### END SOLUTION


# %%
check("10.3", down_kernel)

# %% [markdown]
# ## Exercise 10.4: The gradient of the matrices
#
# Backward, `dout` (N, F) arrives: how the loss changes with each output of
# `out[n] = w[e] @ rows[n]`. The gradient of every matrix is a sum over **its own rows**:
#
# $$dw[e, f, d] = \sum_{n \text{ of } e} \text{dout}[n, f] \cdot \text{rows}[n, d]$$
#
# Now the ragged side is the one you sum over. A program owns a block of one matrix, so `dw` needs
# no atomics; write its loop over the rows of its expert, in steps of `BLOCK_ROWS`, and the store.
# An expert without rows has a gradient too. `tl.trans(a)` turns a tile round. Sum in float32,
# whatever the inputs are.
#
# `rows`, `dout` and all of `dw` can be **large**: more than $2^{31}$ numbers, while row numbers are
# int32. Widen them before you multiply, *inside* the loop: the interpreter's loop counter is a
# plain Python number, which becomes an int32 beside `tl.arange`, whatever `begin` was.


# %%
@triton.jit
def weight_gradient_kernel(
    rows_ptr, dout_ptr, expert_offsets_ptr, dw_ptr, D, F,
    BLOCK_ROWS: tl.constexpr, BLOCK_F: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Sum the outer products of one expert's rows into one block of its gradient.

    rows (N, D) and dout (N, F), sorted by expert; expert_offsets (E,) int32 as in 10.2;
    dw (E, F, D), which holds anything at all before the launch. All contiguous.
    """
    e = tl.program_id(0).to(tl.int64)
    f = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    d = tl.program_id(2) * BLOCK_D + tl.arange(0, BLOCK_D)
    ### BEGIN SOLUTION
    begin = tl.load(expert_offsets_ptr + e - 1, mask=e > 0, other=0)
    end = tl.load(expert_offsets_ptr + e)
    acc = tl.zeros((BLOCK_F, BLOCK_D), tl.float32)
    for start in range(begin, end, BLOCK_ROWS):
        n = (start + tl.arange(0, BLOCK_ROWS)).to(tl.int64)
        at_dout = dout_ptr + n[:, None] * F + f[None, :]
        a = tl.load(at_dout, mask=(n[:, None] < end) & (f[None, :] < F), other=0.0)
        at_rows = rows_ptr + n[:, None] * D + d[None, :]
        b = tl.load(at_rows, mask=(n[:, None] < end) & (d[None, :] < D), other=0.0)
        acc = tl.dot(tl.trans(a), b, acc, input_precision="ieee")
    is_mine = (f[:, None] < F) & (d[None, :] < D)
    tl.store(dw_ptr + (e * F + f[:, None]) * D + d[None, :], acc, mask=is_mine)
    ### END SOLUTION


# %%
check("10.4", weight_gradient_kernel)

# %% [markdown]
# ## Exercise 10.5: The bill, before anything runs
#
# The experts of one layer, SwiGLU, as two kernels. The first reads the rows (N, D), `w_gate` and
# `w_up`, and writes the inner rows (N, F). The second reads the inner rows and `w_down`, and writes
# the answers (N, D). Suppose that every number which is needed is moved **once** per kernel, and
# that a matrix which nobody needs stays where it is. Indices and gates are left out.
#
# Return what the machine must do and how long it takes at least. Of the FLOPs and the bytes of
# **both kernels together** the slower limit decides. Each matrix is D · F numbers, and each costs a
# row 2 FLOPs.


# %%
def ffn_roofline(
    tokens_per_expert: torch.Tensor,
    d_model: int,
    d_ff: int,
    bytes_per_number: int,
    peak_flops: float,
    bandwidth: float,
) -> tuple[int, int, float, str]:
    """Count FLOPs and bytes of the experts of one layer, and say which limit holds.

    tokens_per_expert (E,) integers, not all 0; peak_flops in FLOPs and bandwidth in bytes a second.
    Returns (flops, n_bytes, seconds, limit): two plain integers, a float, and "compute" or
    "memory".
    """
    ### BEGIN SOLUTION
    n_rows = int(tokens_per_expert.sum())
    n_awake = int((tokens_per_expert > 0).sum())
    flops = 6 * n_rows * d_model * d_ff
    moved = 3 * n_awake * d_model * d_ff + 2 * n_rows * d_model + 2 * n_rows * d_ff
    n_bytes = moved * bytes_per_number
    computing, moving = flops / peak_flops, n_bytes / bandwidth
    limit = "compute" if computing > moving else "memory"
    return flops, n_bytes, max(computing, moving), limit
    ### END SOLUTION


# %%
check("10.5", ffn_roofline)

# %% [markdown]
# ## Exercise 10.6: Your kernels are a layer
#
# Launch your kernels so that together they are the experts of an MoE layer, from the choices to the
# mixture:
#
# ```text
#   count (9.2) -> base -> place (9.3) -> tiles (10.2)
#         -> matmul (10.1), twice -> silu -> down (10.3) -> sum
# ```
#
# Between the launches are small tables of integers, which torch makes: `base`, the ends of the
# experts, and `choice`, which leads from rows to choices (`slot` leads from choices to rows). A
# kernel is launched as `kernel[grid](arguments in the order of its stub)`. Nobody may ask how many
# tiles there are: there are never more than `triton.cdiv(n_rows, ROWS) + n_experts`, and a surplus
# program knows what to do.
#
# This is the way forward only: it answers and cannot be trained. The way back is exercise 10.7.
# `x`, `gates` and the matrices may be views; a kernel that takes no strides wants them contiguous.

# %%
KERNELS = {"count": "9.2", "place": "9.3", "tiles": "10.2", "matmul": "10.1", "down": "10.3"}
BLOCK, ROWS, WIDE = 16, 16, 16  # choices of a block, rows of a tile, columns of a tile


def experts_by_kernels(
    x: Tensor,
    gates: Tensor,
    expert_ids: Tensor,
    w_gate: Tensor,
    w_up: Tensor,
    w_down: Tensor,
    **kernels,
) -> Tensor:
    """Send tokens to their SwiGLU experts, and mix the answers with the gates.

    x: (T, D); gates: (T, K); expert_ids: (T, K) integers, different within a row; w_gate, w_up:
    (E, F, D); w_down: (E, D, F). All float32 but the ids; T is at least 1.
    Returns (T, D).
    """
    parts = (kernels.get(name) or mine(item) for name, item in KERNELS.items())
    count, place, tiles, matmul, down = parts
    n_tokens, top_k = expert_ids.shape
    n_experts, d_ff, d_model = w_up.shape
    n_rows = expert_ids.numel()
    ### BEGIN SOLUTION
    n_blocks, width = triton.cdiv(n_rows, BLOCK), triton.next_power_of_2(n_experts)
    ids = expert_ids.reshape(-1).to(torch.int32)
    counts = torch.empty(n_blocks, n_experts, dtype=torch.int32)
    count[(n_blocks,)](ids, counts, n_rows, n_experts, BLOCK, width)

    totals = counts.sum(dim=0)
    ends = totals.cumsum(0)
    base = (ends - totals + counts.cumsum(0) - counts).to(torch.int32)
    slot, token_idx = torch.empty(2, n_rows, dtype=torch.int32)
    place[(n_blocks,)](ids, base, slot, token_idx, n_rows, n_experts, top_k, BLOCK, width)

    n_tiles = triton.cdiv(n_rows, ROWS) + n_experts
    table = torch.empty(3, n_tiles, dtype=torch.int32).unbind()
    tiles[(n_tiles,)](ends.to(torch.int32), *table, n_experts, ROWS, width)

    inner = []
    for w in (w_gate, w_up):
        out = torch.empty(n_rows, d_ff)
        grid = (n_tiles, triton.cdiv(d_ff, WIDE))
        sizes = (d_model, d_ff, *w.stride(), ROWS, WIDE, WIDE)
        matmul[grid](x.contiguous(), token_idx, w, out, *table, *sizes)
        inner.append(out)
    h = functional.silu(inner[0]) * inner[1]

    choice = torch.empty_like(slot)
    choice[slot.long()] = torch.arange(n_rows, dtype=torch.int32)  # the inverse of slot
    out = torch.empty(n_rows, d_model)
    grid = (n_tiles, triton.cdiv(d_model, WIDE))
    sizes = (d_model, d_ff, ROWS, WIDE, triton.next_power_of_2(d_ff))
    down[grid](h, w_down.contiguous(), gates.contiguous(), choice, out, *table, *sizes)
    return out.view(n_tokens, top_k, d_model).sum(dim=1)
    ### END SOLUTION


# %%
check("10.6", experts_by_kernels)

# %% [markdown]
# ### Your layer on your kernels
#
# Your layer of chapter 04 brings its weights and its router's rule; your kernels do the rest. The
# watcher looks at every address of all six launches.

# %% tags=["play"]
from torch import nn

from moe_teach.analysis.kernel_watch import watch
from moe_teach.types import Routing


class MyFusedMoE(nn.Module):
    """The layer of 4.7, with its way through the experts in kernels; forward only."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.experts = layer, mine("10.6")

    @torch.no_grad()
    def forward(self, x: Tensor, token_ids: Tensor | None = None) -> tuple[Tensor, Routing]:
        layer, tokens = self.layer, x.reshape(-1, x.shape[-1])
        logits = layer.router(tokens)
        gates, ids = layer.route(logits, layer.top_k, layer.normalize_gates)
        y = self.experts(tokens, gates, ids, layer.w_gate, layer.w_up, layer.w_down)
        return y.view_as(x), Routing(logits, logits.softmax(dim=-1), gates, ids)


torch.manual_seed(0)
layer = mine("4.7")(8, 4, 2, 6)
fused = MyFusedMoE(layer)
x = torch.randn(7, 8)
with watch(adopt=True) as seen:
    y, routing = fused(x)
torch.testing.assert_close(y, layer(x)[0].detach())
assert not seen.races()
kinds = [access.kind for access in seen.accesses]
print(f"{kinds.count('load')} loads and {kinds.count('store')} stores, all of them inside")
print("PASS: no race, and the layer says what it said before")

# %% [markdown]
# And the laws, but for three: one needs a gradient, one asks for no tokens at all, and one would
# call the interpreted layer once for every token.

# %% tags=["play"]
from moe_teach.analysis.laws import LAWS, obeys
from moe_teach.analysis.own_layer import told_about

told = told_about(layer) | {"with_top_k": None}
laws = [law for law in LAWS if law.name not in ("shapes", "router learns", "batch invariance")]
report = obeys(fused, d_model=8, laws=laws, **told)
assert report and report["kept once"].outcome == "holds"
report

# %% [markdown]
# ## Exercise 10.7: The way back
#
# So far your layer answers and does not learn. Autograd can differentiate torch's operations, but
# it does not see into a kernel: somebody has to tell it the gradients. `torch.autograd.Function` is
# the place for that. `forward` computes and keeps what the way back will need; `backward` gets
# `dout`, how the loss changes with each number of the result, and returns the same for each input
# of `forward`, in their order.
#
# The way forward is written: `product(rows, matrices, row_idx)` finds the tiles (10.2) and
# multiplies (10.1), `out[n] = matrices[e] @ rows[row_idx[n]]`, with e the owner of row n. It takes
# matrices of any strides, and `rows` that lie in one piece.
#
# Write the way back with your kernels. `gradient` is that of 10.4. Mind three things: a token may
# have several rows, one, or none; row n of `dout` stands at place n; and autograd promises nothing
# about the strides of `dout`.

# %%
BACK = {"tiles": "10.2", "matmul": "10.1", "gradient": "10.4"}


def grouped_product(
    x: Tensor, w: Tensor, token_idx: Tensor, expert_offsets: Tensor, **kernels
) -> Tensor:
    """Multiply tokens by the matrices of their experts, with gradients for both.

    x: (T, D); w: (E, F, D); token_idx: (N,) int32, the token of each row; expert_offsets: (E,)
    int32, where each expert's rows end, N at last. N is at least 1.
    Returns out (N, F) with out[n] = w[e] @ x[token_idx[n]].
    """
    tiles, matmul, gradient = (kernels.get(name) or mine(item) for name, item in BACK.items())

    def product(rows: Tensor, matrices: Tensor, row_idx: Tensor) -> Tensor:
        n_experts, width, depth = matrices.shape
        n_tiles = triton.cdiv(len(row_idx), ROWS) + n_experts
        table = tuple(torch.empty(3, n_tiles, dtype=torch.int32))
        lanes = triton.next_power_of_2(n_experts)
        tiles[(n_tiles,)](expert_offsets, *table, n_experts, ROWS, lanes)
        out = torch.empty(len(row_idx), width)
        sizes = (depth, width, *matrices.stride(), ROWS, WIDE, WIDE)
        matmul[n_tiles, triton.cdiv(width, WIDE)](rows, row_idx, matrices, out, *table, *sizes)
        return out

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return product(x.contiguous(), w, token_idx)

        @staticmethod
        def backward(ctx, dout):
            x, w = ctx.saved_tensors
            ### BEGIN SOLUTION
            n_experts, d_ff, d_model = w.shape
            dout = dout.contiguous()  # a kernel that takes no strides walks on regardless
            in_place = torch.arange(len(dout), dtype=torch.int32)
            drows = product(dout, w.mT, in_place)
            dx = torch.zeros_like(x).index_add(0, token_idx, drows)

            dw = torch.empty(n_experts, d_ff, d_model)
            grid = (n_experts, triton.cdiv(d_ff, WIDE), triton.cdiv(d_model, WIDE))
            sorted_x = x[token_idx]
            gradient[grid](sorted_x, dout, expert_offsets, dw, d_model, d_ff, ROWS, WIDE, WIDE)
            return dx, dw
            ### END SOLUTION

    return Product.apply(x, w)


# %%
check("10.7", grouped_product)

# %% [markdown]
# ### Your layer learns
#
# Three products on your kernels, forwards and backwards. Everything in between, the sort, the silu,
# the gates and the sum over a token's experts, is torch's, and autograd finds its gradients.


# %% tags=["play"]
class MyLearningMoE(MyFusedMoE):
    """The layer of 4.7, with its three products by 10.7: forwards and backwards in kernels."""

    def forward(self, x: Tensor, token_ids: Tensor | None = None) -> tuple[Tensor, Routing]:
        layer, tokens = self.layer, x.reshape(-1, x.shape[-1])
        product = mine("10.7")
        logits = layer.router(tokens)
        gates, ids = layer.route(logits, layer.top_k, layer.normalize_gates)
        order = ids.reshape(-1).argsort(stable=True)
        token_idx, n_experts = (order // layer.top_k).int(), len(layer.w_up)
        ends = ids.reshape(-1).bincount(minlength=n_experts).cumsum(0).int()
        gated = product(tokens, layer.w_gate, token_idx, ends)
        h = functional.silu(gated) * product(tokens, layer.w_up, token_idx, ends)
        answers = product(h, layer.w_down, torch.arange(len(h), dtype=torch.int32), ends)
        weighed = gates.reshape(-1)[order, None] * answers
        y = torch.zeros_like(tokens).index_add(0, token_idx, weighed)
        return y.view_as(x), Routing(logits, logits.softmax(dim=-1), gates, ids)


# %% [markdown]
# Two copies of one layer learn the same task: to give back 12 tokens in reverse. One is your layer
# of chapter 04 as it was, with torch's own gradients; the other runs on your kernels.

# %% tags=["play"]
from copy import deepcopy

torch.manual_seed(1)
by_torch = mine("4.7")(6, 3, 2, 5)
by_kernels = MyLearningMoE(deepcopy(by_torch))
x = torch.randn(12, 6)
for step in range(6):
    losses = []
    for model in (by_torch, by_kernels):
        model.zero_grad()
        loss = functional.mse_loss(model(x)[0], x.flip(1))
        loss.backward()
        with torch.no_grad():
            for weights in model.parameters():
                weights -= 0.2 * weights.grad
        losses.append(loss.item())
    print(f"step {step}: loss {losses[0]:.6f} by torch, {losses[1]:.6f} by your kernels")
    torch.testing.assert_close(losses[0], losses[1], atol=1e-5, rtol=1e-4)
print("PASS: your kernels learn what torch learns")

# %% [markdown]
# ## Exercise 10.8: Find what is wrong: A test that everything passes
#
# Somebody wants programs that follow one another to share a block of columns, so they number all
# programs in one row. The kernel comes with its launch and its test, and the test passes.

# %%
from moe_teach.analysis.kernel_watch import watch
from moe_teach.ops.grouped_mm import grouped_mm


# %% tags=["play"]
@triton.jit
def their_kernel(
    rows_ptr, w_ptr, out_ptr, expert_ptr, begin_ptr, end_ptr, n_tiles, n_columns, D, F,
    stride_e, stride_f, stride_d,
    BLOCK_N: tl.constexpr, BLOCK_F: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """out[n] = w[e] @ rows[n]; program p owns one tile of rows and one block of columns."""
    p = tl.program_id(0)
    t, j = p % n_columns, p // n_tiles
    e = tl.load(expert_ptr + t).to(tl.int64)
    n = tl.load(begin_ptr + t).to(tl.int64) + tl.arange(0, BLOCK_N)
    f = j * BLOCK_F + tl.arange(0, BLOCK_F)
    is_row, is_f = n[:, None] < tl.load(end_ptr + t), f[None, :] < F
    acc = tl.zeros((BLOCK_N, BLOCK_F), tl.float32)
    for at in range(0, D, BLOCK_D):
        d = at + tl.arange(0, BLOCK_D)
        rows_at = rows_ptr + n[:, None] * D + d[None, :]
        w_at = w_ptr + e * stride_e + f[None, :] * stride_f + d[:, None] * stride_d
        rows = tl.load(rows_at, mask=is_row & (d[None, :] < D), other=0.0)
        w = tl.load(w_at, mask=is_f & (d[:, None] < D), other=0.0)
        acc = tl.dot(rows, w, acc, input_precision="ieee")
    tl.store(out_ptr + n[:, None] * F + f[None, :], acc, mask=is_row & is_f)


# %% tags=["play"]
def their_multiply(rows: Tensor, w: Tensor, expert_offsets: Tensor) -> Tensor:
    """Launch their kernel; the table has room for 64 tiles, and those left over have no rows."""
    table, t, begin = torch.zeros(3, 64, dtype=torch.int32), 0, 0
    for e, end in enumerate(expert_offsets.tolist()):
        for first in range(begin, end, 16):
            table[:, t] = torch.tensor([e, first, min(first + 16, end)])
            t += 1
        begin = end
    (n_rows, d_model), d_ff = rows.shape, w.shape[1]
    n_columns, out = triton.cdiv(d_ff, 16), torch.full((n_rows, d_ff), torch.nan, dtype=rows.dtype)
    sizes = (t, n_columns, d_model, d_ff, *w.stride(), 16, 16, 16)
    their_kernel[(t * n_columns,)](rows.contiguous(), w, out, *table.unbind(), *sizes)
    return out


# %% tags=["play"]
def their_test(multiply) -> bool:
    """Say whether a way of multiplying is right."""
    for seed in range(3):
        random = torch.Generator().manual_seed(seed)
        rows, w = torch.randn(32, 32, generator=random), torch.randn(2, 32, 32, generator=random)
        ends = torch.tensor([16, 32], dtype=torch.int32)
        expected = grouped_mm(rows, w, ends, backend="reference")
        if not torch.allclose(multiply(rows, w, ends), expected, atol=1e-4):
            return False
    return True


print("their test says:", their_test(their_multiply))

# %% [markdown]
# It is wrong all the same. **Write a better test.** Yours gets any `multiply(rows, w,
# expert_offsets)` of this kind, launches it on cases of your choice, and says True or False. A
# right one multiplies
#
# - for any rows of each expert, any D and F, and any strides of w;
# - for float32 and float16, with sums in float32, and float32 with full precision (bfloat16 is left
#   out: the interpreter cannot multiply it);
# - with every element of the result written by one program.
#
# The check hands your test four right kernels, which differ in their tiles and in the order of
# their sums, and nine wrong ones: this one, and eight that somebody else might have written. They
# are yours to imagine. At most 64 tiles and 64 blocks of columns, please, and small cases: each
# program takes the interpreter some 10 ms.
#
# `with watch(adopt=True) as seen:` watches all tensors that kernels meet inside it, and `seen`
# tells afterwards what it saw (`help(type(seen))` lists everything). What a kernel raises under the
# watch may pass through your test: it counts as False.


# %%
def is_right(multiply) -> bool:
    """Say whether a way of multiplying ragged rows by their experts' matrices is right.

    multiply: takes rows (N, D), w (E, F, D) and expert_offsets (E,) int32, and returns out (N, F)
    in the dtype of rows, with out[n] = w[e] @ rows[n]; it launches a Triton kernel.
    """
    ### BEGIN SOLUTION
    random = torch.Generator().manual_seed(0)
    signs = torch.tensor([1.0] * 16 + [-1.0] * 16)  # up past the largest float16, and back
    cases = (([20, 0, 3], 20, torch.float32, 1e-4), ([2], 32, torch.float16, 1e-2))
    for counts, d_model, dtype, tolerance in cases:
        rows = torch.randn(sum(counts), d_model, generator=random)
        w = torch.randn(len(counts), d_model, 24, generator=random).mT  # stored turned round
        if dtype == torch.float16:
            rows, w = 300 + rows, 300 * signs.expand(len(counts), 24, 32)
        rows, w, ends = rows.to(dtype), w.to(dtype), torch.tensor(counts).cumsum(0).int()
        with watch(adopt=True) as record:
            got = multiply(rows, w, ends)
        if record.races() or record.narrow_dots:
            return False
        truth = grouped_mm(rows.double(), w.double(), ends, backend="reference")
        if not torch.allclose(got.double(), truth, atol=tolerance, rtol=tolerance):
            return False
    return True
    ### END SOLUTION


# %%
check("10.8", is_right)

# %% [markdown]
# ## Exercise 10.9: Open task: Who goes next to whom
#
# Programs that run one after another should share what they fetch; the lesson left it at that. Here
# it is a task with a figure.
#
# Program (t, j) needs two **blocks**: the rows of tile t, and block j of the columns of its
# expert's matrix. Both are equally large. A small cache holds `cache_blocks` of them; whatever is
# not in it has to come from memory, and then the block that nobody has used for the longest time
# makes room. Put the programs of a whole layer in an order. `tile_expert[t]` is the expert of tile
# t; tiles are numbered through all experts, as the lesson does it.
#
# Measured is how many blocks are fetched, divided by how many there are: 1 would mean each of them
# once, and nobody gets below that. Launched as in the lesson, the first number of a program runs
# fastest on a GPU: all tiles for column 0, then all tiles for column 1. That fetches 4.59 times
# what there is. **The goal is 1.6.** The course's own answer fetches 1.39 times. It can be beaten:
# for one expert with 3 tiles, 3 columns and a cache of 4 it fetches 8 blocks, and a search through
# all orders finds one that fetches 7. Your best figure is kept.
#
# The caches have 5 to 14 blocks, the experts from none to some twenty tiles. `blocks_fetched` is
# the measure itself.

# %% tags=["play"]
from moe_teach.chapters.ch10_triton_experts.cache import blocks_fetched


def plain_order(tile_expert: list[int], n_columns: int) -> list[tuple[int, int]]:
    """Order the programs as the lesson's launch does."""
    return [(t, j) for j in range(n_columns) for t in range(len(tile_expert))]


some = [0, 0, 0, 1, 3, 3, 3, 3, 3, 3, 3, 3]
there = len(some) + 6 * 3  # 12 tiles, and 6 blocks of columns for each of three experts
print(f"{blocks_fetched(plain_order(some, 6), some, 5)} blocks fetched, {there} blocks there")


# %%
def tile_order(tile_expert: list[int], n_columns: int, cache_blocks: int) -> list[tuple[int, int]]:
    """Order the products of all tiles and all blocks of columns for a small cache.

    tile_expert: the expert of each tile, never falling; n_columns: the blocks of columns of every
    matrix; cache_blocks: what the cache holds, at least 3.
    Returns the pairs (t, j), each once.
    """
    ### BEGIN SOLUTION
    size = cache_blocks - 2  # beside the old column's block and the new one's
    order = []
    for e in sorted(set(tile_expert)):
        tiles = [t for t, owner in enumerate(tile_expert) if owner == e]
        for first in range(0, len(tiles), size):
            group = tiles[first : first + size]
            order += [(t, j) for j in range(n_columns) for t in group]
    return order
    ### END SOLUTION


# %%
check("10.9", tile_order)
