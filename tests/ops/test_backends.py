"""Triton is for those who ask for it."""

import subprocess
import sys

import pytest
import torch

from moe_teach.ops import backends
from moe_teach.ops.backends import kernel_of
from moe_teach.ops.routed_ffn import routed_ffn
from moe_teach.types import ExpertWeights, Routing


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
    monkeypatch.setattr(backends, "mode", lambda: "absent")
    kernel = kernel_of("moe_teach.ops.combine.fused", "combine_triton")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'moe-teach\[kernels\]'"):
        kernel()


def test_a_kernel_is_found_when_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "mode", lambda: "interpreted")
    assert kernel_of("math", "hypot")(3.0, 4.0) == 5.0


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("backend", ["parts", "each"])
def test_an_expert_that_does_not_exist_is_never_visited(backend: str) -> None:
    weights = ExpertWeights(torch.zeros(2, 3, 4), torch.zeros(2, 4, 3))
    for expert_id in (2, -1):
        expert_ids = torch.tensor([[0], [expert_id]])
        routing = Routing(torch.zeros(2, 2), torch.ones(2, 2), torch.ones(2, 1), expert_ids)
        with pytest.raises((ValueError, RuntimeError), match=r"numbered 0 to 1|non-negative"):
            routed_ffn(torch.zeros(2, 4), routing, weights, "relu", backend=backend)
