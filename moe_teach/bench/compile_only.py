"""Compile kernels for GPUs that are not there, and say what they would need.

Triton brings the whole compiler along: a kernel becomes PTX and machine code for an A100 (sm_80),
an H100 or H200 (sm_90) and AMD's MI300 (gfx942) on any Linux machine. Nothing runs. What can be
read off is whether it compiles at all, registers and stack per thread, shared memory per block,
and whether the tensor cores and the asynchronous copies are used.

    report = compile_report(source, "copy_kernel", {"x": "*bf16", "n": "i32"}, {"BLOCK": 128})
    report.registers, report.instructions["ld.global"], report.assembly
"""

import inspect
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

# Bytes of shared memory that one block may use.
SHARED_LIMIT = {"sm_80": 163 * 1024, "sm_90": 227 * 1024, "gfx942": 64 * 1024}
TARGETS = tuple(SHARED_LIMIT)
_SHORT_OF_THREADS = {"OMP_NUM_THREADS": "1"}


class DoesNotCompile(ValueError):
    """The compiler refused a kernel; the message is the compiler's own."""


@dataclass(frozen=True)
class CompileReport:
    """What one kernel needs on one target."""

    kernel: str
    target: str
    registers: int = 0  # per thread
    stack_bytes: int = 0  # per thread: registers that did not fit were spilled here
    shared_bytes: int = 0  # per block
    instructions: Mapping[str, int] = field(default_factory=dict)  # how often in the program text
    assembly: str = field(default="", repr=False)  # PTX, or AMD's assembly
    problem: str = ""  # why it does not compile
    blocks: str = ""  # the library's kernels: constants and options
    dtype: str = ""
    case: str = ""  # the operation and the sizes that launch it

    @property
    def fits(self) -> bool:
        """Whether it compiles and a block's shared memory exists on the target."""
        return not self.problem and self.shared_bytes <= SHARED_LIMIT.get(self.target, 2**63)

    @property
    def matrix_instructions(self) -> int:
        """How many instructions of the tensor cores (AMD: matrix cores) the program has."""
        return sum(self.instructions.get(name, 0) for name in ("mma.sync", "wgmma", "mfma"))


def compile_report(
    kernel_source: str | Callable,
    kernel_name: str,
    signature: Mapping[str, str],
    constexprs: Mapping[str, Any],
    target: str = "sm_90",
    *,
    num_warps: int = 4,
    num_stages: int = 3,
) -> CompileReport:
    """Compile somebody's kernel for one target, in a process of its own.

    Args:
        kernel_source: Python text with the decorated kernel and whatever it calls, or the kernel
            itself, whose source is then looked up.
        kernel_name: the kernel's name in that source.
        signature: the type of each argument that is not a `tl.constexpr`: "*bf16" is a pointer,
            "i32" an integer, "i32:16" one that is a multiple of 16, "fp32" a float.
        constexprs: the value of every `tl.constexpr`.
        target: "sm_80", "sm_90", "gfx942", or another name of that kind.
        num_warps: groups of 32 (AMD: 64) threads in one block.
        num_stages: how many turns of a loop are in flight at once.

    Raises:
        DoesNotCompile: with the compiler's words, if it refuses the kernel.
    """
    reports = compile_reports(
        kernel_source,
        kernel_name,
        signature,
        constexprs,
        [target],
        num_warps=num_warps,
        num_stages=num_stages,
    )
    if reports[0].problem:
        raise DoesNotCompile(f"{kernel_name} for {target}: {reports[0].problem}")
    return reports[0]


def compile_reports(
    kernel_source: str | Callable,
    kernel_name: str,
    signature: Mapping[str, str],
    constexprs: Mapping[str, Any],
    targets: Sequence[str] = TARGETS,
    *,
    num_warps: int = 4,
    num_stages: int = 3,
) -> list[CompileReport]:
    """Compile one kernel for several targets in one process; a refusal stands in `problem`."""
    task = {
        "source": kernel_source if isinstance(kernel_source, str) else source_of(kernel_source),
        "kernel": kernel_name,
        "signature": dict(signature),
        "constexprs": dict(constexprs),
        "targets": list(targets),
        "options": {"num_warps": num_warps, "num_stages": num_stages},
    }
    return [CompileReport(**facts) for facts in in_own_process(task)]


def library_reports(
    cases: Literal["few", "every"], targets: Sequence[str] = TARGETS, *, progress: bool = False
) -> list[CompileReport]:
    """Compile the library's own kernels at the sizes of published models.

    It takes a second or two for each, minutes for every one; `progress` names them on stderr.
    """
    task = {"cases": cases, "targets": list(targets)}
    return [CompileReport(**facts) for facts in in_own_process(task, progress)]


def source_of(kernel: Callable) -> str:
    """Give the source of a kernel, preceded by the kernels it calls and the numbers it reads."""
    pieces: dict[str, str] = {}
    _collect(kernel, pieces)
    return "\n\n".join(reversed(pieces.values()))


def _collect(kernel: Any, pieces: dict[str, str]) -> None:
    function = getattr(kernel, "fn", kernel)
    pieces[function.__name__] = textwrap.dedent(inspect.getsource(function))
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if name in pieces or name == "INTERPRETED":
            continue
        if hasattr(value, "fn") and inspect.isfunction(value.fn):  # another kernel
            _collect(value, pieces)
        elif hasattr(value, "value") and not inspect.ismodule(value):  # a tl.constexpr
            pieces[name] = f"{name} = tl.constexpr({value.value!r})"


def in_own_process(task: Mapping[str, Any], progress: bool = False) -> list[dict[str, Any]]:
    """Hand a task to `moe_teach.bench.compile_job` in a new process that compiles.

    Raises:
        RuntimeError: with the end of its messages, if the process itself breaks.
    """
    with tempfile.TemporaryDirectory() as folder:
        task_file, result_file = Path(folder, "task.json"), Path(folder, "result.json")
        task_file.write_text(json.dumps(task))
        command = [sys.executable, "-m", "moe_teach.bench.compile_job"]
        # With 0 the interpreter stays off even where there is no GPU.
        environment = {**os.environ, **_SHORT_OF_THREADS, "TRITON_INTERPRET": "0"}
        process = subprocess.run(
            [*command, str(task_file), str(result_file)],
            stdout=subprocess.DEVNULL,
            stderr=None if progress else subprocess.PIPE,
            text=True,
            env=environment,
        )
        if process.returncode:
            said = (process.stderr or "Its messages stand above.")[-2000:]
            raise RuntimeError(f"The compiling process failed:\n{said}")
        return json.loads(result_file.read_text())
