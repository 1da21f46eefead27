"""The benchmark of kernels runs all its code in the interpreter, and says what it is worth."""

import sys
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

pytest.importorskip("triton", reason="Triton has packages for Linux only")

from moe_teach.bench import cli, gpu_clock, kernels
from moe_teach.bench.contenders import BY_PARTS, FUSED, TORCH, Contender, contenders, reference
from moe_teach.bench.kernel_cases import NAMES, TOY, draw_inputs, kernel_grid, shape_of
from moe_teach.bench.kernels import (
    KernelRow,
    Setting,
    advice,
    needed_bytes,
    steps_of,
    time_kernels,
)
from moe_teach.bench.layer import LIMIT, OURS, time_shape
from moe_teach.bench.timing import Timing


def a_toy(dtype: torch.dtype) -> Setting:
    return Setting("toy", TOY, dtype, "cpu", 0.0)


@pytest.fixture(scope="module")
def rows() -> list[KernelRow]:
    return list(time_kernels(a_toy(torch.bfloat16)))


def test_everybody_computes_the_same_and_is_timed_forward_and_backward(rows):
    for step in ("decode", "forward+backward"):
        names = [row.contender for row in rows if row.step == step]
        assert names[:4] == [LIMIT, FUSED, BY_PARTS, TORCH]
    assert not [row.problem for row in rows if row.problem]
    assert all(row.timing.ratio == 1.0 for row in rows if row.contender == LIMIT)
    assert all(row.bandwidth > 0 for row in rows)


def test_a_line_has_a_cell_for_every_column(rows):
    sick = replace(rows[0], timing=None, problem="its answer differs by 40 %")

    assert {len(row.cells()) for row in [*rows, sick]} == {len(kernels.HEADER)}
    assert "not measured: its answer differs by 40 %" in sick.cells()


def test_who_fails_or_computes_something_else_is_not_timed(monkeypatch):
    inputs = draw_inputs(TOY, torch.float32, "cpu")

    def break_down():
        raise NotImplementedError("no kernel for this device\nand a long trace")

    others = [
        Contender("sound", lambda: reference(inputs), inputs.leaves),
        Contender("wrong", lambda: 2 * reference(inputs), inputs.leaves),
        Contender("nan", lambda: reference(inputs) * torch.nan, inputs.leaves),
        Contender("broken", break_down),
        Contender("inference only", lambda: reference(inputs).detach()),
    ]
    monkeypatch.setattr(kernels, "draw_inputs", lambda *_: inputs)
    monkeypatch.setattr(kernels, "contenders", lambda *_: others)
    said = {(row.contender, row.step): row for row in time_kernels(a_toy(torch.float32))}

    assert said["sound", "forward+backward"].timing is not None
    assert said["wrong", "decode"].problem == "its answer differs by 100 %"
    assert "nan" in said["nan", "decode"].problem
    assert said["broken", "decode"].problem == "NotImplementedError: no kernel for this device"
    assert said["inference only", "decode"].timing is not None
    assert ("inference only", "forward+backward") not in said


def test_the_grid_holds_four_published_models_in_decoding_and_training():
    shapes = list(kernel_grid("models"))

    assert {model for model, _ in shapes} == set(NAMES)
    assert {steps_of(model, shape) for model, shape in shapes} == {
        ("decode",),
        ("forward", "forward+backward"),
    }
    mixtral = shape_of("Mixtral", 16384)
    assert str(mixtral) == "T=16384 d=4096 f=14336 E=8 k=2"


def test_the_bytes_of_decoding_are_those_of_the_experts_that_were_chosen():
    expert_ids = torch.tensor([0, 2]).expand(12, 2)

    assert needed_bytes(expert_ids, TOY, 2) == 2 * (3 * 2 * 16 * 24 + 2 * 12 * 16)


def test_the_advice_names_where_the_choice_of_the_layer_was_not_the_fastest():
    def row(contender: str, seconds: float, shape=TOY) -> KernelRow:
        return KernelRow("toy", shape, "bfloat16", "decode", contender, Timing(seconds, 1.0))

    larger = replace(TOY, n_tokens=99)
    measured = [row(FUSED, 2.0), row(TORCH, 1.0), row(FUSED, 1.0, larger), row(TORCH, 3.0, larger)]

    assert list(advice(measured, (FUSED, BY_PARTS, TORCH), FUSED)) == [
        f"{TOY}, decode: {TORCH} takes 0.50 of the time of {FUSED}."
    ]


def test_the_command_says_that_these_are_not_gpu_numbers(monkeypatch, capsys, rows):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(cli, "time_kernels", lambda *_: iter(rows))

    assert cli.main(["kernels", "--grid", "toy", "--markdown"]) == 0
    assert "These are not GPU numbers" in capsys.readouterr().out
    assert cli.main(["kernels"]) == 2
    assert "needs a GPU" in capsys.readouterr().err


def test_the_table_of_layers_names_the_backend_that_the_layer_took():
    names = {row.contender for row in time_shape(TOY, torch.float32, skewed=False, budget_s=0.0)}

    assert [name for name in names if name.startswith(f"{OURS} (")] == [f"{OURS} (composed)"]


class Clockwork:
    """Stands for `torch.cuda`: remembers what was asked of it, and captures if it is told to."""

    def __init__(self, captures: bool) -> None:
        self.log, self.captures = [], captures
        self.CUDAGraph = lambda: SimpleNamespace(replay=lambda: self.log.append("replay"))

    def synchronize(self) -> None:
        self.log.append("wait")

    @contextmanager
    def graph(self, _):
        self.log.append("capture")
        if not self.captures:
            raise RuntimeError("operation not permitted when stream is capturing")
        yield

    def Event(self, enable_timing: bool):
        assert enable_timing
        return SimpleNamespace(
            record=lambda: self.log.append("record"),
            synchronize=lambda: None,
            elapsed_time=lambda end: 1500.0,
        )


@pytest.mark.parametrize("captures", [True, False], ids=["captured", "not capturable"])
def test_decoding_is_replayed_from_a_graph_where_that_is_possible(monkeypatch, captures):
    monkeypatch.setattr(torch, "cuda", clockwork := Clockwork(captures))
    run = gpu_clock.captured(lambda: clockwork.log.append("run"))
    clockwork.log.clear()

    run()

    assert clockwork.log == ["replay" if captures else "run"]


def test_the_clock_of_a_gpu_counts_seconds_between_two_events(monkeypatch):
    monkeypatch.setattr(torch, "cuda", clockwork := Clockwork(True))
    monkeypatch.setattr(torch, "empty", lambda *_, **__: SimpleNamespace(zero_=lambda: None))

    assert gpu_clock.clock_of("cuda")(lambda: clockwork.log.append("run")) == 1.5
    assert clockwork.log == ["record", "run", "record"]


def test_a_rival_that_cannot_be_built_is_a_line_of_the_table(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", module := ModuleType("vllm"))
    module.__spec__ = "a stand-in without content"
    inputs = draw_inputs(TOY, torch.float32, "cpu")

    [vllm] = [c for c in contenders(inputs, TOY) if c.name == "vllm"]

    said = kernels._difference(vllm, reference(inputs), a_toy(torch.float32))
    assert "ModuleNotFoundError" in said


# The specialists' packages are for GPUs. What stands in for them here has the interface that their
# sources show, so that the way our matrices are handed over is tried.


def swiglu_experts(x, ids, gates, gate_up, down):
    out = torch.zeros_like(x)
    for k in range(ids.shape[1]):
        gate, up = torch.einsum("td,tfd->tf", x, gate_up[ids[:, k]]).chunk(2, dim=-1)
        out = out + gates[:, k, None] * torch.einsum(
            "tf,tdf->td", F.silu(gate) * up, down[ids[:, k]]
        )
    return out


class Holder(nn.Module):
    def __init__(self, **shapes):
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))


class ScatterGLU(nn.Module):
    def __init__(self, input_size, hidden_size, num_experts, top_k, activation):
        super().__init__()
        self.experts = Holder(weight=(num_experts, 2 * hidden_size, input_size))
        self.output_experts = Holder(weight=(num_experts, input_size, hidden_size))

    def forward(self, x, expert_p, expert_idxs):
        up, gate = self.experts.weight.chunk(2, dim=1)
        return swiglu_experts(
            x, expert_idxs, expert_p, torch.cat([gate, up], 1), self.output_experts.weight
        )


class Arguments:
    def __init__(self, **options):
        self.__dict__.update(options)


class Dropless(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.sizes = (args.moe_num_experts, args.ffn_hidden_size, args.hidden_size)
        flat = (args.moe_num_experts * args.ffn_hidden_size, args.hidden_size)
        self.mlp = Holder(w1=flat, v1=flat, w2=flat)

    def forward_once(self, x, expert_weights, top_experts):
        gate, up, down = (w.view(self.sizes) for w in (self.mlp.w1, self.mlp.v1, self.mlp.w2))
        gate_up = torch.cat([gate, up], 1)
        return swiglu_experts(x, top_experts, expert_weights, gate_up, down.mT), None


class SonicLayer(nn.Module):
    def __init__(
        self, *, num_experts, num_experts_per_tok, hidden_size, intermediate_size, **options
    ):
        super().__init__()
        self.top_k = num_experts_per_tok
        self.router = nn.Linear(hidden_size, num_experts, bias=False)
        self.c_fc = Holder(weight=(num_experts, 2 * intermediate_size, hidden_size))
        self.c_proj = Holder(weight=(num_experts, hidden_size, intermediate_size))

    def forward(self, x):
        logits, ids = self.router(x).topk(self.top_k, dim=-1)
        gate_up = torch.cat([self.c_fc.weight[:, ::2], self.c_fc.weight[:, 1::2]], 1)
        return swiglu_experts(x, ids, logits.softmax(-1), gate_up, self.c_proj.weight), None


def fused_experts(hidden_states, w1, w2, topk_weights, topk_ids):
    return swiglu_experts(hidden_states, topk_ids.long(), topk_weights, w1, w2)


STAND_INS = {
    "scattermoe.mlp": {"GLUMLP": ScatterGLU},
    "megablocks.layers.arguments": {"Arguments": Arguments},
    "megablocks.layers.dmoe": {"ParallelDroplessMLP": Dropless},
    "vllm.model_executor.layers.fused_moe": {"fused_experts": fused_experts},
    "sonicmoe": {"MoE": SonicLayer},
    "sonicmoe.enums": {"ActivationType": type("ActivationType", (), {"SWIGLU": "swiglu"})},
}


def test_the_specialists_get_our_matrices_in_their_order(monkeypatch):
    for path, content in STAND_INS.items():
        parts = path.split(".")
        for depth in range(1, len(parts) + 1):
            name = ".".join(parts[:depth])
            if name not in sys.modules:
                module = ModuleType(name)
                module.__spec__ = "a stand-in"
                monkeypatch.setitem(sys.modules, name, module)
        vars(sys.modules[path]).update(content)
    inputs = draw_inputs(TOY, torch.float32, "cpu")
    expected = reference(inputs)
    specialists = [c for c in contenders(inputs, TOY) if "moe_teach" not in c.name]

    assert {c.name.split()[0] for c in specialists} >= {"scattermoe", "megablocks", "vllm"}
    assert "sonicmoe with its router" in {c.name for c in specialists}
    for contender in specialists:
        torch.testing.assert_close(contender.forward(), expected, msg=contender.name)
        if contender.leaves:
            torch.autograd.grad(contender.forward().sum(), contender.leaves)
