# %% [markdown]
# # 09 The dispatch kernels
#
# **Claim: sending tokens to their experts needs no sort and no atomic operation. Five small
# kernels, count, scan, place, gather and combine, do it with the same bits on every run. And a
# kernel that passes all its tests on this machine can still be wrong on a GPU, so you will learn to
# see what it touches.**
#
# A **kernel** is a function that runs many times at once, each time on another piece of the data.
# You will write them in Triton, which is Python with a few rules. No GPU is needed: without one,
# Triton's *interpreter* runs the same source on the CPU, one piece after the other.

# %%
import torch
from torch import Tensor

from moe_teach.analysis.kernel_watch import KernelFault, watch
from moe_teach.chapters.ch09_triton_dispatch.figures import lanes, owners, tile
from moe_teach.chapters.ch09_triton_dispatch.machine import gpu, journey
from moe_teach.course import by_mode, check
from moe_teach.ops.triton_host import INTERPRETED, tl, triton
from moe_teach.plots.style import show_figure

DEVICE = "cpu" if INTERPRETED.value else "cuda"
print("kernels are", "interpreted on the CPU" if INTERPRETED.value else "compiled for your GPU")

# %% [markdown]
# ## A surprise first
#
# Here is a kernel that adds 1 to some numbers. Do not worry about its lines yet. It is handed ten
# numbers, the front part of a shelf of sixteen. The other six belong to somebody else.


# %%
@triton.jit
def add_one(x_ptr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x_ptr + at, tl.load(x_ptr + at) + 1)


# %% tags=["nbval-check-output"]
shelf = torch.zeros(16, device=DEVICE)
ours, theirs = shelf[:10], shelf[10:]
add_one[(3,)](ours, BLOCK=4)
print("ours  ", ours.int().tolist())
print("theirs", theirs.int().tolist())

# %% [markdown]
# Ours is right: every test of the ten numbers passes. And two numbers of somebody else have
# changed. Nothing was raised, neither here nor on a GPU. Had there been nobody behind us, the write
# would have landed anywhere, and Python itself might have died, minutes later and somewhere else.
#
# A kernel sees an **address**, not a tensor. It does not know where the tensor ends. By the end of
# this chapter you can say who touched which number, and prove that it was the right one.
#
# ## One kernel, many programs
#
# `add_one[(3,)](...)` started the kernel three times: three **programs**, numbered 0, 1, 2. Each
# one finds out its number and works on a block of its own:
#
# - `tl.program_id(0)`: which program am I?
# - `tl.arange(0, BLOCK)`: the numbers 0, 1, ... BLOCK - 1, one for each **lane**. BLOCK is a
#   power of two, and a `tl.constexpr`: a number that is fixed when the kernel is compiled, and not
#   when it runs;
# - `x_ptr + at`: an address for each lane; `tl.load` and `tl.store` read and write there.
#
# Blocks have one size, data has any. So the last program needs a **mask** that switches off the
# lanes behind the end:


# %%
@triton.jit
def add_one_masked(x_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n)
    tl.store(x_ptr + at, x + 1, mask=at < n)


# %% [markdown]
# To see who does what, we launch it under a **watcher**. The interpreter asks it before every
# access, and it compares the address with the tensors we name. A compiled kernel asks nobody, so
# cells with a watcher want the interpreter.


# %%
def can_watch() -> bool:
    """Say whether kernels are interpreted here, as the watcher needs."""
    if not INTERPRETED.value:
        print("Compiled kernels cannot be watched. Start Jupyter with TRITON_INTERPRET=1 for this.")
    return INTERPRETED.value


# %%
if can_watch():
    x = torch.zeros(10)
    with watch(x=x) as seen:
        add_one_masked[(3,)](x, 10, BLOCK=4)
    stores = [access.elements.tolist() for access in seen.accesses if access.kind == "store"]
    show_figure(lanes(stores, 4, title="10 numbers in blocks of 4"))
    assert stores == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]

# %% [markdown]
# **What to see.** Three programs, twelve lanes, ten numbers. Two lanes have nothing to do. That
# picture was not drawn from the formula: it is what the watcher wrote down.
#
# ### The guard
#
# Now the kernel without a mask, under the watcher. The fault is raised *before* memory is touched,
# so nobody's numbers change and Python lives on.


# %%
def verdict(kernel, grid: tuple[int, ...], *args, watched: dict[str, Tensor], **constants) -> str:
    """Launch a kernel under the watcher and give the sentence it earns."""
    try:
        with watch(**watched) as seen:
            kernel[grid](*args, **constants)
    except KernelFault as fault:
        return str(fault)
    races = seen.races()
    return f"{len(races)} races. The first: {races[0]}" if races else "clean"


# %%
if can_watch():
    shelf = torch.zeros(16)
    print(verdict(add_one, (3,), shelf[:10], watched={"x": shelf[:10]}, BLOCK=4))
    assert shelf.tolist() == 8 * [1] + 8 * [0]  # program 2 was stopped before it wrote anything

# %% [markdown]
# A second kind of trespass needs no end of a tensor. Hand a kernel every second number of
# something, and it still takes the next address for the next number:

# %%
if can_watch():
    some = torch.zeros(10)[::2]
    sentence = verdict(add_one_masked, (2,), some, 5, watched={"x": some}, BLOCK=4)
    print(sentence)
    assert "stride" in sentence

# %% [markdown]
# So a kernel must be told the **strides** of its tensors, or be handed contiguous ones. Without the
# watcher this would have been the quietest mistake of all: a result, and a wrong one.
#
# ## The machine
#
# Why would anybody cut work into programs like that? Because a GPU is many machines in one. Here is
# an H100, with four programs on it.

# %%
show_figure(gpu(n_programs=4))

# %% [markdown]
# **What to see.** From below:
#
# - **HBM** is the GPU's memory. Every tensor of ours lives there, and an address is a place in it.
# - An **SM** (streaming multiprocessor) runs programs; there are 132, so 132 programs and more are
#   at work at one moment. Which SM gets which program, and when, is the GPU's choice.
# - **Registers** hold what a program works with: each `tl.load` fills some, each variable of a
#   kernel is some, and when the program ends they are gone. There are 256 KB of them on an SM.
# - 32 **threads** that work in step are a **warp**. A program gets four warps if you say nothing
#   else, and Triton deals the lanes of its block out to their 128 threads. What one warp shall know
#   of another goes through **shared memory**, which a program has to itself.
# - A **tensor core** multiplies small matrices. This chapter does not need it; chapter 10 does.
#
# Two programs never see one another's registers or shared memory. All they share is HBM, and the
# L2 cache in front of it. (Numbers: NVIDIA, "H100 Tensor Core GPU Architecture", 2022, and the
# Hopper tuning guide, for the H100 SXM. Other GPUs have the same parts in other sizes.)
#
# ## Predict
#
# Four programs count into the same counters. Each one loads a counter, adds its own number, and
# stores the sum. There is no lock.

# %%
check("9.q1", ...)

# %% [markdown]
# ## The problem
#
# Thirteen tokens choose two of five experts each, as chapter 04 left them. Nobody wants expert 3.

# %%
T, D, E, K, BLOCK = 13, 6, 5, 2, 8


def choices(n_tokens: int, n_experts: int, top_k: int, seed: int) -> Tensor:
    """Draw different experts for each token, none of them expert 3: (T, K) int32."""
    random = torch.Generator().manual_seed(seed)
    wish = torch.rand(n_tokens, n_experts, generator=random)
    wish[:, 3:4] = -1
    return wish.argsort(dim=-1, descending=True)[:, :top_k].int().contiguous().to(DEVICE)


def empty(*shape: int, dtype: torch.dtype = torch.int32) -> Tensor:
    """Give memory full of old numbers, as memory is."""
    return torch.full(shape, -7, dtype=dtype, device=DEVICE)


# %% tags=["nbval-check-output"]
ids = choices(T, E, K, seed=0)
N = ids.numel()
blocks = triton.cdiv(N, BLOCK)
print("choices:", ids.flatten().tolist())
print(f"{N} choices, {blocks} programs with {BLOCK} lanes, {blocks * BLOCK - N} lanes idle")

# %% [markdown]
# Chapter 04 sorted the choices by expert. A sort is much work for so little: there are only five
# different values. **Counting sort** needs no comparisons: count how many there are of each value,
# add up where each value's rows begin, then put everything in its place. Done in blocks, it is
# three kernels, and each is a few lines.
#
# ### Kernel 1: count
#
# Program b counts the choices in its own block, expert by expert, and writes row b of a table.
#
# $$\text{counts}_{b,e} = \bigl|\{\, i \in \text{block } b : \text{expert}_i = e \,\}\bigr|$$
#
# `other` says what a switched-off lane gets: no expert has the number `n_experts`.


# %%
@triton.jit
def count(ids_ptr, counts_ptr, n, n_experts, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ids = tl.load(ids_ptr + at, mask=at < n, other=n_experts)
    for e in range(n_experts):
        mine = tl.sum((ids == e).to(tl.int32))
        tl.store(counts_ptr + tl.program_id(0) * n_experts + e, mine)


# %% tags=["nbval-check-output"]
counts = empty(blocks, E)
count[(blocks,)](ids, counts, N, E, BLOCK=BLOCK)
print(counts.cpu().numpy())
assert torch.equal(counts.sum(0), torch.bincount(ids.flatten(), minlength=E))

# %% [markdown]
# Each program has a row of its own, so no two programs ever meet. Why such care, and not *one* row
# of counters for all? In a moment. First: where *are* these numbers, line by line? Here is the last
# program, which has only two choices left.

# %%
places = range((blocks - 1) * BLOCK, N)
left = ids.flatten()[places[0] :].tolist()
show_figure(journey(places, left, block=BLOCK, n_experts=E, e=left[0]))

# %% [markdown]
# **What to see.** Two experts come in, one count goes out. All that happens in between costs no
# trip to memory. And what does the machine need for it? The compiler knows, and it needs no GPU to
# tell. For three sizes of a block, each on four warps:

# %%
from moe_teach.bench.compile_only import compile_report

types = {"ids_ptr": "*i32", "counts_ptr": "*i32", "n": "i32", "n_experts": "i32"}
for block in (8, 128, 4096):
    needs = compile_report(count, "count", types, {"BLOCK": block}, target="sm_90")
    print(f"block {block:4}, {triton.cdiv(block, 128):2} choices a thread:", end=" ")
    print(f"{needs.registers:2} registers a thread, {needs.shared_bytes:2} bytes of shared memory")

# %% [markdown]
# A thread with 32 choices to hold takes more registers, and an SM has 65,536 (256 KB) for all its
# programs. The 16 bytes of shared memory are four sums, one from each warp. A block of 8 fits into
# one warp and needs none.
#
# ### The race that the interpreter hides


# %%
@triton.jit
def count_together(ids_ptr, counts_ptr, n, n_experts, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ids = tl.load(ids_ptr + at, mask=at < n, other=n_experts)
    for e in range(n_experts):
        mine = tl.sum((ids == e).to(tl.int32))
        before = tl.load(counts_ptr + e)
        tl.store(counts_ptr + e, before + mine)


# %%
right = 0
tries = by_mode(full=100, fast=10)  # fewer where the lesson is only tried out
for _ in range(tries):
    together = torch.zeros(E, dtype=torch.int32, device=DEVICE)
    count_together[(blocks,)](ids, together, N, E, BLOCK=BLOCK)
    right += torch.equal(together, counts.sum(0))
print(f"right in {right} of {tries} runs", "on the CPU" if INTERPRETED.value else "on your GPU")

# %% [markdown]
# On the CPU it is right every time, and it is wrong all the same. The interpreter runs program 0 to
# its end, then program 1. On a GPU all four may load a counter before anybody has stored; then the
# last one to store wins, and the others' counts are gone. Here is what each would leave behind:

# %% tags=["nbval-check-output"]
print("right:", counts.sum(0, dtype=torch.int32).tolist())
for block in range(blocks):
    print(f"if block {block} stores last: {counts[block].tolist()}")

# %% [markdown]
# No number of right runs finds this. The watcher does, because it does not look at the result: it
# looks for two programs at one address.

# %%
if can_watch():
    together, table = torch.zeros(E, dtype=torch.int32), empty(blocks, E)
    for kernel, out in ((count_together, together), (count, table)):
        named = {"ids": ids, "counts": out}
        found = verdict(kernel, (blocks,), ids, out, N, E, watched=named, BLOCK=BLOCK)
        print(f"{kernel.__name__}: {found}")
        assert (found == "clean") == (kernel is count)

# %% [markdown]
# There is a lock-free way out, the **atomic** addition, `tl.atomic_add(counts_ptr + e, mine)`:
# load, add and store as one step that nobody can come between. For whole numbers it is right, in
# any order. Yet we do without it, for two reasons. Programs queue up at a popular counter. And soon
# the counters would hand out *places*: whoever comes first gets the first row, so the layout would
# be another one on each run.
#
# ### Kernel 2: scan
#
# Where may block b put its rows for expert e? Behind all rows of earlier experts, and behind the
# rows of expert e from earlier blocks:
#
# $$\text{base}_{b,e} = \sum_{e' < e} \sum_{b'} \text{counts}_{b',e'} +
# \sum_{b' < b} \text{counts}_{b',e}$$
#
# Both are running sums without the own number, *exclusive scans* (Blelloch 1990, "Prefix sums and
# their applications"). One program does it: the table is small.
# `[:, None]` and `[None, :]` make a column and a row, and together a tile, as in torch.


# %%
@triton.jit
def scan(counts_ptr, base_ptr, blocks, n_experts, BLOCKS: tl.constexpr, EXPERTS: tl.constexpr):
    block = tl.arange(0, BLOCKS)[:, None]
    expert = tl.arange(0, EXPERTS)[None, :]
    inside = (block < blocks) & (expert < n_experts)
    at = block * n_experts + expert
    counts = tl.load(counts_ptr + at, mask=inside, other=0)
    totals = tl.sum(counts, axis=0)
    starts = tl.cumsum(totals, axis=0) - totals
    earlier = tl.cumsum(counts, axis=0) - counts
    tl.store(base_ptr + at, starts[None, :] + earlier, mask=inside)


# %% tags=["nbval-check-output"]
base = empty(blocks, E)
sizes = {"BLOCKS": triton.next_power_of_2(blocks), "EXPERTS": triton.next_power_of_2(E)}
scan[(1,)](counts, base, blocks, E, **sizes)
print(base.cpu().numpy())
assert base[0, 0] == 0

# %%
check("9.q2", ...)

# %% [markdown]
# ### Kernel 3: place
#
# Now every choice gets its row: the base of its block and expert, plus the number of earlier
# choices of the same expert in the block, its *rank*.
#
# $$\text{slot}_i = \text{base}_{b,e} +
# \bigl|\{\, j < i \in \text{block } b : \text{expert}_j = e \,\}\bigr|$$
#
# At the same time it leaves its token's number at that row. Choice i belongs to token i // K.
# `tl.where(condition, a, b)` chooses lane by lane, as `torch.where` does: here, a lane takes its
# row in the turn of its own expert.


# %%
@triton.jit
def place(
    ids_ptr, base_ptr, slot_ptr, token_idx_ptr, n, n_experts, K: tl.constexpr, BLOCK: tl.constexpr
):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ids = tl.load(ids_ptr + at, mask=at < n, other=n_experts)
    row = tl.zeros((BLOCK,), tl.int32)
    for e in range(n_experts):
        mine = (ids == e).to(tl.int32)
        rank = tl.cumsum(mine, axis=0) - mine
        first = tl.load(base_ptr + tl.program_id(0) * n_experts + e)
        row = tl.where(ids == e, first + rank, row)
    tl.store(slot_ptr + at, row, mask=at < n)
    tl.store(token_idx_ptr + row, at // K, mask=at < n)


# %% tags=["nbval-check-output"]
slot, token_idx = empty(T, K), empty(N)
place[(blocks,)](ids, base, slot, token_idx, N, E, K=K, BLOCK=BLOCK)
print("slot      ", slot.flatten().tolist())
print("token_idx ", token_idx.tolist())
print("its expert", ids.flatten()[slot.flatten().argsort()].tolist())

# %% [markdown]
# Sorted by expert, and within an expert by token, without a comparison. The second store is the
# interesting one: each lane writes where its *data* tells it to. Nothing but arithmetic keeps two
# lanes apart, so here the guard matters most.
#
# ### Kernel 4: gather
#
# The tokens move. The grid has two axes now: program (r, j) copies block j of the columns of row r,
# from the token that `token_idx` names. Lanes that stand side by side read numbers that stand side
# by side; a GPU fetches those in one go.


# %%
@triton.jit
def gather(x_ptr, token_idx_ptr, rows_ptr, d_model, BLOCK_D: tl.constexpr):
    row = tl.program_id(0)
    column = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    token = tl.load(token_idx_ptr + row)
    values = tl.load(x_ptr + token * d_model + column, mask=column < d_model)
    tl.store(rows_ptr + row * d_model + column, values, mask=column < d_model)


# %% tags=["nbval-check-output"]
x = torch.randn(T, D, generator=torch.Generator().manual_seed(0)).to(DEVICE)
rows = empty(N, D, dtype=torch.float32)
BLOCK_D = 4
across = triton.cdiv(D, BLOCK_D)
gather[(N, across)](x, token_idx, rows, D, BLOCK_D=BLOCK_D)
assert torch.equal(rows, x[token_idx.long()])
print(f"PASS: {N} x {across} programs copied {N} rows of {D} numbers")

# %% [markdown]
# ### In between: the experts
#
# They are chapter 10's work. Until then the library's experts answer, one row for each row.

# %%
from moe_teach.nn.experts import Experts

torch.manual_seed(0)
experts = Experts(E, D, d_ff=8).to(DEVICE)
ends = counts.sum(0).cumsum(0).to(torch.int32)
with torch.no_grad():
    y = experts(rows, ends)

# %% [markdown]
# ### Kernel 5: combine
#
# Each token collects the answers of its experts and mixes them (Shazeer et al. 2017,
# arXiv 1701.06538, eq. 1):
#
# $$\text{out}_{t} = \sum_{k} \text{gates}_{t,k} \; y_{\text{slot}_{t,k}}$$
#
# One program for each token. It reads wherever its rows lie and writes its own place only.


# %%
@triton.jit
def combine(y_ptr, gates_ptr, slot_ptr, out_ptr, d_model, K: tl.constexpr, BLOCK_D: tl.constexpr):
    token = tl.program_id(0)
    column = tl.arange(0, BLOCK_D)
    mixture = tl.zeros((BLOCK_D,), tl.float32)
    for k in range(K):
        slot = tl.load(slot_ptr + token * K + k)
        gate = tl.load(gates_ptr + token * K + k)
        mixture += gate * tl.load(y_ptr + slot * d_model + column, mask=column < d_model, other=0.0)
    tl.store(out_ptr + token * d_model + column, mixture, mask=column < d_model)


# %%
gates = torch.rand(T, K, generator=torch.Generator().manual_seed(1)).to(DEVICE)
out = empty(T, D, dtype=torch.float32)
combine[(T,)](y, gates, slot, out, D, K=K, BLOCK_D=triton.next_power_of_2(D))

# %% [markdown]
# ## Proof, part one: the same answer
#
# The library's definition of dispatch and combine, from chapter 04, is the *oracle*: it gives the
# right answer, and knows nothing of kernels. Integers are compared first, and exactly.

# %% tags=["nbval-check-output"]
from moe_teach.ops.dispatch import combine as combine_by_definition
from moe_teach.ops.dispatch import dispatch
from moe_teach.types import Routing


def routing_of(ids: Tensor, gates: Tensor, n_experts: int) -> Routing:
    """Wrap choices and gates as the library's record."""
    probs = torch.zeros(len(ids), n_experts, device=ids.device).scatter(1, ids.long(), gates)
    return Routing(probs.log(), probs, gates, ids.long())


true_rows, record = dispatch(x, routing_of(ids, gates, E), backend="reference")
assert torch.equal(record.slot, slot.long()) and torch.equal(record.token_idx, token_idx.long())
assert torch.equal(true_rows, rows) and torch.equal(record.expert_offsets, ends)
true_out = combine_by_definition(y, gates, record, backend="reference")
torch.testing.assert_close(out, true_out)
print("PASS: slots, tokens, offsets and rows equal; mixtures close")

# %% [markdown]
# One size proves little. So put the five into two functions and try awkward ones: one token, one
# expert, an expert that nobody chose, sizes that fill their blocks and sizes that do not.


# %%
def send(x: Tensor, ids: Tensor, n_experts: int, block: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Dispatch with the four kernels: rows, slot, token_idx."""
    n, top_k, d_model = ids.numel(), ids.shape[1], x.shape[1]
    blocks = triton.cdiv(n, block)
    counts, base = empty(blocks, n_experts), empty(blocks, n_experts)
    slot, token_idx = empty(*ids.shape), empty(n)
    rows = empty(n, d_model, dtype=x.dtype)
    count[(blocks,)](ids, counts, n, n_experts, BLOCK=block)
    powers = map(triton.next_power_of_2, (blocks, n_experts))
    scan[(1,)](counts, base, blocks, n_experts, *powers)
    place[(blocks,)](ids, base, slot, token_idx, n, n_experts, K=top_k, BLOCK=block)
    gather[(n, triton.cdiv(d_model, 4))](x, token_idx, rows, d_model, BLOCK_D=4)
    return rows, slot, token_idx


def bring_back(y: Tensor, gates: Tensor, slot: Tensor) -> Tensor:
    """Combine with the fifth kernel."""
    (n_tokens, top_k), d_model = slot.shape, y.shape[1]
    out = empty(n_tokens, d_model, dtype=y.dtype)
    width = triton.next_power_of_2(d_model)
    combine[(n_tokens,)](y, gates, slot, out, d_model, K=top_k, BLOCK_D=width)
    return out


# %% tags=["nbval-check-output"]
for n_tokens, n_experts, top_k, d_model in ((1, 1, 1, 1), (5, 4, 1, 3), (7, 9, 3, 5), (8, 2, 1, 4)):
    for seed in range(by_mode(full=3, fast=1)):
        few = choices(n_tokens, n_experts, top_k, seed)
        torch.manual_seed(seed)
        tokens = torch.randn(n_tokens, d_model).to(DEVICE)
        weights = torch.rand(few.shape).to(DEVICE)
        sent, where, _ = send(tokens, few, n_experts)
        truth, record = dispatch(tokens, routing_of(few, weights, n_experts), backend="reference")
        assert torch.equal(sent, truth) and torch.equal(where.long(), record.slot)
        mixed = combine_by_definition(truth, weights, record, backend="reference")
        torch.testing.assert_close(bring_back(sent, weights, where), mixed)
    print(f"PASS: {n_tokens} tokens, {n_experts} experts, {top_k} choices, width {d_model}")

# %% [markdown]
# ## Proof, part two: who touched what
#
# Equal answers are half of the proof. The race above gave equal answers too. Here is the other
# half: all five launches under one watcher.

# %%
if can_watch():
    made = {"counts": (blocks, E), "base": (blocks, E), "slot": (T, K), "token_idx": (N,)}
    t = {name: empty(*shape) for name, shape in made.items()}
    t |= {"rows": empty(N, D, dtype=torch.float32), "out": empty(T, D, dtype=torch.float32)}
    with watch(ids=ids, x=x, y=y, gates=gates, **t) as seen:
        count[(blocks,)](ids, t["counts"], N, E, BLOCK=BLOCK)
        scan[(1,)](t["counts"], t["base"], blocks, E, **sizes)
        place[(blocks,)](ids, t["base"], t["slot"], t["token_idx"], N, E, K=K, BLOCK=BLOCK)
        gather[(N, across)](x, t["token_idx"], t["rows"], D, BLOCK_D=BLOCK_D)
        combine[(T,)](y, gates, t["slot"], t["out"], D, K=K, BLOCK_D=8)


# %%
def owner_in_launch(name: str):
    """Give who stored each element, counted from 0 within its launch."""
    owner = seen.owner(name)
    starts = [launch.programs.start for launch in seen.launches]
    return owner - max(start for start in starts if start <= owner.max())


if can_watch():
    shown = {name: owner_in_launch(name) for name in ("counts", "slot", "rows", "out")}
    axes = {"counts": ("expert", "block"), "slot": ("choice", "token")}
    axes |= {"rows": ("column", "row"), "out": ("column", "token")}
    show_figure(owners(shown, names=axes))

# %% tags=["nbval-check-output"]
if can_watch():
    assert seen.races() == []
    for name in t:
        assert len(seen.unwritten(name)) == 0
        assert (seen.touch_map(name, "store").sum(axis=0) == 1).all()
    print("PASS: every element of every tensor has one owner, who stores it once")
    assert (seen.readers("y") == 1).all() and (seen.readers("x") == K).all()
    print(f"PASS: each answer is read by one program, each number of x by {K}")

# %% [markdown]
# **What to see.** Each tile is what one program stored, and the tiles are a *partition*: nothing is
# left white, nothing is stored twice. That is the property that makes the result independent of the
# order of execution. It is a statement about addresses, so it holds for all numbers that could have
# stood in `x`; a comparison of results only speaks about the numbers it saw.
#
# Most of these addresses are fixed by the sizes alone. Those of `place` are not: it stores where
# the choices tell it to. So there the proof has to be repeated for other choices.

# %% tags=["nbval-check-output"]
if can_watch():
    for seed in range(3):
        ids_2, slot_2, token_2 = choices(T, E, K, seed + 1), empty(T, K), empty(N)
        counts_2, base_2 = empty(blocks, E), empty(blocks, E)
        count[(blocks,)](ids_2, counts_2, N, E, BLOCK=BLOCK)
        scan[(1,)](counts_2, base_2, blocks, E, **sizes)
        named = {"ids": ids_2, "base": base_2, "slot": slot_2, "token_idx": token_2}
        found = verdict(place, (blocks,), *named.values(), N, E, watched=named, K=K, BLOCK=BLOCK)
        assert found == "clean" and (token_2 >= 0).all()
    print("PASS: place is clean for the choices of three more seeds, and leaves no row out")

# %% [markdown]
# ## Controls that must fail
#
# A proof that nothing fails proves nothing. Let us break the kernels, one line at a time, and ask
# three guards: the **values** against the oracle; a **margin**, spare memory behind each output
# that must stay as it was (this one works on a GPU too); and the **watcher**.

# %%
from moe_teach.judging.launching import kernel_from, source_of

MARGIN = 16


def broken(kernel, old: str, new: str):
    """Build the same kernel with one piece of its source changed."""
    source = source_of(kernel)
    assert old in source
    return kernel_from(source.replace(old, new), kernel.__name__)


def with_margin(like: Tensor) -> tuple[Tensor, Tensor]:
    """Give an output full of old numbers, and the margin behind it."""
    memory = torch.full((like.numel() + MARGIN,), -7, dtype=like.dtype, device=like.device)
    return memory[: like.numel()].view(like.shape), memory[like.numel() :]


# %%
def three_guards(kernel, grid, before: tuple, truth: Tensor, rest: tuple, names: str, **constants):
    """Say what values, margin and watcher think of one kernel."""
    out, margin = with_margin(truth)
    out.zero_()
    kernel[grid](*before, out, *rest, **constants)
    values = "right" if torch.equal(out, truth) else "WRONG"
    spill = "intact" if (margin == -7).all() else "OVERWRITTEN"
    watched = "-"
    if INTERPRETED.value:
        named = dict(zip(names.split(), (*before, out.zero_()), strict=True))
        found = verdict(kernel, grid, *before, out, *rest, watched=named, **constants)
        watched = found if found == "clean" else ("RACE" if " races" in found else "FAULT")
    return values, spill, watched


# %%
guarded_ids, _ = with_margin(ids)
guarded_ids.copy_(ids)
for_gather = ((N, across), (x, token_idx), rows, (D,), "x token_idx rows")
for_count = ((blocks,), (guarded_ids,), counts, (N, E), "ids counts")
for_sum = ((blocks,), (guarded_ids,), counts.sum(0, dtype=torch.int32), (N, E), "ids counts")
no_mask = broken(gather, "values, mask=column < d_model", "values")
half = broken(gather, "tl.load(token_idx_ptr + row)", "tl.load(token_idx_ptr + row) // 2")
too_far = broken(count, "at < n,", "at < n + 1,")
padding = broken(count, "other=n_experts", "other=0")
trials = {
    "gather as it is": (gather, for_gather, {"BLOCK_D": 4}),
    "gather, store without its mask": (no_mask, for_gather, {"BLOCK_D": 4}),
    "gather, token divided by K again": (half, for_gather, {"BLOCK_D": 4}),
    "count as it is": (count, for_count, {"BLOCK": BLOCK}),
    "count, mask one too far": (too_far, for_count, {"BLOCK": BLOCK}),
    "count, padding is expert 0": (padding, for_count, {"BLOCK": BLOCK}),
    "count together": (count_together, for_sum, {"BLOCK": BLOCK}),
}

# %% tags=["nbval-check-output"]
found = {}
for name, (kernel, setting, constants) in trials.items():
    found[name] = three_guards(kernel, *setting, **constants)
    print(f"{name:33} values {found[name][0]:5}  margin {found[name][1]:11}  {found[name][2]}")
if can_watch():
    for name, verdicts in found.items():
        assert (verdicts == ("right", "intact", "clean")) == ("as it is" in name)

# %% [markdown]
# **What to see.** Every broken kernel is caught by somebody, and nobody catches all of them: an
# access may be in order and the number wrong, or the number right and the access a trespass. Look
# at the store without its mask: the surplus lanes of row r write into row r + 1, and then program r
# + 1 comes along and puts it right. In the interpreter. On a GPU nobody promised that order.
#
# ## Larger pieces: from a row to a tile
#
# `gather` copies half a row, and its program is over. That is little work for a start, and the
# kernels that people use take larger pieces. Three steps lead there. The task is a small one:
# multiply each row by a number of its own.
#
# $$\text{out}_{r,d} = g_r \; y_{r,d}$$
#
# **Step 1: a block of rows.** Nothing says that lanes are columns. Let them be rows, and let the
# second axis of the grid say which column:


# %%
@triton.jit
def weigh_column(y_ptr, g_ptr, out_ptr, n_rows, d_model, BLOCK_N: tl.constexpr):
    row = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    at = row * d_model + tl.program_id(1)
    g = tl.load(g_ptr + row, mask=row < n_rows)
    y = tl.load(y_ptr + at, mask=row < n_rows)
    tl.store(out_ptr + at, g * y, mask=row < n_rows)


# %% tags=["nbval-check-output"]
g = torch.rand(N, generator=torch.Generator().manual_seed(2)).to(DEVICE)
weighed = empty(N, D, dtype=torch.float32)
weigh_column[(triton.cdiv(N, 4), D)](y, g, weighed, N, D, BLOCK_N=4)
assert torch.equal(weighed, g[:, None] * y)
print(f"PASS: {triton.cdiv(N, 4) * D} programs, each with 4 rows of one column")

# %%
check("9.q5", ...)

# %% [markdown]
# **Step 2: a tile.** Rows *and* columns. `row[:, None]` is a block of rows stood up as a column,
# `column[None, :]` a block of columns laid down as a line, and their sum is a tile: one offset for
# each pair. Masks make a tile in the same way, joined by `&` (Python's `and` would keep only
# one of them). Here is the last tile of our 26 rows of 6 columns.

# %%
show_figure(tile(rows=range(24, 28), columns=range(8), stride=D, shape=(N, D)))


# %%
@triton.jit
def weigh(y_ptr, g_ptr, out_ptr, n_rows, d_model, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr):
    row = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    column = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    at = row[:, None] * d_model + column[None, :]
    inside = (row < n_rows)[:, None] & (column < d_model)[None, :]
    g = tl.load(g_ptr + row, mask=row < n_rows)
    y = tl.load(y_ptr + at, mask=inside)
    tl.store(out_ptr + at, g[:, None] * y, mask=inside)


# %% [markdown]
# What has it gained? A GPU fetches memory in pieces of 32 bytes, *sectors*: eight float32 numbers,
# whether you want them all or one. The watcher knows which elements each load of `y` wanted.


# %%
def fetched(kernel, grid: tuple[int, int], **blocks: int) -> int:
    """Run a weighing kernel and count the sectors of y that its loads touch."""
    out = empty(N, D, dtype=torch.float32)
    with watch(y=y, g=g, out=out) as seen:
        kernel[grid](y, g, out, N, D, **blocks)
    assert torch.equal(out, g[:, None] * y) and not seen.races()
    loads = [access.elements for access in seen.accesses if access.buffer == "y"]
    return sum(len(set((elements // 8).tolist())) for elements in loads)


# %% tags=["nbval-check-output"]
if can_watch():
    print("step 1:", fetched(weigh_column, (7, 6), BLOCK_N=4), "sectors")
    print("step 2:", fetched(weigh, (7, 1), BLOCK_N=4, BLOCK_D=8), "sectors")
    print("all of y:", triton.cdiv(N * D, 8), "sectors")

# %% [markdown]
# Seven programs instead of 42, and each sector is fetched once. (The caches of a GPU would spare
# step 1 some of its trips, but not the asking.)
#
# **Step 3: strides.** `row * d_model` is true where rows lie one behind the other. The left part of
# a wider tensor is not like that: its rows are as far apart as the wide ones. So each tensor brings
# its own distance, and gets offsets of its own:


# %%
@triton.jit
def weigh_anywhere(
    y_ptr, g_ptr, out_ptr, n_rows, d_model, stride_y, stride_out,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    column = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    inside = (row < n_rows)[:, None] & (column < d_model)[None, :]
    g = tl.load(g_ptr + row, mask=row < n_rows)
    y = tl.load(y_ptr + row[:, None] * stride_y + column[None, :], mask=inside)
    out_at = row[:, None] * stride_out + column[None, :]
    tl.store(out_ptr + out_at, g[:, None] * y, mask=inside)


# %% tags=["nbval-check-output"]
wide = torch.zeros(N, 10, device=DEVICE)
part = wide[:, :D]
strides = y.stride(0), part.stride(0)
weigh_anywhere[(7, 1)](y, g, part, N, D, *strides, BLOCK_N=4, BLOCK_D=8)
assert torch.equal(part, g[:, None] * y) and not wide[:, D:].any()
print("PASS: rows", *strides, "numbers apart; what stands beside them is as it was")

# %% [markdown]
# Most kernels of the library have this shape: blocks, masks in both axes, strides.
#
# ## What the interpreter cannot show
#
# ### Whole numbers that end
#
# The library's kernels say `row.to(tl.int64) * stride` where you would write `row * stride`. A row
# number fits into 32 bits, and so does a width, but not always their product:


# %%
@triton.jit
def two_offsets(row_ptr, stride, out_ptr):
    row = tl.load(row_ptr)
    tl.store(out_ptr, (row * stride).to(tl.int64))
    tl.store(out_ptr + 1, row.to(tl.int64) * stride)


# %% tags=["nbval-check-output"]
row = torch.tensor([65_536 * 8], dtype=torch.int32, device=DEVICE)
offsets = empty(2, dtype=torch.int64)
two_offsets[(1,)](row, 4096, offsets)
narrow, wide = offsets.tolist()
print(f"row {row.item():,} of width 4,096: {narrow:,} in int32, {wide:,} in int64")
assert wide == 2**31 and narrow == -(2**31)

# %% [markdown]
# 65,536 tokens with 8 choices each just fit: the very last element of their rows has the number
# $2^{31} - 1$. One token more, in one batch of a long context, and there is a row 524,288. Its
# offset turns negative, and the kernel reads 8 gigabytes in front of the tensor (in float32, and 4
# gigabytes in bfloat16). No test at a small size will ever
# show it. But a large size need not take memory: a tensor may have addresses and no pages, until
# somebody touches them. So `gather`, which multiplies in int32, can be tried far out.

# %% tags=["nbval-check-output"]
from moe_teach.analysis.kernel_watch import vast

if can_watch():
    far = vast((2**19 + 1, 4096), dtype=torch.float32)  # 8 GB of addresses
    last, one_row = torch.tensor([2**19], dtype=torch.int32), empty(1, 4096, dtype=torch.float32)
    found = verdict(
        gather, (1, 1), far, last, one_row, 4096,
        watched={"x": far, "token_idx": last, "rows": one_row}, BLOCK_D=4096,
    )  # fmt: skip
    print(found)
    assert "wrapped around" in found

# %% [markdown]
# The rule is short: *widen before you multiply*.

# %%
check("9.q3", ...)

# %% [markdown]
# ### Sums in another order
#
# Combine could be written the other way round: one program for each *row*, which adds itself to its
# token atomically. No addition is lost. But they come in any order, and rounding depends on it. How
# many different results can one token get? We try every order.

# %%
from itertools import permutations


def results(terms: Tensor) -> int:
    """Count the different float32 sums that the orders of the terms give, on top of zero."""
    totals = set()
    for order in permutations(terms):
        total = torch.zeros(())
        for term in order:
            total = total + term
        totals.add(total.item())
    return len(totals)


# %% tags=["nbval-check-output"]
for top_k in (1, 2, 3, 4, 5):
    different = []
    for seed in range(3):
        different.append(results(torch.randn(top_k, generator=torch.Generator().manual_seed(seed))))
    print(f"k = {top_k}: {different} different results, on three seeds")
    assert max(different) == 1 if top_k < 3 else max(different) > 1

# %% [markdown]
# The differences stand in the last bits. They still matter: a run cannot be repeated, a bug that
# shows up at step 10,000 cannot be found by running again, and two copies of one model drift apart.
# Where each token collects its own rows, there is one order, written down in the code.

# %% [markdown]
# ## The same source, compiled
#
# A GPU never sees Python. Triton compiles the kernel, as it did above for `count`, and for any
# target. Here is `gather` for three of them: NVIDIA's A100 (sm_80) and H100 (sm_90), AMD's MI300
# (gfx942).

# %%
from moe_teach.bench.compile_only import compile_reports

signature = {"x_ptr": "*fp32", "token_idx_ptr": "*i32", "rows_ptr": "*fp32", "d_model": "i32:16"}
reports = compile_reports(gather, "gather", signature, {"BLOCK_D": 256})
for report in reports:
    print(f"{report.target:7} {report.registers:3} registers, {report.stack_bytes} bytes of stack")
    assert not report.problem and report.stack_bytes == 0

# %% [markdown]
# And this is how the middle of it looks on an H100, the lines that touch memory. `@%p` is the mask:
# each lane asks its own yes or no before it loads or stores. A `mov` of zeros, if there is one, is
# what this release of the compiler puts into the lanes that answer no.

# %%
lines = [line.strip() for line in reports[1].assembly.splitlines()]
zeros = [line for line in lines if line.startswith("mov") and line.endswith("0x0;")]
print(
    "\n".join(zeros + [line for line in lines if line.startswith("@") and ".global" in line])[:600]
)
assert any("ld.global" in line for line in lines)

# %% [markdown]
# ### What a switched-off lane holds
#
# **Triton promises nothing.** With `other`, a lane that the mask switches off holds `other`.
# Without it, the value is undefined, and each machine may do as it likes: the next release, the
# next target. A zero is the worst that can happen, because a zero looks right: it is expert 0, or a
# number that adds nothing. So the watcher puts something there that shows.


# %%
@triton.jit
def look(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(out_ptr + at, tl.load(x_ptr + at, mask=at < n))


# %%
for dtype in (torch.float32, torch.int32):
    two, seen_by = torch.ones(2, dtype=dtype, device=DEVICE), empty(4, dtype=dtype)
    look[(1,)](two, seen_by, 2, BLOCK=4)
    print(f"{dtype} here, without the watcher: {seen_by.tolist()}")
    if can_watch():
        with watch(x=two, out=seen_by) as seen:
            look[(1,)](two, seen_by, 2, BLOCK=4)
        print(f"{dtype} here, under the watcher:   {seen_by.tolist()}")
        assert not (seen_by[2:] == 0).any() and len(seen.open_loads) == 1

# %% [markdown]
# NaN spreads through every sum, and the integer is so large that whoever makes an address of it is
# stopped. The watcher also keeps the line:

# %% tags=["nbval-check-output"]
if can_watch():
    print(seen.open_loads[0].sentence)

# %% [markdown]
# Such a load is no mistake as long as nobody uses those lanes: `gather` above loads without `other`
# and stores under the same mask. `count` needs its `other`: the lanes behind the end would be
# counted.

# %% [markdown]
# Interpreted and compiled are two translations of one text, and they differ in more than speed.
# The interpreter runs programs one after the other, fills masked lanes as it likes, and multiplies
# bfloat16 matrices wrongly (chapter 10 shows that one). A compiler has bugs of its own. So the rule
# of the library: each kernel is proved here, compiled for three targets in the tests, and proved
# again, by the same tests, wherever there is a GPU.
#
# ### And the time?

# %%
if DEVICE == "cuda":
    big = torch.randn(16_384, 4_096, device=DEVICE)
    order = torch.randperm(16_384, device=DEVICE).int()
    target = torch.empty_like(big)
    grid = (len(big), 16)
    ours = triton.testing.do_bench(lambda: gather[grid](big, order, target, 4_096, BLOCK_D=256))
    copy = triton.testing.do_bench(lambda: target.copy_(big))
    print(f"{torch.cuda.get_device_name()}: gather takes {ours / copy:.2f} x the time of a copy")
else:
    print(
        "There is no GPU here, so there is nothing to time: the interpreter's time means nothing."
    )

# %% [markdown]
# ## Play with it
#
# The rows are sorted by expert now. Chapter 10 multiplies them, and for that it cuts them into
# tiles of equal height, one for each program. No tile crosses into the next expert's rows, so the
# last one of an expert may be part padding. Cut them yourself, but say first what you expect.

# %%
check("9.q4", ...)

# %%
from moe_teach.widgets.tile_map import TileMap

print("\n".join(f"{n}. {text}" for n, text in enumerate(TileMap.what_to_try, start=1)))
TileMap()

# %% [markdown]
# ## What could be wrong with this result?
#
# - **The watcher sees the interpreter's memory, not a GPU's.** It finds races between programs. It
#   cannot find a compiler's mistake, nor a race inside a program that the compiler introduces.
# - **Small sizes.** Thirteen tokens do not overflow anything, and the table of counts has four
#   rows. With 100,000 choices and 256 experts one program can no longer scan it; the library scans
#   larger tables in larger blocks.
# - **"The same bits" is a promise about order.** Another block size, another GPU or another
#   compiler may round differently. The promise holds for one program on one machine.
# - **No time was measured.** A program for each row is a lot of programs, and nothing here says
#   that these five kernels are fast. `moe-teach bench kernels` measures the library's, on a GPU.
# - **No gradients.** Training needs the way back: the gradient of gather is a combine without
#   gates, and the other way round. The library's kernels have both; chapter 10 writes one.
#
# ## Now you
#
# In the [exercises of this chapter](../exercises/09_triton_dispatch.ipynb) you write the five
# kernels in the form in which they are used: with choices that were turned away, in tiles, with
# strides and wide offsets, in half precision. The check launches each of them under the watcher, so
# a mistake is a sentence and not a crash. After that you test kernels that others have written, and
# at last you spare memory its traffic, as far as you can.
