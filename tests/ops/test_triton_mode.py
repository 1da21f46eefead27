"""Kernels know where they run before Triton is imported, and say so when it is too late."""

import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="Triton has packages for Linux only")


def run(script: str) -> str:
    environment = {"PATH": "", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    return process.stdout + process.stderr


def test_without_a_gpu_kernels_are_interpreted() -> None:
    said = run(
        "from moe_teach.ops.triton_host import INTERPRETED, triton\n"
        "print(INTERPRETED.value, triton.knobs.runtime.interpret)"
    )

    assert said.split() == ["True", "True"]


def test_choosing_the_mode_does_not_import_triton() -> None:
    said = run(
        "import sys\nfrom moe_teach.ops.triton_mode import choose_mode\n"
        "print(choose_mode(), 'triton' in sys.modules)"
    )

    assert said.split() == ["interpreted", "False"]


def test_a_triton_that_came_first_is_named_with_the_way_out() -> None:
    said = run("import triton\nfrom moe_teach.ops import triton_host")

    assert "set the environment variable TRITON_INTERPRET=1" in said
    assert "restart" in said


def test_a_missing_triton_is_named_with_the_way_to_get_it() -> None:
    said = run(
        "import importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name == 'triton' else find(name)\n"
        "import moe_teach.ops.triton_host"
    )

    assert "Triton, which is not installed here. On Linux: type `make setup`" in said


def test_a_kernel_refuses_tensors_it_cannot_reach() -> None:
    said = run(
        "import torch\nfrom moe_teach.ops.demand import demand_operands\n"
        "x, w = torch.zeros(2), torch.zeros(2, device='meta')\n"
        "demand_operands((torch.float32,), x=x, w=w)"
    )

    assert "x is on cpu, w is on meta" in said


def test_a_compiling_process_refuses_tensors_of_the_cpu() -> None:
    said = run(
        "import os\nos.environ['TRITON_INTERPRET'] = '0'\nimport torch\n"
        "from moe_teach.ops.demand import demand_operands\n"
        "demand_operands((torch.float32,), x=torch.zeros(2))"
    )

    assert "x is on the CPU, but Triton compiles for a GPU in this process" in said


def test_a_user_who_asks_for_the_compiler_gets_it_without_a_gpu() -> None:
    said = run(
        "import os\nos.environ['TRITON_INTERPRET'] = '0'\nimport triton\n"
        "from moe_teach.ops.triton_host import INTERPRETED\nprint(INTERPRETED.value)"
    )

    assert said.split() == ["False"]
