"""The compile-only check as a table, and what in it would be wrong."""

from collections.abc import Iterable, Iterator

from moe_teach.bench.compile_only import SHARED_LIMIT, CompileReport

HEADER = (
    "kernel",
    "target",
    "type",
    "constants",
    "registers",
    "stack B",
    "shared KB",
    "tensor cores",
    "async copies",
)
# Bytes of stack per thread that may be used: the compiler keeps a few scalars there at times.
MOST_STACK = 32


def report_cells(report: CompileReport) -> tuple[str, ...]:
    """Give the cells of one line, as text; a kernel that does not compile says so."""
    what = (report.kernel, report.target, report.dtype or "?", report.blocks)
    if report.problem:
        return (*what, "does not compile: " + report.problem.splitlines()[-1], "", "", "", "")
    copies = report.instructions.get("cp.async", 0) + report.instructions.get("cp.async.bulk", 0)
    return (
        *what,
        str(report.registers),
        str(report.stack_bytes),
        f"{report.shared_bytes / 1024:.0f}",
        str(report.matrix_instructions),
        str(copies),
    )


def faults(reports: Iterable[CompileReport]) -> Iterator[str]:
    """Say in sentences which kernels a GPU would refuse, or run much slower than it could."""
    for report in reports:
        name = f"{report.kernel} ({report.blocks}) on {report.target}"
        if report.problem:
            yield f"{name} does not compile: {report.problem}"
        elif not report.fits:
            limit = SHARED_LIMIT[report.target]
            yield f"{name} wants {report.shared_bytes} bytes of shared memory; there are {limit}."
        elif report.stack_bytes > MOST_STACK:
            yield f"{name} spills: it keeps {report.stack_bytes} bytes per thread in memory."
        elif multiplies(report) and not report.matrix_instructions:
            yield f"{name} multiplies {report.dtype} without the tensor cores."


def multiplies(report: CompileReport) -> bool:
    """Tell whether tensor cores are to be expected: a matmul in two-byte numbers.

    Every kernel of ours that calls `tl.dot` has a constant that says how precisely.
    """
    return report.dtype in ("bf16", "fp16") and "PRECISION=" in report.blocks
