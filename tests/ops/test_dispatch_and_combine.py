"""Rows go out sorted, and every kept one comes back exactly once."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from moe_teach.ops.dispatch import COMBINE, DISPATCH, combine, dispatch
from moe_teach.ops.triton_mode import mode
from moe_teach.types import Routing

without_kernels = pytest.mark.skipif(mode() == "absent", reason="Triton is not installed")
marked = {"triton": pytest.param("triton", marks=without_kernels)}
every_dispatch = pytest.mark.parametrize("backend", [marked.get(b, b) for b in DISPATCH.backends])
every_combine = pytest.mark.parametrize("backend", [marked.get(b, b) for b in COMBINE.backends])


def a_routing(ids: Tensor, n_experts: int, kept: Tensor | None = None) -> Routing:
    blank = torch.zeros(len(ids), n_experts)
    return Routing(blank, blank, torch.rand(ids.shape), ids, kept)


@st.composite
def routings(draw) -> Routing:
    n_tokens, n_experts = draw(st.integers(0, 12)), draw(st.integers(1, 9))
    top_k = draw(st.integers(1, n_experts))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    ids = torch.rand(n_tokens, n_experts, generator=generator).argsort(dim=-1)[:, :top_k]
    kept = torch.rand(ids.shape, generator=generator) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    return a_routing(ids, n_experts, draw(st.sampled_from([None, kept])))


def for_all_routings(backend: str, holds: Callable[[Routing], None]) -> None:
    # Interpreting a kernel takes a thousand times as long as calling torch.
    settings(max_examples=8 if backend == "triton" else 60, deadline=None)(
        given(routing=routings())(holds)
    )()


@every_dispatch
def test_each_kept_choice_has_one_row_and_it_is_its_tokens(backend: str) -> None:
    for_all_routings(backend, lambda routing: each_choice_has_its_row(backend, routing))


def each_choice_has_its_row(backend: str, routing: Routing) -> None:
    ids = routing.expert_ids
    x = torch.arange(float(len(ids)))[:, None].expand(-1, 3)
    kept = torch.ones_like(ids, dtype=torch.bool) if routing.kept is None else routing.kept

    rows, sent = dispatch(x, routing, backend=backend)

    assert sorted(sent.slot[kept].tolist()) == list(range(len(rows))), "each row used once"
    assert (sent.slot[~kept] == -1).all(), "a dropped choice has no row"
    assert rows[:, 0].tolist() == sent.token_idx.tolist(), "a row is a copy of its token"
    for token, choice in kept.nonzero().tolist():
        assert sent.token_idx[sent.slot[token, choice]] == token


@every_dispatch
def test_rows_stand_sorted_by_expert_and_then_by_token(backend: str) -> None:
    for_all_routings(backend, lambda routing: rows_are_sorted(backend, routing))


def rows_are_sorted(backend: str, routing: Routing) -> None:
    ids = routing.expert_ids
    kept = torch.ones_like(ids, dtype=torch.bool) if routing.kept is None else routing.kept
    expected = sorted((ids[t, k].item(), t) for t, k in kept.nonzero().tolist())

    _, sent = dispatch(torch.zeros(len(ids), 3), routing, backend=backend)

    expert_of_row = torch.repeat_interleave(sent.tokens_per_expert)
    assert list(zip(expert_of_row.tolist(), sent.token_idx.tolist(), strict=True)) == expected
    assert sent.expert_offsets.tolist() == sent.tokens_per_expert.cumsum(0).tolist()
    assert sent.expert_offsets.dtype == torch.int32, "torch's grouped matmul wants 32 bits"


@every_dispatch
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32], ids=str)
@pytest.mark.parametrize("n_tokens", [13, 120])  # many choices are sorted in another way than few
def test_all_dispatches_write_the_same_record(
    n_tokens: int, dtype: torch.dtype, backend: str
) -> None:
    ids = torch.rand(n_tokens, 7).argsort(dim=-1)[:, :3].to(dtype)
    routing = a_routing(ids, 7, torch.rand(n_tokens, 3) < 0.6)
    x = torch.randn(n_tokens, 5)

    rows, record = dispatch(x, routing, backend=backend)

    expected_rows, expected = dispatch(x, routing, backend="reference")
    assert torch.equal(rows, expected_rows)
    for field in ("token_idx", "slot", "tokens_per_expert", "expert_offsets"):
        assert torch.equal(getattr(record, field), getattr(expected, field)), field


SHAPES = {  # tokens, experts, choices, width, share of choices kept
    "no-tokens": (0, 4, 2, 5, None),
    "one-of-each": (1, 1, 1, 1, None),
    "one-token": (1, 5, 3, 7, None),
    "one-expert": (9, 1, 1, 4, None),
    "ragged": (13, 7, 3, 6, None),
    "half-dropped": (11, 5, 2, 130, 0.5),
    "all-dropped": (4, 3, 2, 5, 0.0),
    "eight-of-256": (40, 256, 8, 3, None),
}
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def every_expert_scales(x: Tensor, gates: Tensor, routing: Routing, factor: Tensor) -> Tensor:
    """What dispatch, a factor for each expert, and combine give: without any of them."""
    out = []
    for t in range(len(x)):
        row = 0 * x[t]
        for k in range(routing.top_k):
            if routing.kept is None or routing.kept[t, k]:
                row = row + gates[t, k] * factor[routing.expert_ids[t, k]] * x[t]
        out.append(row)
    return torch.stack(out) if out else x * 1.0


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: str(dtype).split(".")[1])
@every_dispatch
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_out_and_back_is_the_formula_and_so_is_every_gradient(shape, backend, dtype) -> None:
    n_tokens, n_experts, top_k, width, share = shape
    ids = torch.rand(n_tokens, n_experts).argsort(dim=-1)[:, :top_k]
    routing = a_routing(ids, n_experts, None if share is None else torch.rand(ids.shape) < share)
    leaves = torch.randn(n_tokens, width).to(dtype), torch.rand(ids.shape).to(dtype)
    factor = 2.0 ** torch.randint(-1, 2, (n_experts,))  # exact in every dtype
    dout = torch.randn(n_tokens, width).to(dtype)

    def by_moving_rows(x: Tensor, gates: Tensor) -> Tensor:
        rows, sent = dispatch(x, routing, backend=backend)
        expert = torch.repeat_interleave(sent.tokens_per_expert)
        return combine(rows * factor[expert, None].to(x), gates, sent, backend=backend)

    def formula(x: Tensor, gates: Tensor) -> Tensor:
        return every_expert_scales(x, gates, routing, factor)

    results = []
    for function, precision in ((by_moving_rows, dtype), (formula, torch.float64)):
        inputs = [leaf.to(precision).requires_grad_() for leaf in leaves]
        out = function(*inputs)
        gradients = torch.autograd.grad(
            out, inputs, dout.to(precision), allow_unused=True, materialize_grads=True
        )
        results.append([out, *gradients])

    for got, expected in zip(*results, strict=True):
        assert got.dtype == dtype
        largest = float(expected.detach().abs().max()) if expected.numel() else 0.0
        torch.testing.assert_close(
            got.double(), expected, atol=TOLERANCE[dtype] * (1 + largest), rtol=0
        )


def test_more_experts_than_two_bytes_can_number() -> None:
    ids = torch.tensor([[40_000], [3], [32_768]]).repeat(100, 1)
    routing = a_routing(ids, 40_001, torch.ones(300, 1).bool())
    _, sent = dispatch(torch.zeros(300, 1), routing, backend="torch")
    assert sent.token_idx.tolist() == [*range(1, 300, 3), *range(2, 300, 3), *range(0, 300, 3)]


@every_combine
def test_without_work_in_between_combine_undoes_dispatch(backend: str) -> None:
    x = torch.randn(13, 5)
    routing = a_routing(torch.rand(13, 7).argsort(dim=-1)[:, :3], 7)
    rows, sent = dispatch(x, routing)

    y = combine(rows, routing.gates, sent, backend=backend)

    torch.testing.assert_close(y, x * routing.gates.sum(-1, keepdim=True))


@every_combine
def test_a_token_that_lost_all_its_choices_gets_zeros(backend: str) -> None:
    kept = torch.ones(5, 2, dtype=torch.bool)
    kept[3] = False
    routing = a_routing(torch.rand(5, 4).argsort(dim=-1)[:, :2], 4, kept)
    rows, sent = dispatch(torch.ones(5, 3), routing)

    y = combine(rows, routing.gates, sent, backend=backend)

    assert (y[3] == 0).all() and (y[[0, 1, 2, 4]] > 0).all()


@every_combine
def test_gradients_reach_answers_and_gates_but_not_dropped_gates(backend: str) -> None:
    kept = torch.tensor([[True, True], [False, True], [False, False]])
    routing = a_routing(torch.tensor([[0, 1], [1, 2], [2, 0]]), 3, kept)
    rows, sent = dispatch(torch.randn(3, 4), routing)
    rows, gates = rows.requires_grad_(), routing.gates.clone().requires_grad_()

    combine(rows, gates, sent, backend=backend).sum().backward()

    torch.testing.assert_close(rows.grad[:, 0], gates[kept].detach()[torch.tensor([0, 1, 2])])
    assert ((gates.grad != 0) == kept).all()


@every_combine
def test_precise_gates_are_not_rounded_before_the_sum(backend: str) -> None:
    gates = torch.tensor([[1 + 2**-10, 1.0]])  # in bfloat16 the two are equal
    routing = a_routing(torch.tensor([[0, 1]]), 2)
    _, sent = dispatch(torch.zeros(1, 1), routing)
    y = torch.tensor([[256.0], [-256.0]], dtype=torch.bfloat16)

    mixed = combine(y, gates, sent, backend=backend)

    assert mixed.item() == 0.25 and mixed.dtype == torch.bfloat16


@every_combine
def test_combine_keeps_its_precision_under_autocast(backend: str) -> None:
    routing = a_routing(torch.rand(9, 4).argsort(dim=-1)[:, :2], 4)
    rows, sent = dispatch(torch.randn(9, 5), routing)
    expected = combine(rows, routing.gates, sent)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = combine(rows, routing.gates, sent, backend=backend)

    torch.testing.assert_close(mixed, expected)


@pytest.mark.usefixtures("as_a_user")
@every_dispatch
def test_dispatch_refuses_what_would_give_a_wrong_number(backend: str) -> None:
    routing = a_routing(torch.tensor([[0], [1]]), 2)
    with pytest.raises(ValueError, match="has 3 tokens, but the routing decides about 2"):
        dispatch(torch.zeros(3, 4), routing, backend=backend)
    with pytest.raises(ValueError, match="floating-point vectors"):
        dispatch(torch.zeros(2, 4, dtype=torch.int64), routing, backend=backend)
    with pytest.raises(ValueError, match=r"contains 2, but the experts are numbered 0 to 1"):
        dispatch(torch.zeros(2, 4), a_routing(torch.tensor([[0], [2]]), 2), backend=backend)


@pytest.mark.usefixtures("as_a_user")
def test_combine_refuses_answers_and_gates_of_another_dispatch() -> None:
    rows, sent = dispatch(torch.zeros(2, 4), a_routing(torch.tensor([[0], [1]]), 2))
    with pytest.raises(ValueError, match="y has 1 rows, but 2 were dispatched"):
        combine(rows[:1], torch.ones(2, 1), sent)
    with pytest.raises(ValueError, match="pass the gates of the same routing"):
        combine(rows, torch.ones(1, 2), sent)


@pytest.mark.usefixtures("as_a_user")
def test_an_unknown_backend_is_answered_with_the_known_ones() -> None:
    routing = a_routing(torch.tensor([[0]]), 1)
    with pytest.raises(ValueError, match="Unknown backend 'cuda': choose one of reference, tor"):
        dispatch(torch.zeros(1, 4), routing, backend="cuda")
