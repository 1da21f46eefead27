"""The inside of the compile-only check: runs in a process of its own, where Triton compiles.

    python -m moe_teach.bench.compile_job TASK.json RESULT.json

A process that interprets kernels cannot compile them, so `moe_teach.bench.compile_only` starts
this one. The task names the kernels; the result holds one record of facts for each kernel and
target, or the compiler's complaint.
"""

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

ALIGNED = ":16"  # follows a type in a signature: the address or number is a multiple of 16
_DIVISIBLE = [["tt.divisibility", 16]]
_WARP_SIZE = {"cuda": 32, "hip": 64}
# What to look for in the assembly: instruction -> pattern, for NVIDIA and for AMD.
_INSTRUCTIONS = {
    "cuda": {
        "mma.sync": r"mma\.sync",
        "wgmma": r"wgmma\.mma_async",
        "cp.async": r"cp\.async\.c[ag]\.",
        "cp.async.bulk": r"cp\.async\.bulk\.tensor",
        "ld.global": r"\bld\.global",
        "st.global": r"\bst\.global",
        "atomic": r"\b(?:atom|red)\.",
    },
    "hip": {
        "mfma": r"\bv_mfma_",
        "load": r"\b(?:global|buffer)_load_",
        "store": r"\b(?:global|buffer)_store_",
        "atomic": r"\b(?:global|buffer)_atomic_",
    },
}
Facts = dict[str, Any]


def gpu_target(name: str) -> GPUTarget:
    """Turn "sm_90" or "gfx942" into Triton's record of a target."""
    if name.startswith("sm_"):
        return GPUTarget("cuda", int(name.removeprefix("sm_")), _WARP_SIZE["cuda"])
    return GPUTarget("hip", name, _WARP_SIZE["hip"])


def compile_one(
    kernel: Any, signature: dict[str, str], constexprs: dict[str, Any], target: str, options: Facts
) -> Facts:
    """Compile one kernel for one target and read off what it needs.

    `signature` gives a type to every parameter that is not in `constexprs`, for example "*bf16",
    "i32", or "i32:16" for a number known to be a multiple of 16. Pointers always count as aligned
    to 16 bytes, because torch's allocator aligns them.
    """
    types = {name: signature.get(name, "constexpr") for name in kernel.arg_names}
    aligned = [n for n, t in types.items() if t.startswith("*") or t.endswith(ALIGNED)]
    attributes = {(kernel.arg_names.index(name),): _DIVISIBLE for name in aligned}
    bare = {name: kind.removesuffix(ALIGNED) for name, kind in types.items()}
    source = ASTSource(kernel, bare, constexprs, attributes)
    return facts_of(triton.compile(source, target=gpu_target(target), options=options))


def facts_of(compiled: Any) -> Facts:
    """Read registers, shared memory, stack and instructions off a compiled kernel."""
    backend = compiled.metadata.target.backend
    text = compiled.asm["ptx" if backend == "cuda" else "amdgcn"]
    patterns = _INSTRUCTIONS[backend]
    registers, stack = _nvidia(compiled.asm["cubin"]) if backend == "cuda" else _amd(text)
    return {
        "registers": registers,
        "stack_bytes": stack,
        "shared_bytes": compiled.metadata.shared,
        "instructions": {name: len(re.findall(p, text)) for name, p in patterns.items()},
        "assembly": text,
    }


def _nvidia(cubin: bytes) -> tuple[int, int]:
    """Ask the bundled cuobjdump for registers and bytes of stack per thread."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "kernel.cubin")
        file.write_bytes(cubin)
        command = [str(tool), "-res-usage", str(file)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    number = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", said)}
    return number["REG"], number["STACK"] + number["LOCAL"]


def _amd(text: str) -> tuple[int, int]:
    """Read vector registers and bytes of private memory per thread off the assembly's notes."""
    count = {
        key: int(re.findall(rf"\.{key}:\s+(\d+)", text)[-1])
        for key in ("vgpr_count", "private_segment_fixed_size")
    }
    return count["vgpr_count"], count["private_segment_fixed_size"]


def load_source(text: str, folder: Path) -> ModuleType:
    """Execute a kernel's source from a file, where Triton can read it again.

    `triton`, `tl` and `INTERPRETED` are there whether the source imports them or not.
    """
    file = folder / "kernel_source.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location("kernel_source", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kernel_source"] = module
    vars(module).update(triton=triton, tl=tl, INTERPRETED=tl.constexpr(False))
    spec.loader.exec_module(module)
    return module


def complaint(problem: Exception) -> str:
    """Give the compiler's own words, which often stand in the cause and not in the error."""
    causes = [problem]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    return "\n".join(f"{type(cause).__name__}: {cause}" for cause in causes)


def run_source(task: Facts, folder: Path) -> list[Facts]:
    """Compile the kernel of one source for every target that the task names."""
    results = []
    for target in task["targets"]:
        try:
            kernel = getattr(load_source(task["source"], folder), task["kernel"])
            facts = compile_one(
                kernel, task["signature"], task["constexprs"], target, task["options"]
            )
        except Exception as problem:  # whatever the source or the compiler raises is the answer
            facts = {"problem": complaint(problem)}
        results.append({"kernel": task["kernel"], "target": target, **facts})
    return results


def run_cases(task: Facts) -> list[Facts]:
    """Compile the library's kernels: every one, or the few that stand for all."""
    # Not at the top: who compiles a single source should not wait for torch.
    from moe_teach.bench.kernel_cases import every_case, few_cases
    from moe_teach.bench.launches import run_library

    results = []
    for target in task["targets"]:
        cases = every_case() if task["cases"] == "every" else few_cases(target)
        for facts in run_library(cases, target):
            results.append(facts)
            print(facts["kernel"], target, facts["blocks"], file=sys.stderr, flush=True)
    return results


def main(task_file: str, result_file: str) -> None:
    """Do the task of one file and write the results to the other."""
    task = json.loads(Path(task_file).read_text())
    if "cases" in task:
        results = run_cases(task)
    else:
        results = run_source(task, Path(task_file).parent)
    Path(result_file).write_text(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
