"""The choice of a backend can be seen and overruled, and says why it was made."""

from threading import Event, Thread

import pytest
import torch

from moe_teach.config import MoEConfig, RouterConfig
from moe_teach.nn.experts import Experts
from moe_teach.nn.moe import FusedMoE, MoE
from moe_teach.ops import operation
from moe_teach.ops.backends import OPERATIONS, explain, using
from moe_teach.ops.grouped_mm import grouped_mm
from moe_teach.ops.operation import Operation, asked_for, kernels_serve, listening
from moe_teach.types import ExpertWeights, Routing


def layer() -> MoE:
    return FusedMoE.build(16, MoEConfig(router=RouterConfig(n_experts=4, top_k=2), d_ff=32))


def chosen(moe: MoE, x: torch.Tensor) -> dict[str, str]:
    return {made.operation: made.backend for made in explain(moe, x)}


def test_a_layer_tells_which_backends_it_took_and_why():
    made = {str(each).split(":")[0]: each for each in explain(layer(), torch.randn(20, 16))}

    assert {"routed_ffn", "dispatch", "grouped_ffn", "combine"} <= set(made)
    assert str(made["dispatch"]).startswith("dispatch: torch, because ")
    assert all(each.because for each in made.values())


def test_what_was_asked_for_is_taken_and_gives_the_same_answer():
    moe, x = layer(), torch.randn(20, 16)
    expected, _ = moe(x)

    with using(grouped_ffn="expertwise", dispatch="reference"):
        assert chosen(moe, x)["grouped_ffn"] == "expertwise"
        assert chosen(moe, x)["dispatch"] == "reference"
        torch.testing.assert_close(moe(x)[0], expected)


def test_inner_wishes_replace_outer_ones_and_all_end_with_their_block():
    moe, x = layer(), torch.randn(20, 16)
    usual = chosen(moe, x)["grouped_ffn"]

    with using(grouped_ffn="expertwise", combine="reference"):
        with using(grouped_ffn="padded"):
            assert chosen(moe, x)["grouped_ffn"] == "padded"
            assert chosen(moe, x)["combine"] == "reference"
        assert chosen(moe, x)["grouped_ffn"] == "expertwise"
        with pytest.raises(ZeroDivisionError), using(grouped_ffn="padded"):
            _ = 1 // 0
        assert chosen(moe, x)["grouped_ffn"] == "expertwise"
    assert chosen(moe, x)["grouped_ffn"] == usual


def test_a_backend_that_is_named_in_the_call_needs_no_choice():
    rows, w, ends = torch.randn(4, 8), torch.randn(2, 3, 8), torch.tensor([1, 4])
    with using(grouped_mm="torch"), listening() as heard:
        grouped_mm(rows, w, ends, backend="reference")

    assert heard == []


def test_a_wish_nobody_can_fulfil_is_refused_at_once():
    with pytest.raises(ValueError, match="no operation 'experts'"), using(experts="torch"):
        pass
    with (
        pytest.raises(ValueError, match="Unknown backend 'fast': choose one of reference"),
        using(grouped_mm="fast"),
    ):
        pass


def test_every_operation_has_a_definition_in_torch_and_kernels():
    for name, known in OPERATIONS.items():
        assert known.name == name and known.backends[-1] == "triton"
        assert callable(known.implementations[known.backends[0]])


def test_listeners_hear_only_their_own_block():
    def rule():
        return "torch", "a test says so"

    combine, dispatch = (Operation(name, {"torch": len}, rule) for name in ("combine", "dispatch"))
    with listening() as outer:
        combine.decide()
        with listening() as inner:
            dispatch.decide()
    combine.decide()

    assert [made.operation for made in outer] == ["combine", "dispatch"]
    assert [made.operation for made in inner] == ["dispatch"]


class OnGPU(torch.Tensor):
    """Claims to stand on a GPU, which is all that is asked of it here."""

    is_cuda = True


def claimed(dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(2, 2, dtype=dtype).as_subclass(OnGPU)


def test_kernels_are_the_default_on_a_gpu_only(monkeypatch):
    monkeypatch.setattr(operation, "kernels_compile", lambda: True)

    assert kernels_serve(claimed(torch.bfloat16))
    assert not kernels_serve(claimed(torch.float64))
    assert not kernels_serve(torch.zeros(2, 2, dtype=torch.bfloat16))
    monkeypatch.setattr(operation, "kernels_compile", lambda: False)
    assert not kernels_serve(claimed(torch.bfloat16))


@pytest.mark.parametrize(
    ("n_tokens", "dtype", "learns", "expected"),
    [
        (8, torch.float32, True, "composed"),
        (8, torch.float32, False, "composed"),
        (160, torch.float32, True, "padded"),
        (160, torch.float32, False, "composed"),
        (2000, torch.float32, True, "expertwise"),
        (2000, torch.float32, False, "expertwise"),
        (2, torch.bfloat16, True, "composed"),
        (160, torch.bfloat16, False, "padded"),
        (2000, torch.bfloat16, True, "padded"),
    ],
)
def test_the_feed_forward_is_chosen_by_the_size_of_the_work(
    n_tokens: int, dtype: torch.dtype, learns: bool, expected: str
):
    n_experts = 8
    experts = Experts(n_experts, 256, 512).to(dtype)
    ends = torch.arange(1, n_experts + 1, dtype=torch.int32) * (2 * n_tokens // n_experts)
    rows = torch.randn(int(ends[-1]), 256, dtype=dtype)
    with torch.set_grad_enabled(learns):
        [made] = [c for c in explain(experts, rows, ends) if c.operation == "grouped_ffn"]
    assert made.backend == expected


def test_an_uneven_load_is_never_padded():
    experts, ends = Experts(4, 256, 512), torch.tensor([97, 98, 99, 100], dtype=torch.int32)
    [made] = [c for c in explain(experts, torch.randn(100, 256), ends) if "ffn" in c.operation]
    assert made.backend == "expertwise"


def test_blocks_that_end_in_another_order_leave_nothing_behind():
    first, second = using(dispatch="reference"), using(dispatch="torch", combine="reference")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert asked_for("dispatch") == "torch" and asked_for("combine") == "reference"
    second.__exit__(None, None, None)
    assert asked_for("dispatch") is None and asked_for("combine") is None


def test_another_thread_neither_sees_nor_disturbs_a_wish():
    inside, leave, seen = Event(), Event(), []

    def other():
        with using(dispatch="reference"):
            seen.append(asked_for("combine"))
            inside.set()
            leave.wait()

    thread = Thread(target=other)
    with using(combine="reference"):
        thread.start()
        inside.wait()
        assert asked_for("dispatch") is None
    leave.set()
    thread.join()
    assert seen == [None] and asked_for("dispatch") is None and asked_for("combine") is None


@pytest.mark.parametrize("part", ["dispatch", "grouped_ffn", "grouped_mm", "combine"])
def test_a_wish_for_a_part_is_heard_where_the_whole_would_be_done_at_once(part):
    backend = OPERATIONS[part].backends[0]
    moe, x = layer(), torch.randn(1, 16)
    with torch.no_grad():
        assert chosen(moe, x)["routed_ffn"] == "each"
        with using(**{part: backend}):
            assert chosen(moe, x)["routed_ffn"] == "parts" and chosen(moe, x)[part] == backend
        with using(routed_ffn="each", **{part: backend}):
            assert chosen(moe, x)["routed_ffn"] == "each", "the whole was named itself"


@pytest.mark.parametrize("n_experts", [4096, 4097])
def test_more_experts_than_the_kernels_can_count_take_another_way(monkeypatch, n_experts):
    monkeypatch.setattr(operation, "kernels_compile", lambda: True)
    blank = torch.zeros(2, n_experts)
    routing = Routing(blank, blank, torch.ones(2, 1), torch.zeros(2, 1, dtype=torch.long))
    expected = "triton" if n_experts == 4096 else {"dispatch": "torch", "routed_ffn": "parts"}
    experts = ExpertWeights(torch.zeros(n_experts, 1, 1), torch.zeros(n_experts, 1, 1))
    for name, more in (("dispatch", ()), ("routed_ffn", (experts, "gelu"))):
        backend, _ = OPERATIONS[name].decide(claimed(torch.bfloat16), routing, *more)
        assert backend == (expected if n_experts == 4096 else expected[name])
