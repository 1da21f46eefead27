"""Triton is for those who ask for it."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from moe_teach.ops import operation
from moe_teach.ops.operation import Kernel, imported
from moe_teach.ops.routed_ffn import ROUTED_FFN, routed_ffn
from moe_teach.ops.triton_mode import mode
from moe_teach.types import ExpertWeights, Routing

without_triton = pytest.mark.skipif(mode() == "absent", reason="Triton is not installed")


def test_a_layer_is_built_and_run_without_triton() -> None:
    code = """
import sys, torch
from moe_teach.config import MoEConfig, RouterConfig
from moe_teach.nn.moe import MoE
moe = MoE.build(8, MoEConfig(router=RouterConfig(n_experts=4, top_k=2), d_ff=8))
with torch.no_grad():
    moe(torch.randn(3, 8))
assert "triton" not in sys.modules, "who asks for no kernel needs no Triton"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_triton_a_kernel_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation, "mode", lambda: "absent")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'moe-teach\[kernels\]'"):
        imported(Kernel("moe_teach.ops.dispatch.fused:never_imported"))


def test_a_kernel_is_found_when_it_is_picked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation, "mode", lambda: "interpreted")
    assert imported(Kernel("math:hypot"))(3.0, 4.0) == 5.0


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    "backend",
    [pytest.param(b, marks=without_triton) if b == "triton" else b for b in ROUTED_FFN.backends],
)
def test_an_expert_that_does_not_exist_is_refused_in_the_same_words_by_all(backend: str) -> None:
    weights = ExpertWeights(torch.zeros(2, 3, 4), torch.zeros(2, 4, 3))
    for expert_id in (2, -1, 2**40):
        expert_ids = torch.tensor([[0], [expert_id]])
        routing = Routing(torch.zeros(2, 2), torch.ones(2, 2), torch.ones(2, 1), expert_ids)
        with pytest.raises(ValueError, match=f"{expert_id}, but the experts are numbered 0"):
            routed_ffn(torch.zeros(2, 4), routing, weights, "relu", backend=backend)


def test_answers_in_bfloat16_are_mixed_in_float32_one_by_one_too() -> None:
    n_experts, width = 8, 64
    matrices = torch.randn(2, n_experts, width, width, dtype=torch.bfloat16) / 8
    everyone = torch.arange(n_experts).expand(16, -1)
    routing = Routing(torch.zeros(16, 8), torch.ones(16, 8), torch.rand(16, 8), everyone)
    x = torch.randn(16, width, dtype=torch.bfloat16)
    exact = replace(routing, gates=routing.gates.double())
    expected = routed_ffn(x.double(), exact, ExpertWeights(*matrices.double()), "relu")
    with torch.no_grad():
        errors = {
            backend: (routed_ffn(x, routing, ExpertWeights(*matrices), "relu", backend=backend))
            .sub(expected)
            .norm()
            for backend in ("each", "parts")
        }
    # Both round each answer once and the mixture once; a sum in bfloat16 rounds eight times more.
    assert errors["each"] < 1.2 * errors["parts"]
