"""The grouped matmul, where torch's function can be used and where it cannot."""

import pytest
import torch

from moe_teach.ops.grouped_mm import GROUPED_MM, grouped_mm, obstacle_to_torch
from moe_teach.ops.triton_mode import mode


def leave_out_what_cannot_run(backend: str, rows: torch.Tensor, w: torch.Tensor) -> None:
    if backend == "torch" and obstacle_to_torch(rows, w):
        pytest.skip("this release of torch has no grouped matmul for these operands")
    if backend == "triton" and mode() == "absent":
        pytest.skip("Triton is not installed")


def ends(*sizes: int) -> torch.Tensor:
    return torch.tensor(sizes).cumsum(0).to(torch.int32)


@pytest.mark.parametrize("backend", GROUPED_MM.backends)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("sizes", [(5,), (0, 5), (5, 0), (1, 0, 4), (2, 3, 7)], ids=str)
def test_each_slice_is_multiplied_by_its_own_matrix(sizes, dtype, backend: str) -> None:
    rows = torch.randn(sum(sizes), 8).to(dtype).requires_grad_()
    w = torch.randn(len(sizes), 16, 8).to(dtype).requires_grad_()
    expert = torch.repeat_interleave(torch.tensor(sizes))
    dy = torch.randn(sum(sizes), 16).to(dtype)
    leave_out_what_cannot_run(backend, rows, w)

    out = grouped_mm(rows, w, ends(*sizes), backend=backend)

    exact = torch.einsum("nd,nfd->nf", rows.double(), w.double()[expert])
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(out.double(), exact, atol=tolerance, rtol=tolerance)
    got = torch.autograd.grad(out, (rows, w), dy)
    wanted = torch.autograd.grad(exact, (rows, w), dy.double())
    for gradient, expected in zip(got, wanted, strict=True):
        torch.testing.assert_close(gradient, expected, atol=10 * tolerance, rtol=tolerance)


@pytest.mark.parametrize("backend", GROUPED_MM.backends)
def test_a_gradient_of_any_memory_order_can_come_back(backend: str) -> None:
    rows = torch.randn(6, 8, requires_grad=True)
    w = torch.randn(2, 16, 8, requires_grad=True)
    leave_out_what_cannot_run(backend, rows, w)
    out = grouped_mm(rows, w, ends(2, 4), backend=backend)

    expanded = torch.autograd.grad(out.sum(), (rows, w), retain_graph=True)
    transposed = torch.autograd.grad(out, (rows, w), torch.ones(16, 6).T)

    for one, other in zip(expanded, transposed, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("n_rows", "d_in", "d_out", "dtype"),
    [
        pytest.param(5, 7, 16, torch.float32, id="odd-input-width"),
        pytest.param(5, 8, 13, torch.float32, id="odd-output-width"),
        pytest.param(5, 8, 12, torch.bfloat16, id="width-12-in-two-bytes"),
        pytest.param(5, 8, 16, torch.float64, id="float64"),
        pytest.param(0, 8, 16, torch.float32, id="no-rows"),
    ],
)
def test_the_loop_steps_in_where_torch_cannot(n_rows, d_in, d_out, dtype) -> None:
    rows, w = torch.randn(n_rows, d_in).to(dtype), torch.randn(2, d_out, d_in).to(dtype)
    offsets = ends(n_rows // 2, n_rows - n_rows // 2)

    with pytest.raises(ValueError, match="torch's grouped matmul is not possible here"):
        grouped_mm(rows, w, offsets, backend="torch")
    out = grouped_mm(rows, w, offsets)

    assert torch.equal(out, grouped_mm(rows, w, offsets, backend="reference"))
    assert out.shape == (n_rows, d_out)


def test_an_older_torch_without_the_function_gets_the_loop(monkeypatch) -> None:
    rows, w = torch.randn(6, 8), torch.randn(2, 16, 8)
    expected = grouped_mm(rows, w, ends(2, 4))

    monkeypatch.delattr("torch.nn.functional.grouped_mm", raising=False)

    torch.testing.assert_close(grouped_mm(rows, w, ends(2, 4)), expected)
    with pytest.raises(ValueError, match="does not have it"):
        grouped_mm(rows, w, ends(2, 4), backend="torch")


def test_autocast_reaches_the_grouped_matmul_too() -> None:
    rows, w = torch.randn(6, 8), torch.randn(2, 16, 8)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = grouped_mm(rows, w, ends(2, 4))

    assert out.dtype == torch.bfloat16


@pytest.mark.usefixtures("as_a_user")
def test_operands_that_do_not_fit_are_named() -> None:
    rows, w = torch.zeros(4, 8), torch.zeros(2, 16, 8)
    with pytest.raises(ValueError, match="has width 8, but this layer was built for width 6"):
        grouped_mm(rows, torch.zeros(2, 16, 6), ends(2, 2))
    with pytest.raises(ValueError, match="ends 3 slices, but w holds 2 experts"):
        grouped_mm(rows, w, ends(2, 1, 1))
    with pytest.raises(ValueError, match=r"rows hold torch.bfloat16 and the experts torch.float32"):
        grouped_mm(rows.bfloat16(), w, ends(2, 2))
