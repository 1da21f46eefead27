# %% [markdown]
# # 10b One source, many machines
#
# **Claim: the text of one kernel becomes machine code for GPUs of two makers, and on each of them
# the matrix units do the multiplying. What does not travel is a size: how much of the work may be
# on its way at once.**
#
# An appendix to [chapter 10](10_triton_experts.ipynb). Articles on AI hardware promise
# *hardware-agnostic* compilation: write once, run on anything. You need none of those machines to
# put it to the test, because a compiler needs no GPU. Nothing on this page runs on one.

# %%
import os

import torch
from torch.nn.functional import silu

from moe_teach.bench.compile_only import SHARED_LIMIT, CompileReport, compile_reports
from moe_teach.chapters.ch10_triton_experts.figures import room
from moe_teach.course import by_mode, check, mine
from moe_teach.ops.grouped_mm.fused import grouped_mm_kernel
from moe_teach.plots.style import show_figure

MACHINES = {"sm_80": "A100", "sm_90": "H100 and H200", "gfx942": "MI300"}

# %% [markdown]
# ## One text, three instructions
#
# Here is the library's grouped kernel, with which chapter 10 ended. A compiler wants to know what
# it will be called with: the type of each argument (`*bf16` is the address of numbers in bfloat16,
# `i32:16` an integer that is a multiple of 16), and the value of each constant.

# %%
pointers = ("rows", "w", "out")
tables = dict.fromkeys(("tile_expert", "tile_row", "ends"), "*i32")
counts = dict.fromkeys(("n_experts", "n_tiles"), "i32")
widths = dict.fromkeys(("n_out", "n_in", "stride_rn", "stride_we", "stride_wf"), "i32:16")


# %%
def compiled(
    block=(128, 128, 64), stages: int = 3, dtype: str = "*bf16", precision: str = "ieee"
) -> dict[str, CompileReport]:
    """Compile the grouped kernel for three machines that are not here."""
    constants = dict(zip(("BLOCK_M", "BLOCK_N", "BLOCK_K"), block, strict=True))
    constants |= {"stride_wd": 1, "GROUP_M": 8, "EVEN_K": True, "PRECISION": precision}
    types = dict.fromkeys(pointers, dtype) | tables | counts | widths
    options = {"num_stages": stages, "num_warps": 8}  # 8 x 32 threads work on one tile
    reports = compile_reports(grouped_mm_kernel, "grouped_mm_kernel", types, constants, **options)
    return {report.target: report for report in reports}


# %%
reports = compiled()
for target, report in reports.items():
    lines = report.assembly.splitlines()
    first = next(
        line for line in lines if any(n in line for n in ("mma.sync", "wgmma.mma", "mfma"))
    )
    print(f"{MACHINES[target]:13} {first.strip().split(' ')[0]}")

# %% [markdown]
# Read the endings. The A100's instruction multiplies tiles of 16 x 8 in steps of 16, bfloat16 times
# bfloat16 into float32. The H100's takes 64 rows at once and does not wait for the result
# (`async`). AMD's has another name, another shape and another order of words. Nobody wrote any of
# them: the source says `tl.dot`.
#
# ## Predict
#
# The tiles of `rows` and of `w` wait in **shared memory** until they are multiplied, and those of
# several steps of the loop (`num_stages`) at once, so that the next ones are on their way while
# these are worked on.

# %%
check("10.q5", ...)

# %% [markdown]
# ## What does not travel
#
# The same tiles, with more and more steps on their way. The compiler says how much shared memory
# each machine would need:

# %%
STAGES = by_mode(full=(2, 3, 4, 5, 6, 7), fast=(2, 4, 7))
by_stages = {stages: compiled(stages=stages) for stages in STAGES}
need = {
    target: [by_stages[stages][target].shared_bytes // 1024 for stages in STAGES]
    for target in MACHINES
}
limit = {target: SHARED_LIMIT[target] // 1024 for target in MACHINES}
print(f"calculated:         {[s * (128 + 128) * 64 * 2 // 1024 for s in STAGES]} KB")
for target, kilobytes in need.items():
    print(f"{MACHINES[target]:13} needs {kilobytes} KB, has {limit[target]}")

# %%
show_figure(room(STAGES, need, limit, MACHINES))

# %% tags=["nbval-check-output"]
fitting = {t: {s for s in STAGES if by_stages[s][t].fits} for t in MACHINES}
assert fitting["gfx942"] < fitting["sm_80"] < fitting["sm_90"]
print("PASS: what fits on an MI300 fits on an A100, what fits there on an H100, and never back")

# %% [markdown]
# **What to see.** With Triton 3.9 the H100 needs what you calculated: so many steps, times two
# tiles. For the other two this compiler keeps one step less in shared memory. An MI300 has
# 64 KB, so four stages are too many for it; seven, which only the H100 holds, are too many for an
# A100. The kernel compiles for each of them all the same. It would be the *launch* that fails,
# there, on somebody else's machine.
#
# That is what the table of chapter 10 is for. The library looks up its sizes by machine; here is
# the row for training, three times:

# %%
from moe_teach.ops.tiles import as_on, fitting_tiles

for target, generation in (("sm_80", 80), ("sm_90", 90), ("gfx942", 942)):
    with as_on(generation):
        t = fitting_tiles("product", torch.device("cpu"), torch.bfloat16, 256, 768, 2048)
    print(f"{MACHINES[target]:13} {t.block_m} x {t.block_n}, steps of {t.block_k}, "
          f"{t.num_stages} stages")  # fmt: skip

# %% [markdown]
# **The source is portable; the sizes are not.** And a size is not a detail: chapter 10 counted what
# a smaller tile fetches.
#
# ## Two controls
#
# Does the report notice when the matrix units stay idle? Take the kernel out of its element:
# float32, with `input_precision="ieee"`, that is with all 23 bits of each fraction.

# %%
check("10.q6", ...)

# %%
for dtype, precision in (("*bf16", "ieee"), ("*fp32", "ieee"), ("*fp32", "tf32")):
    reports = compiled((64, 64, 32), dtype=dtype, precision=precision)
    found = {MACHINES[t]: report.matrix_instructions for t, report in reports.items()}
    print(f"{dtype[1:]} {precision}: matrix instructions {found}")
    if (dtype, precision) == ("*fp32", "ieee"):
        assert reports["sm_80"].matrix_instructions == reports["sm_90"].matrix_instructions == 0

# %% [markdown]
# On NVIDIA's machines the matrix instructions are gone: their tensor cores have none that keeps 23
# bits, so every product goes through the ordinary circuits. AMD's matrix cores have one. The same
# source, the same numbers, and on one machine a different kind of hardware does the work; how much
# slower the others get is on no list here. With `"tf32"`, which cuts the fractions (chapter 10),
# all three are back.
#
# The second control is a kernel that must not compile. Steps of 8 are half of what a tensor core
# takes in two-byte numbers:

# %%
for target, report in compiled((64, 64, 8)).items():
    words = report.problem.strip().splitlines()
    print(f"{MACHINES[target]:13} {words[-1] if words else 'compiles'}")

# %% [markdown]
# Refused by NVIDIA's half of the compiler, accepted by AMD's, and by the interpreter, in which the
# exercises of chapter 10 use tiles of 4. "It compiles for my machine" is a sentence about one
# machine.
#
# ## Your kernel
#
# And yours, the one of exercise 10.1? Until you have written it, the course's answer stands in. One
# thing that you see here and not in the interpreter: bytes of **stack**. They are what did not fit
# into the registers, and went to slow memory instead.

# %%
kernel = mine("10.1")
types = dict.fromkeys(("x_ptr", "w_ptr", "out_ptr"), "*bf16")
names = ("token_idx_ptr", "tile_expert_ptr", "tile_begin_ptr", "tile_end_ptr")
types |= dict.fromkeys(names, "*i32")
types |= dict.fromkeys(("D", "F", "stride_e", "stride_f"), "i32:16")
blocks = {"BLOCK_ROWS": 64, "BLOCK_F": 64, "BLOCK_D": 32, "stride_d": 1}

# %%
yours = compile_reports(kernel, kernel.fn.__name__, types, blocks)
for report in yours:
    print(
        f"{MACHINES[report.target]:13} {report.registers:3} registers, {report.stack_bytes} bytes "
        f"of stack, {report.shared_bytes // 1024:2} KB shared, "
        f"{report.matrix_instructions} matrix instructions {report.problem}"
    )

# %% [markdown]
# ## The other road: no kernel at all
#
# One can also write no kernel and let `torch.compile` fuse PyTorch operations. For a GPU it writes
# Triton, for a CPU C++. Three ways to the inner rows of one expert, and one truth in float64:


# %%
def inner(rows: torch.Tensor, w_gate: torch.Tensor, w_up: torch.Tensor) -> torch.Tensor:
    """One expert's inner rows, as PyTorch says it."""
    return silu(rows @ w_gate.T) * (rows @ w_up.T)


# %%
from moe_teach.ops.grouped_mm import grouped_mm

random = torch.Generator().manual_seed(0)
rows = torch.randn(9, 20, generator=random)
w_gate, w_up = torch.randn(2, 24, 20, generator=random).unbind()
ends = torch.tensor([9], dtype=torch.int32)
by_kernel = [grouped_mm(rows, w[None], ends, backend="triton") for w in (w_gate, w_up)]
outputs = {"PyTorch": inner(rows, w_gate, w_up), "our kernel": silu(by_kernel[0]) * by_kernel[1]}

# %%
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "0")  # saves half a minute of trial compilations
try:
    outputs["torch.compile"] = torch.compile(inner, dynamic=False)(rows, w_gate, w_up)
except Exception as problem:  # no C++ compiler on this machine
    print("torch.compile cannot work here:", type(problem).__name__)

# %%
truth = inner(rows.double(), w_gate.double(), w_up.double())
for name, got in outputs.items():
    error = (got.double() - truth).abs().max().item()
    print(f"{name:14} largest error {error:.1e}")
    assert error < 1e-4

# %% [markdown]
# All agree within rounding. This cell compiled *one* expert. For a loop over ragged groups, PyTorch
# 2.13 has an operation, `torch._grouped_mm`, and its compiler has templates for it: on a recent GPU
# and when asked to try several (`max-autotune`), it writes a grouped kernel of its own, in Triton
# or CuteDSL (see `torch/_inductor/kernel/mm_grouped.py` in your installation). Whether it also
# draws the SwiGLU into that kernel, nothing here tests.

# %%
check("10.q7", ...)

# %% [markdown]
# ## What could be wrong with this result?
#
# - **Compiling is not running.** No line here ran on a GPU: not the results, not the time.
# - **Instructions in the text are not instructions carried out.** One that stands in the loop runs
#   at every step, and one H100 instruction does the work of many of an A100.
# - **One release of one compiler.** How much shared memory a number of stages takes, and what is
#   spilled to the stack, may change with the next release. Your installation prints its own
#   numbers above; the stored ones come from Triton 3.9.
# - **A kernel for all machines may be the best on none.** Whoever wants the last tenth of an H100
#   writes for the H100. The page shows that the source *can* travel, and not what the journey
#   costs.
#
# ## Where to go from here
#
# - [Chapter 10](10_triton_experts.ipynb) built this kernel, and its
#   [exercises](../exercises/10_triton_experts.ipynb) let you write one.
# - `moe-teach bench compile` prints this report for every kernel of the library, at the sizes of
#   four published models; [what came out](../results/kernels.md) is stored.
