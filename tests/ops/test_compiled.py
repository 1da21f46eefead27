"""torch.compile gives the layer's own answer, and kernels stay inside one graph.

The checks run in one process of their own: torch's compiler cannot follow the shape checks that
are switched on in the tests. Run this file as a script to see what each of them says.
"""

import json
import subprocess
import sys
import traceback

import pytest
import torch
from torch import Tensor

from moe_teach.config import MoEConfig, RouterConfig
from moe_teach.nn.moe import FusedMoE, MoE
from moe_teach.ops.backends import using
from moe_teach.ops.route import route
from moe_teach.ops.triton_mode import choose_mode


def layer(kind: type[MoE], dtype: torch.dtype = torch.float32, **limits) -> MoE:
    config = MoEConfig(router=RouterConfig(n_experts=8, top_k=2), d_ff=32, **limits)
    return kind.build(16, config).to(dtype)


def assert_same(moe: MoE, compiled, x: Tensor, rtol: float = 1e-4) -> None:
    """Compare answers and all gradients, relative to the largest number of each."""
    found = []
    for function in (compiled, moe):
        y = function(x)[0]
        found.append([y.detach(), *torch.autograd.grad(y.square().sum(), list(moe.parameters()))])
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, atol=rtol * wanted.abs().max().item(), rtol=0)


def compile_in_a_precision(kind: type[MoE], dtype: torch.dtype, n_tokens: int) -> None:
    moe, x = layer(kind, dtype), torch.randn(n_tokens, 16).to(dtype)
    compiled = torch.compile(moe, backend="aot_eager")
    rtol = 5e-2 if dtype == torch.bfloat16 else 1e-4
    assert_same(moe, compiled, x, rtol)
    with torch.no_grad():
        expected = moe(x)[0]
        torch.testing.assert_close(compiled(x)[0], expected, atol=rtol, rtol=rtol)


def demand_one_graph() -> None:
    compiled = torch.compile(layer(MoE), backend="eager", fullgraph=True)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="how many rows an expert has is known"):
        compiled(torch.randn(5, 16))


def compile_the_router() -> None:
    config, bias = RouterConfig(n_experts=4, top_k=2, score_fn="sigmoid"), torch.randn(4) / 10
    compiled = torch.compile(
        lambda x, w: route(x, w, bias, config), backend="aot_eager", fullgraph=True
    )
    x, weight = torch.randn(5, 4), torch.randn(4, 4, requires_grad=True)
    got, expected = compiled(x, weight), route(x, weight, bias, config)
    assert torch.equal(got.expert_ids, expected.expert_ids)
    torch.testing.assert_close(got.gates, expected.gates)
    slopes = [torch.autograd.grad(made.gates[:, 0].sum(), weight)[0] for made in (got, expected)]
    torch.testing.assert_close(*slopes)
    x[2, 1] = torch.inf
    with pytest.raises(ValueError, match="logits of 1 of 5 tokens are NaN or infinite"):
        compiled(x, torch.eye(4))


def compile_kernels(kind: type[MoE], *operations: str) -> None:
    moe = layer(kind)
    with using(**dict.fromkeys(operations, "triton")):
        compiled = torch.compile(moe, backend="aot_eager", fullgraph=True)
        assert_same(moe, compiled, torch.randn(5, 16))


def compile_with_drops(kind: type[MoE], policy: str, *operations: str) -> None:
    moe = layer(kind, capacity_factor=0.55, drop_policy=policy)
    with using(**dict.fromkeys(operations, "triton")):
        compiled = torch.compile(moe, backend="aot_eager", fullgraph=True)
        for n_tokens in (12, 20):  # so few first, then another number of rows
            x = torch.randn(n_tokens, 16)
            assert_same(moe, compiled, x)
            kept, expected = compiled(x)[1].kept, moe(x)[1].kept
            assert kept.equal(expected) and not kept.all()


CHECKS = {
    "few tokens in float32": lambda: compile_in_a_precision(MoE, torch.float32, 2),
    "many tokens in float32": lambda: compile_in_a_precision(FusedMoE, torch.float32, 200),
    "few tokens in bfloat16": lambda: compile_in_a_precision(FusedMoE, torch.bfloat16, 2),
    "many tokens in bfloat16": lambda: compile_in_a_precision(MoE, torch.bfloat16, 200),
    "who demands one graph is told why there are two": demand_one_graph,
    "the router is one graph and refuses broken logits": compile_the_router,
}
WITH_KERNELS = {
    "kernels in one operation are one graph": lambda: compile_kernels(
        FusedMoE, "route", "routed_ffn"
    ),
    "kernels part by part are one graph": lambda: compile_kernels(
        MoE, "route", "dispatch", "grouped_ffn", "combine"
    ),
    "a capacity that drops leaves kernels in one operation one graph": lambda: compile_with_drops(
        FusedMoE, "first_come", "route", "routed_ffn"
    ),
    "a capacity that drops leaves kernels part by part one graph": lambda: compile_with_drops(
        MoE, "by_gate", "route", "dispatch", "grouped_ffn", "combine"
    ),
}


def main() -> None:
    """Run every check and print what went wrong, by its name."""
    checks = CHECKS | (WITH_KERNELS if choose_mode() == "interpreted" else {})
    said = {}
    for name, check in checks.items():
        torch.manual_seed(0)
        torch._dynamo.reset()
        try:
            check()
            said[name] = ""
        except Exception:
            said[name] = traceback.format_exc()
    print(json.dumps(said))


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    command = [sys.executable, "-W", "error:Dynamo detected", __file__]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", CHECKS | WITH_KERNELS)
def test_a_compiled_layer_is_the_layer(said: dict[str, str], name: str) -> None:
    if name not in said:
        pytest.skip("kernels are not interpreted here")
    assert not said[name], said[name]


if __name__ == "__main__":
    main()
