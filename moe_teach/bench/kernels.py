"""The routed experts on a GPU: our kernels, everybody else's, and two limits, in one run.

The first limit is a dense chain of matmuls with the same floating-point operations, the second
the bandwidth of a large copy, which counts where few tokens use many matrices (decoding). Every
contender gets the same tokens, routing and matrices, must give the same answer, and is timed with
a cold L2 cache. Decoding is replayed from a CUDA graph where a contender can be captured, as
servers do; who waits for the GPU in between cannot be.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from moe_teach.bench.contenders import Contender, contenders, reference
from moe_teach.bench.gpu_clock import bandwidth, captured, clock_of
from moe_teach.bench.grid import Shape
from moe_teach.bench.kernel_cases import draw_inputs
from moe_teach.bench.layer import LIMIT, DenseChain
from moe_teach.bench.timing import Run, Timing, in_turn

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


@dataclass(frozen=True)
class Setting:
    """What is timed, on what, and for how long."""

    model: str
    shape: Shape
    dtype: torch.dtype
    device: str
    budget_s: float
    most_difference: float = MOST_DIFFERENCE


def time_kernels(setting: Setting, packages: Collection[str] | None = None) -> Iterator[KernelRow]:
    """Time everybody at one size, first forward and then with the backward pass.

    `packages` are those whose functions are rivals; by default all that are installed.
    """
    inputs = draw_inputs(setting.shape, setting.dtype, setting.device)
    entries = list(contenders(inputs, setting.shape, packages))
    n_bytes = needed_bytes(inputs.routing.expert_ids, setting.shape, inputs.x.element_size())
    with torch.no_grad():
        expected = reference(inputs).float()
    yield from time_entries(setting, entries, expected, n_bytes)


def time_entries(
    setting: Setting, entries: list[Contender], expected: Tensor, n_bytes: int
) -> Iterator[KernelRow]:
    """Time those whose answer is the expected one, and the dense limit beside them."""
    model, shape, device = setting.model, setting.shape, setting.device
    problems = {entry.name: _difference(entry, expected, setting) for entry in entries}
    entries = [_dense(shape, setting.dtype, device), *entries]
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
                runs[entry.name] = captured(run) if captures else run
        if problems[LIMIT]:
            raise RuntimeError(f"The dense limit cannot be measured: {problems[LIMIT]}")
        times = in_turn(runs, LIMIT, budget_s=setting.budget_s, **rounds)
        for entry in entries:
            timing, problem = times.get(entry.name), problems[entry.name]
            if timing is None and not problem:
                continue  # has no backward pass
            speed = 0.0 if timing is None else n_bytes / timing.seconds / copied
            facts = (model, shape, str(setting.dtype).removeprefix("torch."), step, entry.name)
            yield KernelRow(*facts, timing, speed, peaks.get(entry.name, 0), problem)


def _dense(shape: Shape, dtype: torch.dtype, device: str) -> Contender:
    chain = DenseChain(shape, dtype).to(device)
    rows = torch.randn(shape.n_rows, shape.d_model, dtype=dtype, device=device).requires_grad_()
    return Contender(LIMIT, lambda: chain(rows), [rows, *chain.parameters()])


def needed_bytes(expert_ids: Tensor, shape: Shape, itemsize: int) -> int:
    """Count what must be moved whatever the method: the chosen experts' matrices, x in, y out."""
    matrices = 3 * len(expert_ids.unique()) * shape.d_model * shape.d_ff
    return (matrices + 2 * shape.n_tokens * shape.d_model) * itemsize


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
def _difference(entry: Contender, expected: Tensor, setting: Setting) -> str:
    """Say how far a contender's answer is from the expected one, if it is too far."""
    try:
        answer = entry.forward().float()
    except Exception as problem:  # a rival's failure is a line of the table
        return _in_short(problem)
    away = ((answer - expected).norm() / expected.norm()).item()
    if not away <= setting.most_difference:
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
