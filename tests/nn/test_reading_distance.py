"""How far a reader has to walk to follow a layer: the files that one forward pass crosses."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import moe_teach
from moe_teach.config import MoEConfig, RouterConfig
from moe_teach.nn.moe import FusedMoE, MoE
from moe_teach.ops.backends import using
from moe_teach.ops.triton_mode import mode

PACKAGE = str(Path(moe_teach.__file__).parent)
MOST, MOST_WITH_KERNELS = 16, 20


def files_crossed(function: Callable[[], object]) -> set[str]:
    """Name the files of the library in which a function was called."""
    crossed = set()

    def hear(frame, event: str, _) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            crossed.add(frame.f_code.co_filename.removeprefix(PACKAGE))

    function()  # what is imported or looked up once is behind us
    sys.setprofile(hear)
    try:
        function()
    finally:
        sys.setprofile(None)
    return crossed


def layer(kind: type[MoE]) -> MoE:
    return kind.build(64, MoEConfig(router=RouterConfig(n_experts=8, top_k=2), d_ff=64))


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("learns", [True, False], ids=["learning", "answering"])
@pytest.mark.parametrize("n_tokens", [1, 64, 2000])
@pytest.mark.parametrize("kind", [MoE, FusedMoE])
def test_a_forward_pass_on_a_cpu_crosses_few_files(kind, n_tokens: int, learns: bool) -> None:
    moe, x = layer(kind), torch.randn(n_tokens, 64)
    with torch.set_grad_enabled(learns):
        crossed = files_crossed(lambda: moe(x))
    assert 5 < len(crossed) <= MOST, sorted(crossed)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.skipif(mode() != "interpreted", reason="kernels are not interpreted")
def test_with_kernels_it_crosses_a_few_more() -> None:
    moe, x = layer(FusedMoE), torch.randn(5, 64)
    with using(route="triton", routed_ffn="triton"):
        crossed = files_crossed(lambda: moe(x))
    assert MOST < len(crossed) <= MOST_WITH_KERNELS, sorted(crossed)
