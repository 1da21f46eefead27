"""The layer composes its parts, and any part can be another."""

import pytest
import torch
from torch import Tensor, nn

from moe_teach.config import MoEConfig, RouterConfig
from moe_teach.nn.experts import Experts
from moe_teach.nn.feed_forward import FeedForward
from moe_teach.nn.moe import FusedMoE, MoE
from moe_teach.nn.router import Router
from moe_teach.ops.backends import using
from moe_teach.ops.grouped_ffn import grouped_ffn
from moe_teach.ops.operation import listening
from moe_teach.types import ExpertWeights, Routing


def a_moe(d_model: int = 16, **options) -> MoE:
    return MoE.build(d_model, settings(**options))


def settings(**options) -> MoEConfig:
    router = options.pop("router", RouterConfig(n_experts=4, top_k=2))
    return MoEConfig(router=router, d_ff=24, **options)


@pytest.mark.parametrize("shape", [(16,), (7, 16), (2, 5, 16), (2, 0, 16), (2, 3, 4, 16)], ids=str)
def test_the_layer_takes_any_leading_shape(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    y, routing = a_moe()(x)
    assert y.shape == x.shape and len(routing.probs) == x.numel() // 16


def test_every_parameter_learns_from_the_task() -> None:
    moe = a_moe(n_shared_experts=1)
    y, _ = moe(torch.randn(64, 16))
    y.square().mean().backward()
    for name, parameter in moe.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_the_shared_expert_is_added_to_every_token() -> None:
    moe, x = a_moe(n_shared_experts=2), torch.randn(9, 16)
    y, _ = moe(x)
    shared, moe.shared_expert = moe.shared_expert, None
    assert shared.w_up.out_features == 48, "two shared experts are one of twice the width"
    torch.testing.assert_close(y, moe(x)[0] + shared(x))


def test_one_expert_is_a_dense_feed_forward() -> None:
    moe, x = a_moe(router=RouterConfig(n_experts=1, top_k=1)), torch.randn(9, 16)
    dense = FeedForward(16, 24)
    with torch.no_grad():
        dense.w_up.weight.copy_(moe.experts.w_up[0])
        dense.w_gate.weight.copy_(moe.experts.w_gate[0])
        dense.w_down.weight.copy_(moe.experts.w_down[0])
    torch.testing.assert_close(moe(x)[0], dense(x))


def test_a_tight_capacity_drops_and_a_wide_one_does_not() -> None:
    x = torch.randn(1, 16).expand(20, 16)  # everybody wants the same two experts
    _, tight = a_moe(capacity_factor=1.0)(x)
    _, wide = a_moe(capacity_factor=2.0)(x)
    assert tight.kept.sum(dim=0).tolist() == [10, 10]
    assert wide.kept.all()


def test_a_foreign_router_and_foreign_experts_drop_in() -> None:
    class Hash(nn.Module):
        """Sends token t to expert t mod E, as a learner's first router might."""

        def forward(self, x: Tensor, token_ids: Tensor | None) -> Routing:
            ids = (torch.arange(len(x)) % 3)[:, None]
            ones = torch.ones(len(x), 1)
            return Routing(torch.zeros(len(x), 3), torch.full((len(x), 3), 1 / 3), ones, ids)

    class Multiply(nn.Module):
        """Expert e multiplies by e + 1."""

        def forward(self, rows: Tensor, expert_offsets: Tensor) -> Tensor:
            sizes = expert_offsets.diff(prepend=expert_offsets.new_zeros(1))
            return rows * (1 + torch.repeat_interleave(sizes))[:, None]

    x = torch.randn(7, 5)
    y, _ = MoE(Hash(), Multiply())(x)
    torch.testing.assert_close(y, x * (1 + torch.arange(7) % 3)[:, None])


@pytest.mark.parametrize("activation", ["swiglu", "gelu", "relu"])
def test_experts_run_on_their_own_slice(activation: str) -> None:
    experts, rows = Experts(3, 16, 24, activation), torch.randn(6, 16)
    y = experts(rows, torch.tensor([2, 2, 6], dtype=torch.int32))
    alone = experts(rows[2:], torch.tensor([0, 0, 4], dtype=torch.int32))
    torch.testing.assert_close(y[2:], alone)


def test_an_expert_answers_about_as_large_as_it_is_asked() -> None:
    for module in (Experts(4, 256, 512, "relu"), FeedForward(256, 512, "relu")):
        stds = [parameter.std() * parameter.shape[-1] ** 0.5 for parameter in module.parameters()]
        torch.testing.assert_close(torch.stack(stds), torch.ones(len(stds)), atol=0.05, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=["bf16", "fp64"])
def test_the_layer_keeps_the_dtype_of_its_input(dtype: torch.dtype) -> None:
    moe, x = a_moe(n_shared_experts=1).to(dtype), torch.randn(9, 16, dtype=dtype)
    y, _ = moe(x)
    y.sum().backward()
    assert y.dtype == dtype and moe.experts.w_up.grad.dtype == dtype


def test_under_autocast_experts_are_fast_and_the_router_is_precise() -> None:
    moe, x = a_moe(n_shared_experts=1), torch.randn(9, 16)
    expected, _ = moe(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, routing = moe(x)
    assert y.dtype == torch.bfloat16 and routing.gates.dtype == torch.float32
    torch.testing.assert_close(y.float(), expected, atol=0.1, rtol=0.05)


def test_weights_of_the_wrong_kind_are_named() -> None:
    w = torch.zeros(2, 8, 16)
    with pytest.raises(ValueError, match="with activation='swiglu', w_gate must be given"):
        rows, ends = torch.zeros(3, 16), torch.tensor([1, 3], dtype=torch.int32)
        grouped_ffn(rows, ends, ExpertWeights(w, w.mT.contiguous()), "swiglu")


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (torch.zeros(4, 15), "has width 15, but this layer was built for width 16"),
        (torch.zeros(4, 16, dtype=torch.int64), "look up their embeddings first"),
        (torch.zeros(4, 16, dtype=torch.bfloat16), r"convert the layer with .to\(torch.bfloat16\)"),
        (torch.full((4, 16), torch.nan), "are NaN"),
    ],
    ids=["width", "integers", "mixed-dtypes", "nan"],
)
def test_bad_input_is_answered_with_a_sentence(x: Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        a_moe()(x)


def test_the_parts_print_their_sizes() -> None:
    assert "n_experts=4, d_model=16, d_ff=24, activation='swiglu'" in repr(a_moe())
    assert isinstance(a_moe().router, Router)


class Doubling(Experts):
    """What a learner might derive: the library's experts, and every answer twice as large."""

    def forward(self, rows: Tensor, expert_offsets: Tensor) -> Tensor:
        return 2 * super().forward(rows, expert_offsets)


@pytest.mark.parametrize("backend", ["loop", "one_hot", "parts"])
def test_the_whole_way_through_the_experts_can_be_one_operation(backend: str) -> None:
    config = settings(n_shared_experts=1, capacity_factor=1.0)
    moe, x = FusedMoE.build(16, config), torch.randn(9, 16)
    expected, _ = moe(x)
    with using(routed_ffn=backend), listening() as heard:
        y, _ = moe(x)
    torch.testing.assert_close(y, expected)
    assert ("grouped_ffn" in {choice.operation for choice in heard}) == (backend == "parts")


@pytest.mark.parametrize(
    ("n_experts", "n_tokens", "is_handful"), [(4, 2, True), (4, 3, False), (64, 4, True)]
)
def test_a_handful_of_choices_is_visited_one_by_one_unless_the_layer_learns(
    n_experts: int, n_tokens: int, is_handful: bool
) -> None:
    router = RouterConfig(n_experts=n_experts, top_k=2)
    config = settings(router=router, capacity_factor=1.0)
    moe, x = FusedMoE.build(16, config), torch.randn(n_tokens, 16)
    with torch.no_grad(), listening() as heard:
        y, _ = moe(x)
    assert ("each" in {choice.backend for choice in heard}) == is_handful
    with listening() as heard:
        torch.testing.assert_close(moe(x)[0], y)
    assert "each" not in {choice.backend for choice in heard}


def test_the_fused_layer_is_the_same_function_with_the_same_gradients() -> None:
    x = torch.randn(9, 16, requires_grad=True)
    plain = a_moe(n_shared_experts=1, capacity_factor=1.0)
    fused = FusedMoE.build(16, settings(n_shared_experts=1, capacity_factor=1.0))
    fused.load_state_dict(plain.state_dict())
    results = []
    for layer in (plain, fused):
        y, routing = layer(x)
        grads = torch.autograd.grad(y.square().sum(), (x, *layer.parameters()))
        results.append((y, routing.kept, *grads))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(other, one)


@pytest.mark.parametrize("n_tokens", [0, 1, 64])
def test_parts_of_a_learners_own_are_always_called(n_tokens: int) -> None:
    moe, x, seen = a_moe(), torch.randn(n_tokens, 16), []
    expected, _ = moe(x)
    doubling = Doubling(4, 16, 24)
    doubling.load_state_dict(moe.experts.state_dict())
    mine = MoE(moe.router, doubling)
    doubling.register_forward_hook(lambda module, given, answer: seen.append(len(answer)))
    with torch.no_grad(), using(routed_ffn="loop"):
        torch.testing.assert_close(mine(x)[0], 2 * expected)
    assert seen == [2 * n_tokens]


def test_a_hook_for_every_module_sees_the_experts_of_one_token() -> None:
    seen = []
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, given, answer: seen.append(type(module))
    )
    try:
        with torch.no_grad():
            a_moe()(torch.randn(1, 16))
    finally:
        handle.remove()
    assert Experts in seen


def test_the_fused_layer_refuses_experts_that_it_would_pass_by() -> None:
    with pytest.raises(ValueError, match="would never call Doubling: put it into an MoE"):
        FusedMoE(a_moe().router, Doubling(4, 16, 24))


def test_random_drops_are_drawn_afresh_in_training_only() -> None:
    moe, x = a_moe(capacity_factor=0.5, drop_policy="random"), torch.randn(40, 16)
    state = torch.get_rng_state()
    kept = [moe.eval()(x)[1].kept for _ in range(3)]
    assert torch.equal(kept[0], kept[1]) and torch.equal(kept[1], kept[2])
    assert torch.equal(state, torch.get_rng_state()), "evaluation touched the global generator"
    assert not torch.equal(moe.train()(x)[1].kept, moe(x)[1].kept)


def test_a_layer_learns_the_same_through_kernels_from_router_to_output() -> None:
    pytest.importorskip("triton", reason="Triton has packages for Linux only")
    moe, x = FusedMoE.build(16, settings(n_shared_experts=1)), torch.randn(9, 16)
    leaves = (x.requires_grad_(), *moe.parameters())
    y, routing = moe(x)
    expected = torch.autograd.grad(y.square().sum(), leaves)
    with using(route="triton", routed_ffn="triton"), listening() as heard:
        through, decision = moe(x)
        got = torch.autograd.grad(through.square().sum(), leaves)
    assert {(c.operation, c.backend) for c in heard} == {
        ("route", "triton"),
        ("routed_ffn", "triton"),
    }
    assert decision.expert_ids.equal(routing.expert_ids)
    torch.testing.assert_close(through, y)
    torch.testing.assert_close(got, expected)


def test_a_shared_expert_can_be_weighed_by_the_token() -> None:
    router = RouterConfig(n_experts=4, top_k=2)
    gated = MoE.build(16, MoEConfig(router=router, d_ff=8, n_shared_experts=1, shared_gate=True))
    x = torch.randn(5, 16)
    without = gated(x)[0] - gated.shared_expert(x)
    torch.nn.init.normal_(gated.shared_expert.w_token.weight)
    weight = (x @ gated.shared_expert.w_token.weight.T).sigmoid()
    own = torch.nn.functional.silu(gated.shared_expert.w_gate(x)) * gated.shared_expert.w_up(x)
    expected = without + weight * gated.shared_expert.w_down(own)
    torch.testing.assert_close(gated(x)[0], expected, atol=1e-5, rtol=1e-4)


def test_a_fixed_capacity_holds_in_each_sequence_apart() -> None:
    router = RouterConfig(n_experts=4, top_k=1, normalize_gates=False)
    moe = MoE.build(16, MoEConfig(router=router, d_ff=8, capacity=2)).eval()
    torch.nn.init.normal_(moe.router.proj.weight)
    x = torch.randn(3, 11, 16)
    y, routing = moe(x)
    ids, kept = routing.expert_ids.view(3, 11), routing.kept.view(3, 11)
    for sequence in range(3):
        for expert in range(4):
            asked = ids[sequence] == expert
            served = kept[sequence][asked]
            assert served.tolist() == [True] * min(2, len(served)) + [False] * (len(served) - 2)
        torch.testing.assert_close(y[sequence], moe(x[sequence])[0])  # rows are one sequence
    assert (y[~kept] == 0).all()
    assert moe(x[:0])[0].shape == (0, 11, 16)


IMPOSSIBLE = {
    "both capacities": ({"capacity": 2, "capacity_factor": 1.0}, "give one of them"),
    "no room at all": ({"capacity": 0}, "must be at least 1"),
    "limit without a gate": (
        {"activation": "relu", "swiglu_limit": 7.0},
        "change a SwiGLU, but the activation is 'relu'",
    ),
    "limit of nothing": ({"swiglu_limit": 0.0}, "swiglu_limit must be positive"),
    "nobody computes": ({"n_identity_experts": 4}, "one at least has to compute"),
    "gates on nothing": ({"gates_on": "both"}, "'output' or 'input', but it is 'both'"),
    "gate on no shared expert": ({"shared_gate": True}, "set n_shared_experts"),
}


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_layers_are_refused_in_a_sentence(name: str) -> None:
    options, sentence = IMPOSSIBLE[name]
    with pytest.raises(ValueError, match=sentence):
        MoEConfig(router=RouterConfig(n_experts=4, top_k=2), d_ff=8, **options)


def test_experts_that_choose_leave_no_room_for_a_capacity() -> None:
    router = RouterConfig(n_experts=4, top_k=2, choice="expert")
    with pytest.raises(ValueError, match="leave capacity_factor and capacity at None"):
        MoEConfig(router=router, d_ff=8, capacity=2)
