"""What the steps for a GPU find out: wrong kernels, numbers that cannot be, better block sizes."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="Triton has packages for Linux only")

from moe_teach.bench.gpu import correctness, timings, tuning
from moe_teach.bench.gpu.correctness import ALLOWED, DEFINITION, check, check_large, trials
from moe_teach.bench.gpu.step import verdict_on
from moe_teach.bench.gpu.steps import SPECIALISTS, steps
from moe_teach.bench.gpu.timings import facts_of, kernels, layers, measure_limits, toy_setting
from moe_teach.bench.gpu.tuning import neighbours, start_of, tune
from moe_teach.bench.kernel_cases import NAMES, TOY, with_kernels
from moe_teach.bench.kernels import KernelRow
from moe_teach.bench.layer import LIMIT, OURS
from moe_teach.bench.timing import Timing
from moe_teach.ops.backends import OPERATIONS
from moe_teach.ops.tiles import SHARED_MEMORY, Tiles


def test_every_operation_with_kernels_is_checked_against_a_definition_that_exists():
    assert set(DEFINITION) == set(with_kernels())
    for operation, (definition, _) in DEFINITION.items():
        assert definition in OPERATIONS[operation].backends


def test_right_kernels_are_found_right_and_named():
    *compared, last = check("combine", "cpu", toy=True)

    assert [row["of"] for row in compared] == ["output", "gradient of y", "gradient of gates"]
    assert verdict_on("correct", compared) == ("passed", "")
    assert last["launched"] == ["_collect", "_combine_backward"]


def test_rows_far_away_are_compared_forward_and_backward():
    rows = list(check_large("cpu", toy=True))

    assert len(rows) == 4
    assert verdict_on("correct", rows) == ("passed", "")


@pytest.mark.parametrize("damage", [1.05, float("nan")], ids=["5 % too large", "not a number"])
def test_a_wrong_kernel_is_found_out(monkeypatch, damage):
    honest = correctness.call

    def broken(operation, inputs, backend):
        out, leaves = honest(operation, inputs, backend)
        return (out * damage if backend == "triton" else out), leaves

    monkeypatch.setattr(correctness, "call", broken)
    rows = [row for row in check("combine", "cpu", toy=True) if "error" in row]

    assert {row["verdict"] for row in rows} == {"wrong"}
    assert verdict_on("correct", rows)[0] == "failed"


def test_kernels_are_tried_on_odd_sizes_published_models_and_uneven_loads():
    tried = list(trials("routed_ffn", toy=False))

    assert {trial.case.dtype for trial in tried} == set(ALLOWED)
    assert {trial.crowd for trial in tried} == {"balanced", "crowded", "dropped"}
    assert any(trial.case.shape.d_model % 16 for trial in tried)
    widths = {trial.case.shape.d_model for trial in tried}
    assert {4096, 2048, 7168} <= widths
    for trial in tried:
        shape = trial.case.shape
        assert 3 * shape.n_experts * shape.d_model * shape.d_ff < 10**9, "too large in float64"


def test_the_list_begins_with_what_is_right_and_holds_every_model():
    listed = steps(toy=False)

    assert len({step.name for step in listed}) == len(listed)
    kinds = list(dict.fromkeys(step.kind for step in listed))
    assert kinds == ["correct", "prepare", "limits", "kernels", "layer", "rivals", "tune"]
    for kind in ("kernels", "layer", "tune"):
        names = " ".join(step.name for step in listed if step.kind == kind)
        assert all(model in names for model in NAMES)
    assert {step.package for step in listed} == {"", *SPECIALISTS}
    assert not any(step.together for step in listed if step.kind not in ("correct", "prepare"))


def test_checks_and_timings_leave_two_of_nine_minutes_for_tuning():
    listed = steps(toy=False)
    timed = sum(step.seconds for step in listed if step.kind in ("limits", "kernels", "layer"))
    # Those run side by side; the longest of them counts.
    together = max(step.seconds for step in listed if step.kind in ("correct", "prepare"))

    assert together + timed < 7 * 60


def test_layer_and_card_give_rows_with_ratios_and_seconds(monkeypatch):
    monkeypatch.setattr(timings, "transformers_blocks", lambda *_: iter(()))  # slow to import
    rows = list(layers(toy_setting(TOY), [3], skewed=True))
    card = list(measure_limits("cpu"))

    assert {LIMIT, OURS} <= {row["contender"] for row in rows}
    assert not [row["problem"] for row in rows if "problem" in row]
    assert all(row["ratio"] > 0 and row["seconds"] > 0 for row in rows)
    assert {row["shape"]["n_tokens"] for row in rows} == {3}
    assert {row["routing"] for row in rows} == {"skewed"}
    assert all(row["value"] > 0 for row in card)


def test_a_size_for_which_there_is_no_memory_is_a_row_and_the_next_is_tried(monkeypatch):
    def time_kernels(setting, packages):
        if setting.shape.n_tokens == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        yield a_line(shape=setting.shape)

    monkeypatch.setattr(timings, "time_kernels", time_kernels)
    large, small = kernels(toy_setting(TOY), [3, 2])

    assert (large["shape"]["n_tokens"], large["problem"]) == (3, "out of memory")
    assert (small["shape"]["n_tokens"], small["seconds"]) == (2, 1e-3)


def a_line(**facts) -> KernelRow:
    line = KernelRow("Qwen3", TOY, "bfloat16", "forward", "ours", Timing(1e-3, 1.1))
    return replace(line, **facts)


@pytest.mark.parametrize(
    ("line", "is_doubtful"),
    [
        (a_line(), False),
        (a_line(timing=Timing(1e-3, 0.95)), False),  # a dense chain is not always at its best
        (a_line(timing=Timing(1e-3, 0.5)), True),
        (a_line(timing=Timing(0.0, 1.0)), True),
        (a_line(step="decode", timing=Timing(1e-3, 9.0), bandwidth=0.9), False),
        (a_line(step="decode", timing=Timing(1e-3, 9.0), bandwidth=2.0), True),
    ],
    ids=["slower", "a little faster", "twice as fast", "no time", "decode", "decode too fast"],
)
def test_a_time_that_cannot_be_is_doubted(line, is_doubtful):
    assert ("doubt" in facts_of(line, "balanced")) == is_doubtful


def test_every_neighbour_fits_into_a_processor():
    start = Tiles(128, 256, 64, 8, 3)
    around = list(neighbours(start, "product", 2))

    assert start not in around
    assert Tiles(64, 256, 64, 8, 3) in around
    assert Tiles(128, 128, 64, 8, 3) in around
    assert Tiles(128, 256, 128, 8, 3) not in around  # its operands would fill 288 KB
    assert Tiles(256, 256, 64, 8, 3) not in around  # its sums would fill more than all registers
    assert all(tiles.shared_bytes("product", 2) <= SHARED_MEMORY[90] for tiles in around)


def test_tuning_walks_to_the_best_and_survives_what_does_not_compile(monkeypatch):
    def try_out(walk, tiles: Tiles):
        if tiles.num_warps == 8:
            return {**walk.facts, "problem": "OutOfResources: shared memory"}
        return {
            **walk.facts,
            "ratio": 0.5 + abs(tiles.block_n - 128) / 512 + tiles.num_stages / 100,
        }

    monkeypatch.setattr(tuning.Walk, "try_out", try_out)
    *_, last = tune(toy_setting(TOY), "double", 60.0)

    start = start_of("double", TOY, torch.bfloat16, "cpu")
    assert last["table"]["block_n"] == start.block_n == 32
    assert (last["best"]["block_n"], last["best"]["num_stages"]) == (128, 2)
    assert last["ratio"] == 0.52


def test_block_sizes_that_give_another_answer_are_not_timed(monkeypatch):
    walk = next(_walks())
    monkeypatch.setattr(walk, "_forward", lambda: 1.1 * walk.expected)

    assert walk.try_out(Tiles(16, 32, 32))["problem"] == "its answer differs by 10 %"


def _walks() -> Iterator[tuning.Walk]:
    inputs = tuning.draw_inputs(TOY, torch.bfloat16, "cpu")
    with torch.no_grad():
        expected = tuning.reference(inputs).float()
    yield tuning.Walk(toy_setting(TOY), "double", inputs, expected)


# A stand-in for the driver of an H100: enough to compile, and to see under which key the code is
# kept. With the key of a real launch, the launch finds it.
PREPARED = """
import torch, triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

class Driver:
    def get_current_target(self): return GPUTarget("cuda", 90, 32)
    def get_current_device(self): return 0
    def get_current_stream(self, device): return 0
    def get_active_torch_device(self): return torch.device("cuda", 0)

driver.set_active(Driver())
torch.cuda.get_device_capability = lambda *_: (9, 0)

import sys
from triton.runtime.jit import JITFunction
from moe_teach.bench.gpu import prepare
from moe_teach.bench.grid import Shape
from moe_teach.bench.kernel_cases import Case

case = Case("combine", Shape(64, 64, 32, 64, 8), backward=False)

def ours():
    return [module for name, module in sys.modules.items() if name.startswith("moe_teach.ops")]

def keys():
    things = {id(thing): thing for module in ours() for thing in vars(module).values()}
    kernels = [thing for thing in things.values() if isinstance(thing, JITFunction)]
    caches = [cache for kernel in kernels for cache, *_ in kernel.device_caches.values()]
    return [key for cache in caches for key in cache]

print([row["case"] for row in prepare.prepare([case])])
first = keys()
launch = JITFunction.run

def real(value):
    return torch.empty(16, dtype=value.dtype) if isinstance(value, torch.Tensor) else value

def launch_with_memory(kernel, *arguments, **options):
    return launch(kernel, *map(real, arguments), **{k: real(v) for k, v in options.items()})

JITFunction.run = launch_with_memory
prepare.compile_case(case)
print(len(first) > 0, first == keys())
"""


def test_what_is_prepared_is_what_a_launch_looks_for(tmp_path):
    file = tmp_path / "preparing.py"
    file.write_text(PREPARED)
    environment = {
        "PATH": "",
        "PYTHONPATH": str(Path(timings.__file__).parents[3]),
        "TRITON_INTERPRET": "0",
        "TRITON_CACHE_DIR": str(tmp_path / "cache"),
    }
    said = subprocess.run(
        [sys.executable, str(file)], capture_output=True, text=True, env=environment
    )

    assert said.stdout.splitlines() == [
        "['combine T=64 d=64 f=32 E=64 k=8 bfloat16 forward']",
        "True True",
    ], said.stderr
    assert list((tmp_path / "cache").rglob("*.cubin"))
