"""The kernels that place choices and move rows: what they write, and what they leave alone."""

import pytest
import torch
from torch import Tensor

from moe_teach.ops.triton_mode import mode

if mode() != "interpreted":
    pytest.skip("only interpreted kernels can be watched", allow_module_level=True)

from moe_teach.analysis.kernel_watch import Seen, watch
from moe_teach.ops import fused_rows
from moe_teach.ops.dispatch import dispatch
from moe_teach.ops.dispatch import fused as combine_kernels
from moe_teach.ops.dispatch import layout as layout_kernels
from moe_teach.ops.dispatch.layout import empty_layout, fill, lay_out
from moe_teach.ops.fused_rows import collect, row_tile, spread
from moe_teach.types import Routing


def assert_clean(seen: Seen, *written: str) -> None:
    assert not seen.races(), seen.races()[0]
    for name in written:
        assert not len(seen.unwritten(name)), f"{name} has elements that nobody stored"


def some_ids(n_tokens: int, n_experts: int, top_k: int) -> Tensor:
    return torch.rand(n_tokens, n_experts).argsort(dim=-1)[:, :top_k].contiguous()


def slots_of(ids: Tensor, kept: Tensor | None = None) -> Tensor:
    blank = torch.zeros(len(ids), int(ids.max()) + 1)
    x = torch.zeros(len(ids), 1)
    _, sent = dispatch(
        x, Routing(blank, blank, torch.zeros(ids.shape), ids, kept), backend="reference"
    )
    return sent.slot


def strided(tensor: Tensor) -> Tensor:
    """The same numbers, every second element of a column-major matrix full of NaN."""
    doubled = torch.stack([tensor, torch.full_like(tensor, torch.nan)], dim=-1)
    return doubled.transpose(0, 1).contiguous().transpose(0, 1)[..., 0]


@pytest.mark.parametrize("is_dropping", [False, True], ids=["all-kept", "dropping"])
@pytest.mark.parametrize("tiles", [1, 2])
@pytest.mark.parametrize(
    ("n_tokens", "n_experts", "top_k"), [(16, 4, 1), (17, 5, 3), (1, 3, 2), (33, 1, 1)], ids=str
)
def test_programs_share_the_choices_and_agree_on_every_row(
    n_tokens: int, n_experts: int, top_k: int, tiles: int, is_dropping: bool
) -> None:
    ids = some_ids(n_tokens, n_experts, top_k)
    kept = torch.rand(ids.shape) < 0.6 if is_dropping else None
    layout = empty_layout(ids, n_experts)
    record = layout.dispatched
    n_programs = -(-ids.numel() // (16 * tiles))
    counts = torch.full((n_programs, 8), -1, dtype=torch.int32)
    out = {name: getattr(record, name) for name in ("token_idx", "slot", "tokens_per_expert")}
    out |= {"expert_offsets": record.expert_offsets, "pair_idx": layout.pair_idx}

    with watch(expert_ids=ids, kept=kept, counts=counts, **out) as seen:
        fill(layout, ids, kept, counts, block=16, tiles=tiles)

    assert_clean(seen, *out)
    assert len(seen.launches) == (1 if n_programs == 1 else 2), "one program needs no counting"
    goes_out = torch.ones_like(ids, dtype=torch.bool) if kept is None else kept
    # The definition: a stable sort in which the dropped choices come last.
    order = ids.masked_fill(~goes_out, n_experts).flatten().argsort(stable=True)
    assert layout.pair_idx.tolist() == order.tolist()
    assert record.token_idx.tolist() == (order // top_k).tolist()
    assert record.slot.tolist() == slots_of(ids, kept).tolist()
    assert record.tokens_per_expert.tolist() == ids[goes_out].bincount(minlength=n_experts).tolist()
    assert record.expert_offsets.tolist() == record.tokens_per_expert.cumsum(0).tolist()


def test_more_programs_than_one_reads_at_once() -> None:
    ids = some_ids(17 * 16, 3, 1)
    layout = lay_out(ids, 3, block=16, tiles=1)
    assert layout.pair_idx.tolist() == ids.flatten().argsort(stable=True).tolist()


def test_many_choices_are_shared_by_at_most_128_programs() -> None:
    tiles_of = layout_kernels._tiles_of
    assert tiles_of(1, 32) == 1 and tiles_of(512, 32) == 16, "few choices: one program"
    for n_choices in (513, 4096, 4097, 131_072, 10**7):
        assert 1 < n_choices / (32 * tiles_of(n_choices, 32)) <= 128


def test_an_id_that_names_no_expert_is_dropped_and_harms_nobody() -> None:
    ids = torch.tensor([[0, 7], [-3, 1], [2**40, 0]])
    record = lay_out(ids, 2).dispatched
    assert record.slot.tolist() == [[0, -1], [-1, 2], [-1, 1]]
    assert record.expert_offsets.tolist() == [2, 3]


def test_ids_and_flags_of_any_memory_order_are_understood() -> None:
    ids, kept = some_ids(9, 5, 3), torch.rand(9, 3) < 0.5
    expected = lay_out(ids, 5, kept)
    got = lay_out(ids.T.contiguous().T, 5, kept.T.contiguous().T)
    assert torch.equal(got.dispatched.slot, expected.dispatched.slot)
    assert torch.equal(got.pair_idx, expected.pair_idx)


@pytest.mark.usefixtures("as_a_user")
def test_more_experts_than_registers_can_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 4096 experts, not 4097: choose another backend"):
        lay_out(torch.zeros(2, 1, dtype=torch.int64), 4097)


GRID_EDGES = [(8, 16), (9, 17), (1, 1), (7, 33)]


@pytest.mark.parametrize("make", [Tensor.contiguous, strided], ids=["contiguous", "strided"])
@pytest.mark.parametrize("is_weighted", [False, True], ids=["copies", "weighted"])
@pytest.mark.parametrize(("n_tokens", "width"), GRID_EDGES, ids=str)
def test_spread_writes_every_row_and_nothing_else(n_tokens, width, is_weighted, make) -> None:
    ids = some_ids(n_tokens, 4, 3)
    slot = slots_of(ids, torch.rand(ids.shape) < 0.7)
    n_rows = int((slot >= 0).sum())
    x, gates = make(torch.randn(n_tokens, width)), torch.rand(ids.shape)
    rows = torch.full((n_rows, width), torch.nan)
    factor = gates if is_weighted else None

    with watch(x=x, slot=slot, gates=factor, rows=rows) as seen:
        if n_rows:
            fused_rows.launch(fused_rows._spread, x, rows, slot, factor, tokens=4, columns=16)

    assert_clean(seen, *(["rows"] if n_rows else []))
    for token, choice in (slot >= 0).nonzero().tolist():
        wanted = x[token] * (gates[token, choice] if is_weighted else 1)
        torch.testing.assert_close(rows[slot[token, choice]], wanted)
    assert torch.equal(spread(x, slot, n_rows, factor), rows), "whatever the tile"


@pytest.mark.parametrize("make", [Tensor.contiguous, strided], ids=["contiguous", "strided"])
@pytest.mark.parametrize("is_weighted", [False, True], ids=["sum", "weighted"])
@pytest.mark.parametrize(("n_tokens", "width"), GRID_EDGES, ids=str)
def test_collect_reads_what_belongs_to_a_token_and_nothing_else(
    n_tokens, width, is_weighted, make
) -> None:
    ids = some_ids(n_tokens, 4, 3)
    kept = torch.rand(ids.shape) < 0.7
    kept[0, 0] = True
    slot = slots_of(ids, kept)
    rows, gates = make(torch.randn(int(kept.sum()), width)), torch.rand(ids.shape)
    out = torch.full((n_tokens, width), torch.nan)
    factor = gates if is_weighted else None

    with watch(rows=rows, slot=slot, gates=factor, out=out) as seen:
        fused_rows.launch(fused_rows._collect, rows, out, slot, factor, tokens=4, columns=16)

    assert_clean(seen, "out")
    assert seen.readers("rows").max() == 1, "each row belongs to one token"
    for token in range(n_tokens):
        mine = kept[token]
        weight = gates[token, mine] if is_weighted else torch.ones(int(mine.sum()))
        torch.testing.assert_close(out[token], weight @ rows[slot[token, mine]])
    assert torch.equal(collect(rows, slot, factor), out), "whatever the tile"


@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)], ids=str)
@pytest.mark.parametrize(("n_tokens", "width"), GRID_EDGES, ids=str)
def test_the_backward_pass_of_combine_writes_what_is_wanted(n_tokens, width, wanted) -> None:
    ids = some_ids(n_tokens, 4, 3)
    kept = torch.rand(ids.shape) < 0.7
    kept[0, 0] = True
    slot = slots_of(ids, kept)
    y, gates = strided(torch.randn(int(kept.sum()), width)), torch.rand(ids.shape)
    dout = strided(torch.randn(n_tokens, width))
    dy = torch.full(y.shape, torch.nan) if wanted[0] else None
    dgates = torch.full(gates.shape, torch.nan) if wanted[1] else None
    watched = {"dout": dout, "y": y, "gates": gates, "slot": slot, "dy": dy, "dgates": dgates}

    with watch(**watched) as seen:
        combine_kernels._launch(dout, y, gates, slot, dy, dgates, pairs=8, columns=16)

    assert_clean(seen, *(["dy"] * wanted[0] + ["dgates"] * wanted[1]))
    token = kept.nonzero()[:, 0]
    if dy is not None:
        torch.testing.assert_close(dy[slot[kept]], gates[kept][:, None] * dout[token])
    if dgates is not None:
        torch.testing.assert_close(dgates[kept], (dout[token] * y[slot[kept]]).sum(dim=-1))
        assert (dgates[~kept] == 0).all(), "a dropped choice has no gradient"


@pytest.mark.usefixtures("as_a_user")
def test_numbers_that_kernels_do_not_know_are_refused() -> None:
    blank, ids = torch.zeros(2, 1), torch.zeros(2, 1, dtype=torch.int64)
    x = torch.zeros(2, 3).to(torch.float8_e5m2)
    with pytest.raises(ValueError, match=r"x holds torch\.float8_e5m2, but the kernels compute"):
        dispatch(x, Routing(blank, blank, blank, ids), backend="triton")


def test_nothing_to_do_launches_nothing() -> None:
    nobody, nowhere = torch.zeros(0, 2, dtype=torch.int64), torch.full((3, 2), -1)
    assert spread(torch.zeros(0, 5), nobody, 0).shape == (0, 5)
    assert torch.equal(collect(torch.zeros(0, 5), nowhere), torch.zeros(3, 5))
    assert collect(torch.zeros(4, 0), torch.zeros(2, 2, dtype=torch.int64)).shape == (2, 0)
    assert lay_out(nobody, 3).dispatched.expert_offsets.tolist() == [0, 0, 0]


def test_rows_beyond_32_bits_are_addressed_in_64() -> None:
    """A view whose third row stands 2^31 elements after the first, of memory nobody touches."""
    far = torch.empty(2**31 + 4, dtype=torch.float16)
    x = far.as_strided((3, 4), (2**30, 1))  # the stride fits in 32 bits, row times stride does not
    x[0], x[1], x[2] = 0.0, 1.0, torch.tensor([1.0, 2.0, 3.0, 4.0])
    slot = torch.tensor([[1], [0], [2]])

    rows, out, dgates = torch.zeros(3, 4).half(), torch.zeros(3, 4).half(), torch.zeros(3, 1)

    with watch(record=False, x=x, slot=slot, rows=rows, out=out, dgates=dgates):
        fused_rows.launch(fused_rows._spread, x, rows, slot, None)
        fused_rows.launch(fused_rows._collect, x, out, slot, None)
        combine_kernels._launch(x, x, dgates, slot, None, dgates)

    assert torch.equal(rows, x[[1, 0, 2]]) and torch.equal(out, rows)
    assert dgates.tolist() == [[0.0], [0.0], [30.0]]


def test_tiles_are_chosen_for_the_place_where_the_kernel_runs() -> None:
    tokens, columns = row_tile(1000, 5000)
    assert tokens * columns <= 2**16 and columns & (columns - 1) == 0
