# %% [markdown]
# # 10 Triton experts
#
# **Claim: one kernel of twenty lines multiplies ragged groups of rows by their own experts'
# matrices, and no row is copied or padded in memory. What it still wastes, what fusing saves, and
# what limits it can be counted on a laptop, before any GPU is bought.**
#
# Chapter 09 brought the rows together. Here the experts compute. You will take a matrix product
# apart into tiles, give every tile to the right expert, fuse the activation into it, turn it round
# for the backward pass, and then draw the line that no kernel can cross.

# %%
from itertools import pairwise

import torch
from torch import Tensor

from moe_teach.analysis.kernel_watch import Seen, watch
from moe_teach.catalog import CATALOG
from moe_teach.chapters.ch10_triton_experts import figures as plots
from moe_teach.course import by_mode, check, mine, show
from moe_teach.ops.triton_host import INTERPRETED, tl, triton
from moe_teach.plots.style import show_figure

DEVICE = "cpu" if INTERPRETED.value else "cuda"
print("Kernels are", "interpreted on the CPU" if INTERPRETED.value else "compiled for the GPU")

# %% [markdown]
# ## Work for a byte
#
# NVIDIA's data sheet for the H200 promises 989 TFLOPs a second in bfloat16 (dense) and 4.8 TB a
# second from memory. So in the time it takes to fetch one byte, it can do 206 operations. Does a
# layer of experts have that much to do for a byte? Take one of Qwen3-30B-A3B, with all its experts
# equally liked, and count only the experts' matrices.

# %% tags=["nbval-check-output"]
PEAK, BANDWIDTH = 989e12, 4.8e12  # FLOPs and bytes a second
layer = CATALOG["Qwen3-30B-A3B"].config
E, K = layer.moe.router.n_experts, layer.moe.router.top_k
D, F = layer.d_model, layer.moe.d_ff
print(f"{E} experts, {K} for each token, three matrices of {D} x {F}")
print(f"FLOPs of the machine while it fetches one byte: {PEAK / BANDWIDTH:.0f}")

# %% tags=["nbval-check-output"]
for n_tokens in (1, 16, 64, 1024):
    wishes = torch.rand(n_tokens, E, generator=torch.Generator().manual_seed(0))
    n_awake = wishes.topk(K).indices.unique().numel()
    flops, n_bytes = n_tokens * K * 6 * D * F, n_awake * 3 * D * F * 2
    print(f"{n_tokens:5} tokens wake {n_awake:3} experts: {flops / n_bytes:5.1f} FLOPs per byte")

# %% [markdown]
# One token gives every number it fetches one multiplication and one addition; the machine could do
# 206 operations in that time. Sixty-four users at once hardly help: they wake nearly everybody, and
# each expert is fetched for four rows. A **dense** layer would have reused its matrices 64 times.
#
# Keep two things apart for the rest of the chapter: *how much there is to compute*, and *how much
# has to be moved*. A kernel can waste either.
#
# ## Predict
#
# First the computing. In chapter 04 the grouped matmul wasted nothing, by count. A GPU multiplies
# in tiles. Guess before you go on; you may answer again later.

# %%
check("10.q1", ...)

# %% [markdown]
# ## One product, in tiles
#
# *Sentence.* Every program owns one rectangle of the result, walks along the inner dimension in
# steps, and writes once. *Formula.* With blocks $I$ of rows and $J$ of columns,
#
# $$\text{out}[I, J] = \sum_{\text{steps } S} x[I, S] \; w[J, S]^{\mathsf T}$$
#
# Three words about the machine; chapter 09 has a picture of it. What a program works with lies in
# **registers**: the fastest memory, and nobody else's. Tiles that are about to be multiplied wait
# in **shared memory**, some hundred kilobytes in each of the GPU's processors (SMs). The **tensor
# cores** are circuits there that multiply two small tiles at once.
#
# `tl.dot(x, w, acc)` multiplies a tile of x by a tile of w and adds the product to acc; on a GPU
# that is a matter for the tensor cores. All sides are powers of two. The interpreter takes any; on
# NVIDIA's GPUs the side that is summed over must be at least 16 long, and a tile of fewer than 16
# rows is filled up to 16 inside. The sum `acc` stays in registers, in float32, however the inputs
# are stored. What sticks out over an edge is masked and counts as zero.


# %%
@triton.jit
def dense_kernel(x_ptr, w_ptr, out_ptr, N, D, F, BLOCK: tl.constexpr):
    """out = x @ w.T for x (N, D) and w (F, D); program (i, j) owns one square of out."""
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)  # wide, as in chapter 09
    f = tl.program_id(1).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    acc = tl.zeros((BLOCK, BLOCK), tl.float32)
    for start in range(0, D, BLOCK):
        d = start + tl.arange(0, BLOCK)
        x_mask = (n[:, None] < N) & (d[None, :] < D)
        w_mask = (f[None, :] < F) & (d[:, None] < D)
        x = tl.load(x_ptr + n[:, None] * D + d[None, :], mask=x_mask, other=0.0)
        w = tl.load(w_ptr + f[None, :] * D + d[:, None], mask=w_mask, other=0.0)  # (d, f)
        acc = tl.dot(x, w, acc, input_precision="ieee")
    out_mask = (n[:, None] < N) & (f[None, :] < F)
    tl.store(out_ptr + n[:, None] * F + f[None, :], acc, mask=out_mask)


# %% [markdown]
# The weight is stored as PyTorch stores it, (out, in), and read turned round: only the addresses
# know. The sizes below fit no block of 16 on purpose.

# %% tags=["nbval-check-output"]
random = torch.Generator().manual_seed(0)
x = torch.randn(37, 20, generator=random).to(DEVICE)
w = torch.randn(40, 20, generator=random).to(DEVICE)
out = torch.full((37, 40), torch.nan, device=DEVICE)
grid = (triton.cdiv(37, 16), triton.cdiv(40, 16))
dense_kernel[grid](x, w, out, 37, 20, 40, BLOCK=16)
torch.testing.assert_close(out, x @ w.T, atol=1e-5, rtol=1e-5)
print(f"PASS: {grid[0] * grid[1]} programs, and the product is right at every edge")

# %% [markdown]
# ### Why "ieee"? Why float32?
#
# Two traps, and neither gives an error. The first: NVIDIA's tensor cores take float32 operands only
# after cutting their fractions to 10 bits (**TF32**), and `tl.dot` lets them do it unless you say
# `input_precision="ieee"`. The interpreter never cuts, so you cannot see it here; but you can cut
# yourself.


# %%
def as_tf32(a: Tensor) -> Tensor:
    """Keep 10 of the 23 bits of each fraction (cut, not rounded)."""
    return (a.view(torch.int32) & ~0x1FFF).view(torch.float32)


exact = x.double() @ w.double().T
for name, got in (("float32", x @ w.T), ("cut to TF32", as_tf32(x) @ as_tf32(w).T)):
    print(f"{name:12} largest error {(got - exact).abs().max():.0e}")

# %% [markdown]
# Fine for training, where operands are bfloat16 anyway. Fatal for a test that compares float32
# kernels with a tolerance of 1e-5: it passes on your laptop and fails on the server.
#
# The second trap is the interpreter's own. The same kernel, the same numbers, in bfloat16:

# %%
narrow = torch.empty(37, 40, device=DEVICE)
dense_kernel[grid](x.bfloat16(), w.bfloat16(), narrow, 37, 20, 40, BLOCK=16)
error = (narrow - x.bfloat16().float() @ w.bfloat16().float().T).abs().max()
print(f"largest error in bfloat16: {error:.1g}; the largest result is {exact.abs().max():.0f}")

# %% [markdown]
# On a GPU the line above prints something tiny. With the Triton releases of this course's time the
# interpreter prints garbage without a word: it keeps bfloat16 as 16-bit integers and multiplies
# *those*. So operands are widened there, and only there; `INTERPRETED` is a constant that a kernel
# may ask, and the compiler drops the branch.


# %%
@triton.jit
def product(a, b, acc):
    """Add a @ b to acc, on a GPU and in the interpreter."""
    if INTERPRETED:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, acc, input_precision="ieee")


# %% [markdown]
# ## Ragged rows: the map of tiles
#
# Now N rows stand sorted by expert, and `expert_offsets` says where each expert's rows end (chapter
# 04). A tile must not mix experts, since it is multiplied by one matrix. So every expert's rows are
# cut into tiles by themselves, and three numbers describe a tile: whose it is, where its rows
# begin, and where they end. It needs no loop, because a tile's number says whose it is, once the
# tiles of all experts before are counted:


# %%
def tile_map(expert_offsets: Tensor, block: int) -> tuple[Tensor, Tensor, Tensor]:
    """Give expert, first row and end of each tile of at most `block` rows."""
    ends = expert_offsets.long()
    begins = torch.cat([ends.new_zeros(1), ends[:-1]])
    n_tiles = -(-(ends - begins) // block)  # rounded up
    done = n_tiles.cumsum(0)
    t = torch.arange(int(done[-1]), device=ends.device)
    e = torch.searchsorted(done, t, right=True)  # how many experts are done before tile t
    begin = begins[e] + (t - done[e] + n_tiles[e]) * block
    return e.int(), begin.int(), torch.minimum(begin + block, ends[e]).int()


# %% tags=["nbval-check-output"]
expert_offsets = torch.tensor([9, 9, 29, 32], dtype=torch.int32, device=DEVICE)
for t, (e, begin, end) in enumerate(zip(*tile_map(expert_offsets, 16), strict=True)):
    print(f"tile {t}: rows {begin:2} to {end - 1:2} of expert {e}")

# %% [markdown]
# Expert 1 has no rows and no tile; `searchsorted` skips it by itself. One thing here is bad on a
# GPU: `int(done[-1])` asks it for a number and waits. The library launches as many programs as
# there could possibly be, $\lfloor N / \text{block} \rfloor + E$, and lets the surplus leave at
# once. In exercise 10.2 every program finds its tile itself.
#
# ### The grouped kernel
#
# Four lines differ from the dense one: which rows, how far they go, whose matrix, and how that
# matrix lies in memory. Its three **strides** are arguments. A kernel gets an address and no shape;
# a tensor that is stored the other way round gives no error, only wrong numbers.
#
# Program (t, j) owns tile t and block j of columns.


# %%
@triton.jit
def grouped_kernel(
    rows_ptr, w_ptr, out_ptr, expert_ptr, begin_ptr, end_ptr, D, F, stride_e, stride_f, stride_d,
    BLOCK_N: tl.constexpr, BLOCK_F: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """out[n] = w[e] @ rows[n]; program (t, j) owns tile t and a block of columns."""
    t = tl.program_id(0)
    e = tl.load(expert_ptr + t).to(tl.int64)  # wide: e * stride_e and n * D may pass 2^31
    n = tl.load(begin_ptr + t).to(tl.int64) + tl.arange(0, BLOCK_N)
    f = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    is_row, is_f = n[:, None] < tl.load(end_ptr + t), f[None, :] < F
    acc = tl.zeros((BLOCK_N, BLOCK_F), tl.float32)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        at_rows = rows_ptr + n[:, None] * D + d[None, :]
        at_w = w_ptr + e * stride_e + f[None, :] * stride_f + d[:, None] * stride_d
        rows = tl.load(at_rows, mask=is_row & (d[None, :] < D), other=0.0)
        w = tl.load(at_w, mask=is_f & (d[:, None] < D), other=0.0)
        acc = product(rows, w, acc)
    tl.store(out_ptr + n[:, None] * F + f[None, :], acc, mask=is_row & is_f)


# %%
def launch_grouped(rows, w, out, tiles, block=(16, 16, 16)) -> None:
    """Launch one program per tile and block of columns."""
    n, f, d = block
    grid = (len(tiles[0]), triton.cdiv(w.shape[1], f))
    blocks = {"BLOCK_N": n, "BLOCK_F": f, "BLOCK_D": d}
    grouped_kernel[grid](rows, w, out, *tiles, rows.shape[1], w.shape[1], *w.stride(), **blocks)


# %%
def grouped(rows: Tensor, w: Tensor, expert_offsets: Tensor) -> Tensor:
    """Multiply each expert's rows by its matrix: rows (N, D), w (E, F, D), out (N, F)."""
    out = torch.full((len(rows), w.shape[1]), torch.nan, dtype=rows.dtype, device=rows.device)
    launch_grouped(rows.contiguous(), w, out, tile_map(expert_offsets, 16))
    return out


# %% [markdown]
# ### Is it right?
#
# The library's definition is a loop over experts. Awkward counts, seeds of your choice, and a w
# that is stored the other way round:

# %%
from moe_teach.ops.grouped_mm import grouped_mm


def problem(counts: list[int], d_model: int, d_ff: int, seed: int) -> tuple[Tensor, ...]:
    """Draw rows (N, D) and matrices (E, F, D) in float32, and the offsets."""
    random = torch.Generator().manual_seed(seed)
    rows = torch.randn(sum(counts), d_model, generator=random)
    w = torch.randn(len(counts), d_ff, d_model, generator=random) / d_model**0.5
    return rows.to(DEVICE), w.to(DEVICE), torch.tensor(counts).cumsum(0).int().to(DEVICE)


# %% tags=["nbval-check-output"]
for seed, counts in enumerate(([9, 0, 20, 3], [0, 0, 17], [1, 1, 1, 1, 1])):
    rows, w, ends = problem(counts, 20, 24, seed)
    expected = grouped_mm(rows, w, ends, backend="reference")
    for stored in (w, w.mT.contiguous().mT):
        torch.testing.assert_close(grouped(rows, stored, ends), expected, atol=1e-5, rtol=1e-5)
    print(f"PASS: counts {counts}, both ways of storing w")

# %% [markdown]
# Who wrote what? Chapter 09's watcher knows, where kernels are interpreted. A compiled kernel
# cannot be watched, so on a GPU such cells only say so.


# %%
def watched(launch, **tensors: Tensor) -> Seen | None:
    """Launch under the watcher and give what it saw; on a GPU, only launch."""
    if not INTERPRETED.value:
        launch()
        print("Compiled kernels cannot be watched. Set TRITON_INTERPRET=1 to see this picture.")
        return None
    with watch(**tensors) as seen:
        launch()
    return seen


# %%
def watch_grouped(rows, w, out, tiles, block=(16, 16, 16)) -> Seen | None:
    """Watch one launch of the grouped kernel."""
    named = dict(zip(("expert", "begin", "end"), tiles, strict=True))
    named |= {"rows": rows, "w": w, "out": out}
    return watched(lambda: launch_grouped(rows, w, out, tiles, block), **named)


# %%
rows, w, ends = problem([9, 0, 20, 3], 20, 40, seed=0)
out = torch.empty(32, 40, device=DEVICE)
seen = watch_grouped(rows, w, out, tile_map(ends, 16))
if seen:
    assert not seen.races() and not len(seen.unwritten("out"))
    ids = [program[:2] for program in seen.programs]  # (t, j), in the order in which they ran
    show_figure(plots.ownership(seen.owner("out"), ends, ids))

# %% [markdown]
# **What to see.** Every element has one owner, and its name says which: tile, block of columns.
# Tiles end where an expert's rows end, so tile 0 is 9 rows tall and tile 3 has 3. Memory holds no
# padding. But each program multiplied 16 rows: *that* is where the padding went.
#
# ### Break it on purpose

# %%
check("10.q3", ...)

# %% [markdown]
# Now the control, which has to come out wrong. Tell every tile that its rows go on to the end of
# the *tensor* and not of its expert: a mask with the wrong end. Tile 0 then writes 16 rows, 7 of
# which belong to expert 2, multiplied by the wrong matrix.

# %% tags=["nbval-check-output"]
experts, begins, _ = tile_map(ends, 16)
careless = (experts, begins, torch.full_like(begins, len(rows)))
broken = torch.full_like(out, torch.nan)
seen = watch_grouped(rows, w, broken, careless)
if seen:
    print("equal to the right result:", torch.equal(broken, out))
    print(len(seen.races()) > 0 and "and the watcher has found a race")

# %%
if seen:
    print(seen.races()[0].sentence)

# %% [markdown]
# The wrong kernel gives the right answer, to the last bit. Chapter 09 met such a race among
# counters; here one forgotten word in a mask is enough. The interpreter runs programs one after
# another, so the rightful owner always writes last. A GPU runs them at the same time, and then the
# answer depends on the weather. No comparison of outputs finds this on a CPU. Looking at
# *addresses* does.
#
# ## What a tile wastes
#
# A tile of 16 rows that holds 3 is multiplied as 16. How much is computed for nothing depends on
# three things: the height of a tile, how many rows an expert has, and how evenly they are spread.
# Nothing has to run for this; counting is enough.


# %%
def draw_counts(n_rows: int, n_experts: int, skew: float, seed: int) -> Tensor:
    """Deal rows to experts that are liked in proportion to 1 / rank ** skew."""
    liking = torch.arange(1, n_experts + 1).float() ** -skew
    random = torch.Generator().manual_seed(seed)
    dealt = liking.multinomial(n_rows, replacement=True, generator=random)
    return dealt.bincount(minlength=n_experts)


# %%
def tile_waste(counts: Tensor, block: int) -> float:
    """Rows that tiles multiply, over rows that were asked for."""
    return int((-(-counts // block) * block).sum()) / int(counts.sum())


# %% tags=["nbval-check-output"]
MEANS, BLOCKS, SEEDS = (1, 4, 16, 64, 256), (16, 32, 64, 128), range(3)
waste = {}
for skew in (0.0, 1.0):
    for block in BLOCKS:
        draws = [
            [tile_waste(draw_counts(64 * m, 64, skew, s), block) for m in MEANS] for s in SEEDS
        ]
        waste[skew, block] = torch.tensor(draws)  # (seeds, means)
        shown = "  ".join(f"{value:6.2f}" for value in waste[skew, block].mean(dim=0))
        print(f"skew {skew:g}, tiles of {block:3} rows: {shown}")
print("mean rows per expert:     ", "  ".join(f"{m:6}" for m in MEANS))

# %%
even, skewed = ({b: waste[skew, b].mean(dim=0) for b in BLOCKS} for skew in (0.0, 1.0))
show_figure(plots.waste(MEANS, even, skewed))

# %% tags=["nbval-check-output"]
for skew in (0.0, 1.0):
    for low, high in pairwise(BLOCKS):
        assert (waste[skew, high] > waste[skew, low]).all()
padded = [draw_counts(64 * 64, 64, 1.0, seed) for seed in SEEDS]
for seed, counts in enumerate(padded):
    rectangle = 64 * int(counts.max()) / int(counts.sum())
    print(f"seed {seed}, skewed: tiles of 64 compute {tile_waste(counts, 64):.2f} x the rows, "
          f"chapter 04's rectangle {rectangle:.1f} x")  # fmt: skip
    assert tile_waste(counts, 64) < rectangle / 5
print("PASS: in all seeds taller tiles waste more, and a tile forgives skew where padding does not")

# %% [markdown]
# **What to see.** With 256 rows for each expert tiles cost little. With one row for each, tiles of
# 128 compute more than fifty rows for one, and that is what a decode step looks like. No expert
# wastes more than one tile, so a favourite does no harm: its tiles are full. Padding to the
# favourite's height costs several times as much.
#
# ### Why not always small tiles?
#
# Because a tile has two sides. Each program fetches its rows *and* its block of the matrix anew, so
# small tiles fetch everything many times over. Count it, element by element, on a full expert:

# %%
N_FULL, D_FULL = 64, 32
rows, w, ends = problem([N_FULL], D_FULL, 64, seed=0)
once = (rows.numel() + w.numel()) * 4
for block in (64, 32, 16):
    out = torch.empty(N_FULL, 64, device=DEVICE)
    seen = watch_grouped(rows, w, out, tile_map(ends, block), (block, block, 32))
    if seen:
        fetched = seen.bytes_loaded["rows"] + seen.bytes_loaded["w"]
        assert fetched == 64 // block * once  # each side is read once per tile across it
        print(f"{len(seen.programs):2} tiles of {block:2} x {block:2} load {fetched / once:.0f} x "
              "what there is")  # fmt: skip

# %% [markdown]
# Half the side, twice the traffic. Caches catch a part of it, and programs that run at the same
# time should share what they fetch; but the smaller the tile, the more the memory system has to do
# for each product. So tall tiles for training, flat ones for decoding. How large they may get is a
# question of room: the tiles of several steps (*stages*) of the loop are on their way at once, and
# all of them lie in shared memory. The library looks its choice up in a table, by rows per expert.
# This is what it would take on an H100 for the model of the cold open:

# %% tags=["nbval-check-output"]
from moe_teach.ops.tiles import as_on, fitting_tiles

with as_on(90):  # as if this were an H100 or H200 (sm_90)
    for n_rows in (4, 32, 64, 256):
        t = fitting_tiles("product", torch.device("cpu"), torch.bfloat16, n_rows, F, D)
        print(f"{n_rows:3} rows for an expert: tiles of {t.block_m:3} rows x {t.block_n:3} columns "
              f"in steps of {t.block_k:3}, {t.num_stages} stages: "
              f"{t.shared_bytes('product', 2) / 1024:3.0f} KB of shared memory")  # fmt: skip

# %% [markdown]
# **Why a table and not `@triton.autotune`?** Autotuning runs every candidate on the first call with
# a new key and keeps the fastest. For experts the key should be the *rows per expert*, and that is
# new with every batch. It needs a GPU, so nothing runs in the interpreter; it makes the first steps
# slow; and two processes may choose differently, so that one run does not repeat the bits of
# another. A table is boring, readable and the same everywhere. Ours follows from limits that can be
# calculated, and says itself that it was not tuned on a GPU.
#
# ## Fusing the activation
#
# Now the moving. The first half of a SwiGLU expert is
#
# $$h = \text{silu}(W_{\text{gate}}\, x) \odot W_{\text{up}}\, x$$
#
# As three kernels: two products and an elementwise one. As **one** kernel: two sums in registers,
# and the activation in the *epilogue*, the code after the loop, while the tile is still there.
# Guess what that saves:

# %%
check("10.q2", ...)


# %%
@triton.jit
def silu_mul_kernel(gate_ptr, up_ptr, out_ptr, size, BLOCK: tl.constexpr):
    """out = silu(gate) * up, element by element: the third of three kernels."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    gate = tl.load(gate_ptr + i, mask=i < size, other=0.0).to(tl.float32)
    up = tl.load(up_ptr + i, mask=i < size, other=0.0).to(tl.float32)
    tl.store(out_ptr + i, gate * tl.sigmoid(gate) * up, mask=i < size)


# %% [markdown]
# The fused kernel reads a tile of rows once and uses it twice. The nonlinearity must wait until the
# sums are complete: inside the loop it would act on parts.


# %%
@triton.jit
def swiglu_kernel(
    rows_ptr, w_gate_ptr, w_up_ptr, out_ptr, expert_ptr, begin_ptr, end_ptr, D, F,
    BLOCK_N: tl.constexpr, BLOCK_F: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """out[n] = silu(w_gate[e] @ rows[n]) * (w_up[e] @ rows[n]); contiguous matrices."""
    t = tl.program_id(0)
    e = tl.load(expert_ptr + t).to(tl.int64)
    n = tl.load(begin_ptr + t).to(tl.int64) + tl.arange(0, BLOCK_N)
    f = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    is_row, is_f = n[:, None] < tl.load(end_ptr + t), f[None, :] < F
    gate = tl.zeros((BLOCK_N, BLOCK_F), tl.float32)
    up = tl.zeros((BLOCK_N, BLOCK_F), tl.float32)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        at_w = e * F * D + f[None, :] * D + d[:, None]
        is_w = is_f & (d[:, None] < D)
        at_rows = rows_ptr + n[:, None] * D + d[None, :]
        rows = tl.load(at_rows, mask=is_row & (d[None, :] < D), other=0.0)
        gate = product(rows, tl.load(w_gate_ptr + at_w, mask=is_w, other=0.0), gate)
        up = product(rows, tl.load(w_up_ptr + at_w, mask=is_w, other=0.0), up)
    h = gate * tl.sigmoid(gate) * up
    tl.store(out_ptr + n[:, None] * F + f[None, :], h, mask=is_row & is_f)


# %%
def by_three(rows, w_gate, w_up, gate, up, h, tiles) -> None:
    """Two products, then the activation."""
    launch_grouped(rows, w_gate, gate, tiles)
    launch_grouped(rows, w_up, up, tiles)
    silu_mul_kernel[(triton.cdiv(h.numel(), 1024),)](gate, up, h, h.numel(), BLOCK=1024)


# %%
def by_one(rows, w_gate, w_up, h, tiles) -> None:
    """The fused kernel."""
    grid = (len(tiles[0]), triton.cdiv(h.shape[1], 16))
    blocks = {"BLOCK_N": 16, "BLOCK_F": 16, "BLOCK_D": 16}
    swiglu_kernel[grid](rows, w_gate, w_up, h, *tiles, rows.shape[1], h.shape[1], **blocks)


# %% [markdown]
# Both run under the watcher. It counts the bytes that each launch touches **at all**: as if a
# perfect cache served every second request. What is left has to come from memory whatever you do.

# %%
COUNTS = [9, 0, 20, 3]
rows, w_gate, ends = problem(COUNTS, 20, 24, seed=0)
w_up = problem(COUNTS, 20, 24, seed=1)[1]
gate, up, h, fused_h = (torch.empty(32, 24, device=DEVICE) for _ in range(4))
tiles = tile_map(ends, 16)
named = {"rows": rows, "w_gate": w_gate, "w_up": w_up}
named |= dict(zip(("expert", "begin", "end"), tiles, strict=True))
also = {"gate": gate, "up": up, "h": h}
three = watched(lambda: by_three(rows, w_gate, w_up, gate, up, h, tiles), **named, **also)
one = watched(lambda: by_one(rows, w_gate, w_up, fused_h, tiles), **named, h=fused_h)

# %% tags=["nbval-check-output"]
slices = zip(rows.split(COUNTS), w_gate, w_up, strict=True)
expected = torch.cat([torch.nn.functional.silu(r @ g.T) * (r @ u.T) for r, g, u in slices])
for got in (h, fused_h):
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
print("PASS: three kernels and one give the same inner rows, those of the reference")


# %%
def moved_by(seen: Seen) -> dict[str, int]:
    """Sum the bytes that each launch touches, by what they are; the tile map is left out."""
    total = {"rows (N, D)": 0, "matrices": 0, "inner rows (N, F)": 0}
    kind = {"rows": "rows (N, D)", "w_gate": "matrices", "w_up": "matrices"}
    kind |= dict.fromkeys(("gate", "up", "h"), "inner rows (N, F)")
    for launch in seen.launches:
        touched: dict[tuple[str, str], set[int]] = {}
        for access in seen.accesses:
            if access.program in launch.programs and access.buffer in kind:
                key = (access.buffer, access.kind)
                touched.setdefault(key, set()).update(access.elements.tolist())
        for (buffer, _), elements in touched.items():
            total[kind[buffer]] += 4 * len(elements)
    return total


# %%
if three and one:
    ways = {"three kernels": moved_by(three), "one kernel": moved_by(one)}
    show_figure(plots.moved(ways, "bytes moved, 32 rows through 3 experts, D = 20, F = 24"))

# %% tags=["nbval-check-output"]
if three and one:
    N_ROWS, N_AWAKE = sum(COUNTS), sum(count > 0 for count in COUNTS)
    matrices = 2 * N_AWAKE * 20 * 24
    expected = {"three kernels": (2, 5), "one kernel": (1, 1)}
    for way, (n_rows, n_inner) in expected.items():
        formula = 4 * (n_rows * N_ROWS * 20 + matrices + n_inner * N_ROWS * 24)
        assert sum(ways[way].values()) == formula
        print(f"PASS: {way}, {formula:,} bytes: {n_rows} N D + matrices + {n_inner} N F")

# %% [markdown]
# **What to see.** The matrices cost the same; nobody can save them. The inner rows fall from five
# trips to one. And the formula agrees with the count to the byte, so from here on you may trust it
# at sizes that no interpreter will ever run.
#
# ## Backward
#
# Two gradients are wanted from $\text{out}[n] = w_e \, \text{rows}[n]$, and both are products:
#
# $$d\text{rows}[n] = w_e^{\mathsf T} \, d\text{out}[n] \qquad
# dw_e = \sum_{n \text{ of } e} d\text{out}[n] \, \text{rows}[n]^{\mathsf T}$$
#
# The first one is **the kernel you have**. `w.mT` is the same memory with two strides swapped, and
# the kernel asks for strides. Compare with what autograd finds:

# %% tags=["nbval-check-output"]
rows, w, ends = problem([9, 0, 20, 3], 20, 24, seed=2)
leaf, w_leaf = rows.clone().requires_grad_(), w.clone().requires_grad_()
dout = torch.randn(32, 24, generator=torch.Generator().manual_seed(3)).to(DEVICE)
result = grouped_mm(leaf, w_leaf, ends, backend="reference")
drows, dw = torch.autograd.grad(result, (leaf, w_leaf), dout)
torch.testing.assert_close(grouped(dout, w.mT, ends), drows, atol=1e-5, rtol=1e-5)
print("PASS: the gradient of the rows, by the forward kernel with two strides swapped")
print("rows of expert 1: 0, and its gradient is all zeros:", not dw[1].any().item())

# %% [markdown]
# The second one turns the picture inside out: the ragged dimension is now the one that is summed
# over. A program owns a block of one expert's `dw` and loops over that expert's rows, however many
# there are. Nobody adds into somebody else's block, so there are no atomics, and the sum has the
# same order on every run. Mind the expert without rows: its loop never turns, and it must **still
# write its zeros**, because fresh memory holds anything at all. You write this kernel in exercise
# 10.4, and join both gradients to autograd in 10.7.
#
# ### Save or compute again?
#
# Backward through silu needs `gate` and `up`, and the fused kernel threw them away. Either it also
# writes them (2 F numbers for each row), or backward multiplies once more. For one token of our
# model:

# %% tags=["nbval-check-output"]
saved = layer.n_layers * K * 2 * F * 2
again = layer.n_layers * K * 2 * 2 * D * F
step = layer.n_layers * K * 3 * 6 * D * F
batch = saved * 32768 / 1e9
print(f"saved: {saved / 1e6:.1f} MB a token in bfloat16, {batch:.0f} GB for 32,768 tokens")
print(f"computed again: {again / 1e9:.1f} GFLOPs a token, {again / step:.0%} more for the experts")

# %% [markdown]
# Memory or time: a training run with room to spare saves, one at its limit multiplies again.
#
# ## The roofline
#
# Williams, Waterman and Patterson (2009) put both limits into one picture. With $W$ FLOPs to do
# and $Q$ bytes to move, no kernel is faster than
#
# $$\max\left(\frac{W}{\text{peak}}, \; \frac{Q}{\text{bandwidth}}\right)$$
#
# Three ways of running the experts, as kernels: *padded* blocks (chapter 04), *step by step* (copy
# the rows, two products, activation, last product), and *fused* (rows are fetched where they lie,
# one kernel up, one kernel down). What brings the answers back to the tokens is the same for all
# and left out.


# %%
def bill(way: str, counts: Tensor, d_model: int, d_ff: int, size: int = 2) -> tuple[int, int]:
    """Give FLOPs and bytes of one layer's experts; `size` is the bytes of one number."""
    n_rows, n_awake = int(counts.sum()), int((counts > 0).sum())
    if way == "padded":
        n_rows, n_awake = len(counts) * int(counts.max()), len(counts)
    matrices = 3 * n_awake * d_model * d_ff
    outer, inner = (2, 2) if way == "fused" else (5, 6)  # trips of (N, D) and of (N, F)
    moved = matrices + n_rows * (outer * d_model + inner * d_ff)
    return 6 * n_rows * d_model * d_ff, size * moved


# %% [markdown]
# The trips of *step by step*: the copy reads and writes (N, D), two products read it, the last one
# writes it: 5. Two products write (N, F), the activation reads both and writes one, the last
# product reads: 6. Compare the part that you watched: 5 of those 6.

# %%
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384)


def even_counts(n_tokens: int, seed: int) -> Tensor:
    """Let every token choose K of E experts, all equally liked."""
    wishes = torch.rand(n_tokens, E, generator=torch.Generator().manual_seed(seed))
    return wishes.topk(K).indices.flatten().bincount(minlength=E)


# %%
def least_seconds(way: str, counts: Tensor, d_ff: int = F) -> float:
    """Give the larger of computing and moving."""
    flops, n_bytes = bill(way, counts, D, d_ff)
    return max(flops / PEAK, n_bytes / BANDWIDTH)


# %%
def bounds(seed: int) -> tuple[dict, dict]:
    """Needed FLOPs a second at most, and how much slower each way is than fused, by tokens."""
    rates = {"dense, same FLOPs": [], "experts, fused": []}
    slower = {"padded, skewed router": [], "padded, even router": [], "step by step, even": []}
    for n in TOKENS:
        even, skewed = even_counts(n, seed), draw_counts(n * K, E, 1.0, seed)
        fused, needed = least_seconds("fused", even), 6 * n * K * D * F
        # Dense: one feed-forward of K times the width, so as many FLOPs for each token.
        dense = least_seconds("fused", torch.tensor([n]), K * F)
        for name, rate in zip(rates, (needed / dense, needed / fused), strict=True):
            rates[name].append(rate)
        ratios = (
            least_seconds("padded", skewed) / least_seconds("fused", skewed),
            least_seconds("padded", even) / fused,
            least_seconds("step by step", even) / fused,
        )
        for name, ratio in zip(slower, ratios, strict=True):
            slower[name].append(ratio)
    return rates, slower


# %% [markdown]
# Before you look at the picture:

# %%
check("10.q4", ...)

# %%
rates, slower = bounds(seed=0)
show_figure(plots.signature(TOKENS, rates, slower, PEAK))

# %% tags=["nbval-check-output"]
for seed in SEEDS:
    rates, slower = bounds(seed)
    reached = {
        name: next(t for t, rate in zip(TOKENS, line, strict=True) if rate > 0.999 * PEAK)
        for name, line in rates.items()
    }
    print(f"seed {seed}: at the peak with", ", ".join(f"{t:,} ({n})" for n, t in reached.items()))
    assert reached["experts, fused"] >= 16 * reached["dense, same FLOPs"]
    assert all(min(line) > 0.999 for line in slower.values())
    assert slower["padded, even router"][0] > 10 and max(slower["step by step, even"]) > 1.2
for name, line in rates.items():
    lift = f"x {line[3] / line[0]:.0f} for 64"
    print(f"{name:18} {line[0] / 1e12:.1f} TFLOPs a second for one token, {lift}")
print("PASS: experts need batches at least 16 times larger, and no way beats the fused one")

# %% [markdown]
# **What to see.** On the left, both layers begin where only bytes count, at half a per cent of the
# machine. Sixty-four users lift the dense layer about sixty times, and the experts four times. On
# the right, padding is at its worst with one token, since it fetches all 128 experts for eight;
# and with a favourite among the experts it gets worse again with every token, because then it
# *computes* too much. Going step by step costs most at 4,096 tokens, where rows weigh as much as
# matrices and the products do not hide them yet.
#
# These are **bounds from a data sheet**, not measurements. Real kernels stay below.
#
# ## And the time, on your machine?
#
# Chapter 04 timed its ways in milliseconds. Better is a ratio to what cannot be beaten: dense
# products of equal FLOPs, timed in the same cell. A 1 would mean that routing costs nothing.
# Nothing is asserted: it is your machine, and its mood.

# %%
from time import process_time

from moe_teach.config import RouterConfig
from moe_teach.nn.experts import Experts
from moe_teach.nn.router import Router
from moe_teach.ops.routed_ffn import routed_ffn

# %%
torch.set_num_threads(1)
torch.manual_seed(0)
n_tokens, d_ff = by_mode(full=512, fast=128), by_mode(full=256, fast=128)
x = torch.randn(n_tokens, 128)
with torch.no_grad():
    routing = Router(128, RouterConfig(n_experts=8, top_k=2))(x)
weights = Experts(8, 128, d_ff).weights


# %%
def seconds(run, tries: int) -> float:
    """Give the processor time of the fastest of some calls, after a warm-up."""
    times = []
    for _ in range(tries + 1):
        start = process_time()
        run()
        times.append(process_time() - start)
    return min(times[1:])


# %%
dense_rows = torch.randn(2 * n_tokens, 128)
w_in, w_out = torch.randn(128, 2 * d_ff), torch.randn(d_ff, 128)
contenders = {"limit: dense": lambda: (dense_rows @ w_in)[:, :d_ff] @ w_out}
for backend in ("loop", "padded", "sorted", "grouped"):
    contenders[backend] = lambda b=backend: routed_ffn(x, routing, weights, "swiglu", backend=b)
tries = by_mode(full=50, fast=5)
with torch.no_grad():
    best = {name: seconds(run, tries) for name, run in contenders.items()}
for name, taken in best.items():
    print(f"{name:14} {1e3 * taken:7.2f} ms   {taken / best['limit: dense']:5.2f} x the limit")

# %% [markdown]
# On a processor the grouped matmul is one library call among others, and the gap to the limit is
# mostly moving and small matrices. How the kernels of *this* chapter do can only be said where they
# are compiled:

# %%
if DEVICE == "cpu":
    print("No GPU here: nothing to time. `moe-teach bench kernels` does it where there is one.")
else:
    rows, w, ends = problem([256] * 8, 1024, 1024, seed=0)
    rows, w = rows.bfloat16(), w.bfloat16()
    out, tiles = torch.empty(len(rows), 1024, dtype=rows.dtype, device=DEVICE), tile_map(ends, 128)
    runs = {"dense": lambda: rows @ w[0].T, "grouped_mm": lambda: grouped_mm(rows, w, ends)}
    runs["this chapter's"] = lambda: launch_grouped(rows, w, out, tiles, (128, 128, 64))
    print(torch.cuda.get_device_name(), "torch", torch.__version__, "triton", triton.__version__)
    for name, run in runs.items():
        print(f"{name:15} {triton.testing.do_bench(run):.3f} ms")

# %% [markdown]
# ## The library's kernel, and yours
#
# The library's grouped kernel is short, because what several of its kernels share has names of its
# own. Each is a piece of what you have read:
#
# - `locate` is your first four lines: tile, expert, rows, and which of them exist. It numbers the
#   programs in *one* row, and lets eight tiles share a block of columns while that is in the cache.
# - `walk` is your loop over `d`. Where D is a multiple of the step (`EVEN_K`), it needs no mask.
# - `product` is `product`, with the precision as an argument.
# - `put` is your store under a mask.
#
# First the walk, then the kernel around it:

# %%
from moe_teach.ops.grouped_mm.fused import grouped_mm_kernel
from moe_teach.ops.tile_product import walk

show(walk.fn)

# %%
show(grouped_mm_kernel.fn)

# %% tags=["nbval-check-output"]
for seed, counts in enumerate(([9, 0, 20, 3], [1, 1, 1, 1, 1], [40])):
    rows, w, ends = problem(counts, 20, 24, seed)
    library = grouped_mm(rows, w, ends, backend="triton")
    torch.testing.assert_close(library, grouped(rows, w, ends), atol=1e-5, rtol=1e-5)
print("PASS: the library's kernel and this lesson's agree on 3 seeds")

# %% [markdown]
# And yours: the kernel of exercise 10.1 does one thing more, it fetches its rows from the tokens by
# itself. Here token n is row n. Until you have written it, the course's answer stands in; come back
# to this cell when you have.

# %%
kernel = mine("10.1")
rows, w, ends = problem([9, 0, 20, 3], 20, 24, seed=0)
token_idx = torch.arange(32, dtype=torch.int32, device=DEVICE)
out, tiles = torch.empty(32, 24, device=DEVICE), tile_map(ends, 16)
sizes = (20, 24, *w.stride(), 16, 16, 16)
kernel[len(tiles[0]), triton.cdiv(24, 16)](rows, token_idx, w, out, *tiles, *sizes)
torch.testing.assert_close(out, grouped(rows, w, ends), atol=1e-5, rtol=1e-5)
print("PASS: the kernel of exercise 10.1 agrees, too")

# %% [markdown]
# ## What could be wrong with these results?
#
# - **Counted bytes are a lower bound.** They assume a cache that never forgets within one kernel.
#   Real caches hold some tens of megabytes.
# - **The data sheet is not the machine.** A measured peak may lie well below the printed one.
#   `moe-teach bench kernels` measures both limits before it compares anything.
# - **All experts were equally liked** in the roofline. A trained router wakes fewer experts, which
#   helps a small batch, and makes some of them busy.
# - **The interpreter proves arithmetic and addresses.** It proves nothing about races it does not
#   run into, about TF32, about speed, or about registers. That is why there were a watcher and a
#   rule about "ieee" beside it, and why page 10b asks the compiler.
# - **The time table is one thread of a processor.** It says little about a GPU.
#
# ## Now you
#
# In the [exercises of this chapter](../exercises/10_triton_experts.ipynb) you write the K loop with
# the gather inside, the search for a tile, the way out with gates in the epilogue, the gradient of
# the matrices, and the bill. Joined, they are a layer, and with one more function a layer that
# learns. Whether the same source also runs on somebody else's machine is a page of its own:
# [10b One source, many machines](10b_one_source.ipynb).
