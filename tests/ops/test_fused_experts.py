"""The kernels of the experts: many tiles each way, what they touch, and what they keep."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from moe_teach.ops.tiles import Tiles, forced
from moe_teach.ops.triton_mode import mode
from moe_teach.types import ExpertWeights, Routing

if mode() != "interpreted":
    pytest.skip("only interpreted kernels can be watched", allow_module_level=True)

from moe_teach.analysis.kernel_watch import watch
from moe_teach.ops.grouped_ffn import grouped_ffn
from moe_teach.ops.grouped_mm import grouped_mm
from moe_teach.ops.routed_ffn import routed_ffn
from moe_teach.ops.tile_product import dot_precision

SMALL = Tiles(16, 16, 16, group_m=3)  # and 4 tiles: the last group is not full


def a_layer(
    n_tokens: int, n_experts: int, top_k: int, d_model: int, d_ff: int, dtype=torch.float32
) -> tuple[dict[str, Tensor], Tensor]:
    leaves = {
        "x": torch.randn(n_tokens, d_model),
        "gates": torch.rand(n_tokens, top_k),
        "w_up": torch.randn(n_experts, d_ff, d_model) * d_model**-0.5,
        "w_down": torch.randn(n_experts, d_model, d_ff) * d_ff**-0.5,
        "w_gate": torch.randn(n_experts, d_ff, d_model) * d_model**-0.5,
    }
    ids = torch.rand(n_tokens, n_experts).argsort(dim=-1)[:, :top_k].contiguous()
    return {name: leaf.to(dtype).requires_grad_() for name, leaf in leaves.items()}, ids


def run(leaves: dict[str, Tensor], ids: Tensor, backend: str, kept: Tensor | None = None) -> Tensor:
    blank = torch.zeros(len(ids), len(leaves["w_up"]))
    weights = ExpertWeights(leaves["w_up"], leaves["w_down"], leaves.get("w_gate"))
    activation = "swiglu" if "w_gate" in leaves else "gelu"
    routing = Routing(blank, blank, leaves["gates"], ids, kept)
    return routed_ffn(leaves["x"], routing, weights, activation, backend=backend)


def exactly(leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: leaf.detach().double().requires_grad_() for name, leaf in leaves.items()}


def assert_same(
    function: Callable[[dict[str, Tensor], str], Tensor], leaves: dict[str, Tensor], rtol: float
) -> None:
    """Compare output and gradients with the loop in float64, relative to the largest number."""
    precise = exactly(leaves)
    out, expected = function(leaves, "triton"), function(precise, "loop")
    dout = torch.randn(out.shape).to(out.dtype)
    wanted = [name for name, leaf in leaves.items() if leaf.requires_grad]
    got = torch.autograd.grad(out, [leaves[name] for name in wanted], dout)
    true = torch.autograd.grad(expected, [precise[name] for name in wanted], dout.double())
    for name, one, other in zip(("out", *wanted), (out, *got), (expected, *true), strict=True):
        error = (one.double() - other).abs().max()
        assert error <= rtol * other.abs().max(), f"{name}: off by {error:.1e}"


@pytest.mark.parametrize(
    ("dtype", "rtol", "has_gate"),
    [(torch.float32, 1e-5, True), (torch.float16, 4e-3, False), (torch.bfloat16, 3e-2, False)],
    ids=["fp32", "fp16", "bf16"],
)
def test_many_tiles_in_every_direction_give_the_formula(dtype, rtol, has_gate) -> None:
    leaves, ids = a_layer(21, 2, 2, 20, 19, dtype)
    if not has_gate:
        del leaves["w_gate"]
    kept = torch.rand(ids.shape) < 0.8
    with forced(SMALL):
        assert_same(lambda some, backend: run(some, ids, backend, kept), leaves, rtol)


def test_256_experts_of_which_8_are_chosen() -> None:
    leaves, ids = a_layer(2, 256, 8, 8, 16)
    for name in ("w_up", "w_down", "w_gate"):
        leaves[name].requires_grad_(False)  # three times 256 programs that know nothing of the rest
    assert_same(lambda some, backend: run(some, ids, backend), leaves, 1e-5)


def test_the_blocks_of_decoding_give_the_formula() -> None:
    leaves, ids = a_layer(3, 4, 2, 24, 40)
    with forced(Tiles(16, 64, 128)):
        assert_same(lambda some, backend: run(some, ids, backend), leaves, 1e-5)


def test_nothing_is_written_twice_or_left_out_or_past_an_end() -> None:
    leaves, ids = a_layer(13, 3, 2, 18, 21)
    kept = torch.rand(ids.shape) < 0.7
    n_rows = int(kept.sum())

    with forced(SMALL), watch(adopt=True, **leaves) as seen:
        out = run(leaves, ids, "triton", kept)
        torch.autograd.grad(out, list(leaves.values()), torch.randn(out.shape))

    assert not seen.races(), seen.races()[0]
    written = {name for name in seen.buffers if seen.bytes_stored.get(name)}
    assert {"inner", "up", "gate", "y", "dup", "dgate", "drows", "parts", "dw"} <= written
    for name in ("dw", "dgates", "out"):
        assert not len(seen.unwritten(name)), f"{name} has elements that nobody stored"
    for name, width in {"inner": 21, "up": 21, "y": 18, "drows": 18}.items():
        # Dropped choices have no row: memory for them is reserved and left alone.
        assert (seen.unwritten(name) >= n_rows * width).all(), f"{name} lacks rows"


def test_a_neighbours_nan_stays_with_the_neighbour() -> None:
    """Tiles end where an expert's rows end, in rows and in the sums over rows."""
    leaves, ids = a_layer(6, 3, 1, 8, 16)
    ids[:, 0] = torch.tensor([0, 0, 1, 1, 2, 2])
    with torch.no_grad():
        leaves["x"][2] = torch.nan

    out = run(leaves, ids, "triton")
    got = torch.autograd.grad(out, list(leaves.values()), torch.ones_like(out))

    gradients = dict(zip(leaves, got, strict=True))
    assert out.isfinite().all(-1).tolist() == [True, True, False, True, True, True]
    assert gradients["x"].isfinite().all(-1).tolist() == [True, True, False, True, True, True]
    for name in ("w_up", "w_down", "w_gate"):
        assert gradients[name].flatten(1).isfinite().all(-1).tolist() == [True, False, True], name


@pytest.mark.parametrize("wanted", [("x",), ("gates",), ("w_up", "w_gate"), ("w_down",)], ids=str)
def test_only_the_gradients_that_are_wanted_are_computed(wanted: tuple[str, ...]) -> None:
    leaves, ids = a_layer(5, 3, 2, 8, 16)
    expected = torch.autograd.grad(run(leaves, ids, "grouped").sum(), [leaves[n] for n in wanted])
    for name, leaf in leaves.items():
        leaf.requires_grad_(name in wanted)

    with watch(adopt=True) as seen:
        got = torch.autograd.grad(run(leaves, ids, "triton").sum(), [leaves[n] for n in wanted])

    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    stored = {name for name in seen.buffers if seen.bytes_stored.get(name)}
    assert ("drows" in stored, "parts" in stored) == ("x" in wanted, "gates" in wanted)
    assert sum(name.startswith("dw") for name in stored) == sum(n.startswith("w_") for n in wanted)


def test_the_backward_pass_keeps_no_copy_of_the_rows_and_can_run_twice() -> None:
    leaves, ids = a_layer(6, 3, 2, 8, 16)
    held = {leaf.data_ptr() for leaf in leaves.values()}
    kept_bytes = []

    def count(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in held:
            kept_bytes.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        out = run(leaves, ids, "triton")
    first = torch.autograd.grad(out.sum(), list(leaves.values()), retain_graph=True)
    second = torch.autograd.grad(out.sum(), list(leaves.values()))

    n_choices, d_ff, n_experts = ids.numel(), 16, 3
    assert sum(kept_bytes) == 2 * n_choices * d_ff * 4 + 12 * n_choices + 4 * n_experts
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


def test_without_gradients_nothing_is_kept() -> None:
    leaves, ids = a_layer(5, 3, 2, 8, 16)
    with torch.no_grad(), watch(adopt=True) as seen:
        run(leaves, ids, "triton")
    assert not {"up", "gate"} & {name for name in seen.buffers if seen.bytes_stored.get(name)}


def test_rows_may_begin_past_two_to_the_31() -> None:
    """Row 2 of these begins at element 2**31: in 32 bits it would stand before the matrix."""
    try:
        memory = torch.empty(2**31 + 16, dtype=torch.float16)  # pages nobody touches cost nothing
    except RuntimeError:
        pytest.skip("this machine does not lend so much memory")
    far = torch.as_strided(memory, (3, 16), (2**30, 1))
    near = torch.randn(3, 16).half()
    far.copy_(near)
    w = torch.randn(2, 16, 16).half().requires_grad_()
    ends = torch.tensor([2, 3], dtype=torch.int32)  # so that a tile begins there

    with watch(rows=far, adopt=True):
        out = grouped_mm(far, w, ends, backend="triton")
        (dw,) = torch.autograd.grad(out, w, torch.ones_like(out))

    expected = grouped_mm(near, w, ends, backend="reference")
    torch.testing.assert_close(out, expected, atol=1e-2, rtol=1e-2)
    (expected_dw,) = torch.autograd.grad(expected, w, torch.ones_like(out))
    torch.testing.assert_close(dw, expected_dw, atol=1e-2, rtol=1e-2)


def test_float32_is_rounded_to_tf32_only_where_torch_is_told_so() -> None:
    switch = torch.backends.cuda.matmul
    before = switch.allow_tf32
    try:
        switch.allow_tf32 = False
        assert dot_precision(torch.float32) == "ieee"
        switch.allow_tf32 = True
        assert dot_precision(torch.float32) == "tf32"
        assert dot_precision(torch.bfloat16) == "ieee"
    finally:
        switch.allow_tf32 = before


def test_under_autocast_the_kernels_multiply_in_two_bytes_and_answer_in_four() -> None:
    leaves, ids = a_layer(5, 3, 2, 8, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = run(leaves, ids, "triton")
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, run(leaves, ids, "loop"), atol=5e-2, rtol=5e-2)


@pytest.mark.usefixtures("as_a_user")
def test_what_the_kernels_cannot_do_is_a_sentence() -> None:
    leaves, ids = a_layer(4, 3, 1, 8, 16)
    ends = torch.tensor([1, 2, 4], dtype=torch.int32)
    with pytest.raises(ValueError, match=r"float64, but the kernels compute with float32"):
        grouped_mm(leaves["x"].double(), leaves["w_up"].double(), ends, backend="triton")
    with pytest.raises(ValueError, match=r"x holds torch.float64, but the kernels compute"):
        run(exactly(leaves), ids, "triton")
    with pytest.raises(ValueError, match="contains 3, but the experts are numbered 0 to 2"):
        run(leaves, torch.tensor([[0], [1], [2], [3]]), "triton")
    weights = ExpertWeights(leaves["w_up"], leaves["w_down"])
    with pytest.raises(ValueError, match="w_gate must be given"):
        grouped_ffn(leaves["x"], ends, weights, "swiglu", backend="triton")
    with pytest.raises(ValueError, match="Unknown activation 'tanh'"):
        grouped_ffn(leaves["x"], ends, weights, "tanh", backend="triton")
