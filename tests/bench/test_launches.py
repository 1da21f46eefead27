"""What the library would launch is read off the arguments, without doing it."""

import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="Triton has packages for Linux only")

SCRIPT = """
import torch
from moe_teach.bench.kernel_cases import Case, every_case, few_cases, run_case, with_kernels
from moe_teach.bench.launches import recorded
from moe_teach.ops.triton_host import tl, triton

@triton.jit
def kernel(x, none, ones, width, large, flag, scale, SIZE: tl.constexpr, TYPE: tl.constexpr = 3):
    pass

with recorded() as launches:
    for width in (48, 48, 50):
        x = torch.empty(3, width, dtype=torch.bfloat16, device="meta")
        kernel[(1,)](x, None, 1, width, 2**31, True, 0.5, SIZE=64, num_warps=8)
for launch in launches:
    print(dict(launch.types), dict(launch.constants), launch.blocks)
print(with_kernels())
print({case.operation for case in few_cases("sm_90")} == set(with_kernels()))
print({case.operation for case in every_case()} == set(with_kernels()))
"""


def test_launches_are_specialised_as_triton_does_it(tmp_path):
    file = tmp_path / "launching.py"  # Triton reads a kernel's source from its file
    file.write_text(SCRIPT)
    said = subprocess.run(
        [sys.executable, str(file)],
        capture_output=True,
        text=True,
        env={"PATH": "", "TRITON_INTERPRET": "0"},
    )

    lines = said.stdout.splitlines()
    assert len(lines) == 5, said.stderr
    assert lines[0] == (
        "{'x': '*bf16', 'width': 'i32:16', 'large': 'i64:16', 'flag': 'u1', 'scale': 'fp32'} "
        "{'none': None, 'ones': 1, 'SIZE': 64, 'TYPE': 3} SIZE=64 TYPE=3 warps=8"
    )
    assert "'width': 'i32'," in lines[1]
    assert lines[2] == str(
        ("route", "dispatch", "grouped_mm", "grouped_ffn", "combine", "routed_ffn")
    )
    assert lines[3:] == ["True", "True"]
