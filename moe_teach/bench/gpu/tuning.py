"""Which block sizes are fastest: a walk from those of the tables to better neighbours.

One kind of work is tuned at a time (`moe_teach.ops.tiles.Work`), inside the whole operation and
with the others as the tables say, because that is where it has to be fast.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

import torch
from torch import Tensor

from moe_teach.bench.contenders import reference
from moe_teach.bench.gpu.step import Row
from moe_teach.bench.gpu.worker import in_short
from moe_teach.bench.gpu_clock import captured, clock_of
from moe_teach.bench.grid import Shape
from moe_teach.bench.kernel_cases import Inputs, draw_inputs
from moe_teach.bench.kernels import DECODE, MOST_DIFFERENCE, Setting
from moe_teach.bench.timing import Run, in_turn
from moe_teach.ops.routed_ffn import routed_ffn
from moe_teach.ops.tiles import SHARED_MEMORY, Tiles, Work, fitting_tiles, forced

TABLE = "as in the table"
_BLOCKS = {"block_m": (16, 256), "block_n": (32, 256), "block_k": (32, 256)}
_MOST_SUMS = 128 * 256  # float32 sums that the registers of 8 warps hold
_BETTER = 0.99  # of the best so far: less could be chance
_ROUNDS_S = 0.3


def start_of(work: Work, shape: Shape, dtype: torch.dtype, device: str) -> Tiles:
    """Look up what the tables say for the first matrices (or their gradient) at a shape."""
    per_expert = -(-shape.n_rows // shape.n_experts)
    where = torch.device(device)
    if work == "outer":
        return fitting_tiles(work, where, dtype, shape.d_ff, shape.d_model, per_expert)
    return fitting_tiles(work, where, dtype, per_expert, shape.d_ff, shape.d_model)


def neighbours(tiles: Tiles, work: Work, itemsize: int) -> Iterator[Tiles]:
    """Give the block sizes one change away that a processor can hold."""
    changed = [
        replace(tiles, **{name: size})
        for name, (least, most) in _BLOCKS.items()
        for size in (getattr(tiles, name) * 2, getattr(tiles, name) // 2)
        if least <= size <= most
    ]
    changed += [replace(tiles, num_stages=tiles.num_stages + by) for by in (1, -1)]
    changed.append(replace(tiles, num_warps=4 if tiles.num_warps == 8 else 8))
    for one in changed:
        sums = one.block_m * one.block_n * (2 if work == "double" else 1)
        fits = one.shared_bytes(work, itemsize) <= SHARED_MEMORY[90]
        if fits and sums <= _MOST_SUMS and one.num_stages >= 2:
            yield one


def tune(setting: Setting, work: Work, seconds: float) -> Iterator[Row]:
    """Walk downhill for so many seconds; every block size that was tried is a row."""
    inputs = draw_inputs(setting.shape, setting.dtype, setting.device)
    with torch.no_grad():
        expected = reference(inputs).float()
    walk = Walk(setting, work, inputs, expected)
    until = time.monotonic() + seconds
    best, best_ratio = start_of(work, setting.shape, setting.dtype, setting.device), 1.0
    tried = {best}
    moved = True
    while moved:
        moved = False
        for tiles in neighbours(best, work, setting.dtype.itemsize):
            if tiles in tried or time.monotonic() > until:
                continue
            tried.add(tiles)
            row = walk.try_out(tiles)
            yield row
            if row.get("ratio", 9.0) < _BETTER * best_ratio:
                best, best_ratio, moved = tiles, row["ratio"], True
                break
    yield {**walk.facts, "best": asdict(best), "ratio": best_ratio, "n_tried": len(tried)}


class Walk:
    """Compares block sizes with those of the tables at one setting."""

    def __init__(self, setting: Setting, work: Work, inputs: Inputs, expected: Tensor) -> None:
        self.setting, self.work, self.inputs, self.expected = setting, work, inputs, expected
        self.is_decode = setting.shape.n_tokens <= DECODE and setting.model != "toy"
        self.usual = self._run(None)
        self.facts: Row = {
            "model": setting.model,
            "shape": asdict(setting.shape),
            "dtype": str(setting.dtype).removeprefix("torch."),
            "work": work,
            "table": asdict(start_of(work, setting.shape, setting.dtype, setting.device)),
        }

    def try_out(self, tiles: Tiles) -> Row:
        """Compare one choice with the tables: right first, then fast."""
        facts = {**self.facts, "tiles": asdict(tiles)}
        try:
            with forced(tiles, self.work), torch.no_grad():
                away = (self._forward().float() - self.expected).norm() / self.expected.norm()
            if not away <= MOST_DIFFERENCE:
                return {**facts, "problem": f"its answer differs by {100 * away.item():.0f} %"}
            runs = {TABLE: self.usual, "tiles": self._run(tiles)}
            clock = clock_of(self.setting.device)
            times = in_turn(
                runs, TABLE, budget_s=min(_ROUNDS_S, self.setting.budget_s), clock=clock
            )
        except torch.OutOfMemoryError:
            raise
        except Exception as problem:  # too much shared memory, or the compiler gives up
            if "CUDA error" in str(problem):
                raise  # nothing more can be launched in this process
            return {**facts, "problem": in_short(problem)}
        return {**facts, "seconds": times["tiles"].seconds, "ratio": times["tiles"].ratio}

    def _forward(self) -> Tensor:
        inputs = self.inputs
        return routed_ffn(inputs.x, inputs.routing, inputs.weights, "swiglu", backend="triton")

    def _run(self, tiles: Tiles | None) -> Run:
        """Make what is timed; in decoding the tiles are captured with the launch."""
        step = self._backward() if self.work == "outer" else torch.no_grad()(self._forward)

        def run() -> object:
            if tiles is None:
                return step()
            with forced(tiles, self.work):
                return step()

        captures = self.is_decode and self.setting.device == "cuda"
        return captured(run) if captures else run

    def _backward(self) -> Callable[[], object]:
        dout = torch.ones_like(self.inputs.x)
        return lambda: torch.autograd.grad(self._forward(), self.inputs.leaves, dout)
