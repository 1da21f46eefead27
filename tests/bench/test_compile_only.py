"""Kernels compile for GPUs that are not there, and what they would need can be read off."""

import pytest

pytest.importorskip("triton", reason="Triton has packages for Linux only")

from moe_teach.bench.compile_only import (
    TARGETS,
    DoesNotCompile,
    compile_report,
    compile_reports,
    in_own_process,
    source_of,
)
from moe_teach.ops.triton_host import tl, triton

TYPES = {"x": "*bf16", "w": "*bf16", "out": "*bf16", "width": "i32:16"}
LANES = tl.constexpr(64)


@triton.jit
def doubled(values):
    return values * 2


@triton.jit
def double(x, out, n_elements):
    lanes = tl.program_id(0) * LANES + tl.arange(0, LANES)
    inside = lanes < n_elements
    tl.store(out + lanes, doubled(tl.load(x + lanes, mask=inside)), mask=inside)


@triton.jit
def matmul(x, w, out, width, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    rows, columns, inner = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    total = tl.zeros((M, N), tl.float32)
    for start in range(0, width, K):
        left = tl.load(x + rows[:, None] * width + start + inner[None, :])
        right = tl.load(w + columns[:, None] * width + start + inner[None, :])
        total = tl.dot(left, right.T, total)
    tl.store(out + rows[:, None] * N + columns[None, :], total.to(tl.bfloat16))


def test_a_matmul_uses_the_tensor_cores_of_every_target():
    sizes = {"M": 64, "N": 128, "K": 64}
    reports = {r.target: r for r in compile_reports(matmul, "matmul", TYPES, sizes)}

    assert list(reports) == list(TARGETS)
    for report in reports.values():
        assert report.fits, report.problem
        assert report.matrix_instructions > 0
        assert 0 < report.registers <= 512
        assert report.stack_bytes == 0
        assert report.shared_bytes > 0
    assert reports["sm_80"].instructions["cp.async"] > 0
    assert reports["sm_80"].instructions["wgmma"] == 0 < reports["sm_90"].instructions["wgmma"]
    assert ".target sm_90" in reports["sm_90"].assembly


def test_a_tile_too_large_for_the_registers_spills_and_one_too_large_for_the_block_does_not_fit():
    sizes = {"M": 256, "N": 128, "K": 128}
    report = compile_report(matmul, "matmul", TYPES, sizes, "sm_80", num_warps=4, num_stages=3)

    assert report.stack_bytes > 0
    assert report.shared_bytes > 163 * 1024
    assert not report.fits


def test_a_kernel_brings_along_the_kernels_and_constants_it_uses():
    report = compile_report(
        double, "double", {"x": "*fp32", "out": "*fp32", "n_elements": "i32"}, {}
    )

    assert report.instructions["ld.global"] == report.instructions["st.global"] > 0
    assert report.matrix_instructions == 0
    source = source_of(double)
    assert source.index("LANES = tl.constexpr(64)") < source.index("def double(")
    assert "def doubled(" in source


def test_the_compilers_complaint_reaches_the_caller():
    broken = source_of(double).replace("constexpr(64)", "constexpr(60)")
    types = {"x": "*fp32", "out": "*fp32", "n_elements": "i32"}

    with pytest.raises(DoesNotCompile, match=r"double for sm_90: [\s\S]*must be a power of 2"):
        compile_report(broken, "double", types, {})


def test_a_source_that_does_not_even_import_is_a_complaint_too():
    with pytest.raises(DoesNotCompile, match="SyntaxError"):
        compile_report("def kernel(:", "kernel", {}, {})
    with pytest.raises(DoesNotCompile, match="no attribute 'other'"):
        compile_report(source_of(double), "other", {}, {})


def test_a_broken_process_says_what_broke():
    with pytest.raises(RuntimeError, match=r"The compiling process failed:[\s\S]*KeyError"):
        in_own_process({"nonsense": 1})
