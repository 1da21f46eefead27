"""The routed experts on a GPU: our kernels, everybody else's, and two limits, in one run.

The first limit is a dense chain of matmuls with the same floating-point operations, the second
the bandwidth of a large copy, which counts where few tokens use many matrices (decoding). Every
contender gets the same tokens, routing and matrices, must give the same answer, and is timed with
a cold L2 cache. Decoding is replayed from a CUDA graph where a contender can be captured, as
servers do; who waits for the GPU in between cannot be.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from moe_teach.bench.contenders import Contender, contenders, reference
from moe_teach.bench.grid import Shape
from moe_teach.bench.kernel_cases import Inputs, draw_inputs
from moe_teach.bench.layer import LIMIT, DenseChain
from moe_teach.bench.timing import Run, Timing, in_turn, wall_seconds

DECODE = 64  # tokens up to which bandwidth is the limit
HEADER = (
    "model",
    "shape",
    "type",
    "step",
    "contender",
    "ms",
    "% of dense",
    "% of bandwidth",
    "peak MiB",
)
MOST_DIFFERENCE = 0.03  # of the answers' norm, in two-byte numbers
_COLD = 256 << 20  # bytes to write so that nothing of before is left in the L2 cache
_COPY = {"cuda": 1 << 30, "cpu": 1 << 22}  # bytes to copy for the bandwidth


@dataclass(frozen=True)
class KernelRow:
    """One line of the table."""

    model: str
    shape: Shape
    dtype: str
    step: str
    contender: str
    timing: Timing | None  # None: could not be measured
    bandwidth: float = 0.0  # bytes a contender must move, per second, over the copy's
    peak_bytes: int = 0
    problem: str = ""

    def cells(self) -> tuple[str, ...]:
        """Give the cells of one line, as text."""
        what = (self.model, str(self.shape), self.dtype, self.step, self.contender)
        if self.timing is None:
            return (*what, "not measured: " + self.problem, "", "", "")
        share = f"{100 * self.bandwidth:.1f}" if self.step == "decode" else ""
        peak = f"{self.peak_bytes / 2**20:.0f}" if self.peak_bytes else ""
        ms = f"{1e3 * self.timing.seconds:.3f}"
        return (*what, ms, f"{100 / self.timing.ratio:.1f}", share, peak)


def steps_of(model: str, shape: Shape) -> tuple[str, ...]:
    """Name what is timed: decoding, or training; at toy sizes what goes through all code."""
    if model == "toy":
        return ("decode", "forward+backward")
    return ("decode",) if shape.n_tokens <= DECODE else ("forward", "forward+backward")


def time_kernels(
    model: str, shape: Shape, dtype: torch.dtype, device: str, budget_s: float
) -> Iterator[KernelRow]:
    """Time everybody at one size, first forward and then with the backward pass."""
    inputs = draw_inputs(shape, dtype, device)
    dense = _dense(shape, dtype, device)
    entries = [dense, *contenders(inputs, shape)]
    problems = {entry.name: _difference(entry, inputs) for entry in entries[1:]}
    copied = bandwidth(device)
    rounds = {"clock": clock_of(device), "min_rounds": 1 if model == "toy" else 3}
    for step in steps_of(model, shape):
        runs, peaks = {}, {}
        for entry in entries:
            if problems.get(entry.name) or (step == "forward+backward" and not entry.leaves):
                continue
            run = _step(entry, step)
            peaks[entry.name], problems[entry.name] = _try_out(run, device)
            if not problems[entry.name]:
                captures = step == "decode" and device == "cuda"
                runs[entry.name] = _captured(run) if captures else run
        times = in_turn(runs, LIMIT, budget_s=budget_s, **rounds)
        for entry in entries:
            timing, problem = times.get(entry.name), problems[entry.name]
            if timing is None and not problem:
                continue  # has no backward pass
            speed = 0.0 if timing is None else needed_bytes(inputs, shape) / timing.seconds / copied
            peak = peaks.get(entry.name, 0)
            facts = (model, shape, str(dtype).removeprefix("torch."), step, entry.name)
            yield KernelRow(*facts, timing, speed, peak, problem)


def _dense(shape: Shape, dtype: torch.dtype, device: str) -> Contender:
    chain = DenseChain(shape, dtype).to(device)
    rows = torch.randn(shape.n_rows, shape.d_model, dtype=dtype, device=device).requires_grad_()
    return Contender(LIMIT, lambda: chain(rows), [rows, *chain.parameters()])


def needed_bytes(inputs: Inputs, shape: Shape) -> int:
    """Count what must be moved whatever the method: the chosen experts' matrices, x in, y out."""
    n_used = len(inputs.routing.expert_ids.unique())
    matrices = 3 * n_used * shape.d_model * shape.d_ff
    return (matrices + 2 * shape.n_tokens * shape.d_model) * inputs.x.element_size()


def bandwidth(device: str) -> float:
    """Measure bytes per second of a large copy, read and written ones both counted."""
    source = torch.zeros(_COPY[device], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    clock = clock_of(device)
    target.copy_(source)
    seconds = [clock(lambda: target.copy_(source)) for _ in range(10)]
    return 2 * source.numel() / statistics.median(seconds)


def clock_of(device: str) -> Callable[[Run], float]:
    """Give the clock of a device: a function that runs something and returns its seconds."""
    return _gpu_seconds if device == "cuda" else wall_seconds


def _gpu_seconds(run: Run) -> float:
    """Time on the GPU's own clock, after whatever lies in its cache was overwritten."""
    torch.empty(_COLD, dtype=torch.uint8, device="cuda").zero_()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def _step(entry: Contender, step: str) -> Run:
    if step != "forward+backward":
        return torch.no_grad()(entry.forward)
    grad: list[Tensor] = []

    def run() -> object:
        out = entry.forward()
        if not grad:
            grad.append(torch.randn_like(out))
        return torch.autograd.grad(out, entry.leaves, grad[0], allow_unused=True)

    return run


def _captured(forward: Run) -> Run:
    """Record a CUDA graph and replay it; without one where somebody waits for the GPU."""
    try:
        for _ in range(3):  # whoever compiles or allocates should have done so
            forward()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            forward()
    except Exception:  # what a capture raises depends on what was forbidden
        torch.cuda.synchronize()
        return forward
    return graph.replay


def _try_out(run: Run, device: str) -> tuple[int, str]:
    """Run once to be warm and once to see the peak of memory, or why it does not run."""
    try:
        run()
        if device != "cuda":
            return 0, ""
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before, ""
    except Exception as problem:  # a rival's failure is a line of the table
        return 0, _in_short(problem)


@torch.no_grad()
def _difference(entry: Contender, inputs: Inputs) -> str:
    """Say how far a contender's answer is from the reference, if it is too far."""
    try:
        expected, answer = reference(inputs).float(), entry.forward().float()
    except Exception as problem:  # a rival's failure is a line of the table
        return _in_short(problem)
    away = ((answer - expected).norm() / expected.norm()).item()
    if not away <= MOST_DIFFERENCE:
        return f"its answer differs by {100 * away:.0f} %"
    return ""


def _in_short(problem: Exception) -> str:
    lines = str(problem).splitlines()
    return f"{type(problem).__name__}: {lines[0] if lines else ''}"[:160]


def advice(rows: list[KernelRow], ours: tuple[str, ...], chosen: str) -> Iterator[str]:
    """Say where another of our ways was faster than the one that the layer takes by itself."""
    for shape, step in dict.fromkeys((row.shape, row.step) for row in rows):
        seconds = {
            row.contender: row.timing.seconds
            for row in rows
            if (row.shape, row.step) == (shape, step) and row.timing and row.contender in ours
        }
        best = min(seconds, key=seconds.__getitem__, default=chosen)
        if chosen in seconds and seconds[best] < 0.95 * seconds[chosen]:
            share = seconds[best] / seconds[chosen]
            yield f"{shape}, {step}: {best} takes {share:.2f} of the time of {chosen}."
