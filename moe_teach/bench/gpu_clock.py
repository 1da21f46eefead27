"""Seconds on a GPU: by its own clock, with a cold cache, from a graph where it can be recorded."""

import statistics
from collections.abc import Callable

import torch

from moe_teach.bench.timing import Run, wall_seconds

_COLD = 256 << 20  # bytes to write so that nothing of before is left in the L2 cache
_COPY = {"cuda": 1 << 30, "cpu": 1 << 22}  # bytes to copy for the bandwidth


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


def bandwidth(device: str) -> float:
    """Measure bytes per second of a large copy, read and written ones both counted."""
    source = torch.zeros(_COPY[device], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    clock = clock_of(device)
    target.copy_(source)
    seconds = [clock(lambda: target.copy_(source)) for _ in range(10)]
    return 2 * source.numel() / statistics.median(seconds)


def captured(forward: Run) -> Run:
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
