"""What is timed: the limits of the card, the kernels, and the whole layer, as rows."""

import statistics
from collections.abc import Collection, Iterator
from dataclasses import asdict, replace

import torch
from torch import Tensor

from moe_teach.bench.contenders import Contender
from moe_teach.bench.gpu.step import Row
from moe_teach.bench.gpu_clock import bandwidth, clock_of
from moe_teach.bench.grid import Shape
from moe_teach.bench.kernels import (
    KernelRow,
    Setting,
    needed_bytes,
    time_entries,
    time_kernels,
)
from moe_teach.bench.layer import OURS, OutputOnly, WithBackend, build_layer, skew_router
from moe_teach.bench.rivals import transformers_blocks

# Nobody beats a limit by more: what seems to has not done its work, or the clock is wrong.
MOST_PLAUSIBLE = 1.3
# A layer decides by itself; in two bytes a rival's router decides a few tokens otherwise.
_LAYERS_MAY_DIFFER = 0.2
_SQUARE = {"cuda": 8192, "cpu": 128}


def measure_limits(device: str) -> Iterator[Row]:
    """Measure the card itself: bytes and operations per second, and the price of one launch."""
    yield {"what": "copy", "unit": "bytes/s", "value": bandwidth(device)}
    n, clock = _SQUARE[device], clock_of(device)
    for dtype in (torch.bfloat16, torch.float32):
        a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
        seconds = _median(lambda a=a, b=b: a @ b, clock)
        name = str(dtype).removeprefix("torch.")
        yield {"what": f"dense matmul in {name}", "unit": "flop/s", "value": 2 * n**3 / seconds}
    one = torch.zeros(1, device=device)
    yield {"what": "one small launch", "unit": "s", "value": _median(lambda: one.add_(1), clock)}


def _median(run, clock) -> float:
    for _ in range(3):
        run()
    return statistics.median(clock(run) for _ in range(10))


def kernels(
    setting: Setting, tokens: Collection[int], packages: Collection[str] | None = None
) -> Iterator[Row]:
    """Time the routed experts for so many tokens, one size after another."""
    for n_tokens in tokens:
        one = replace(setting, shape=replace(setting.shape, n_tokens=n_tokens))
        yield from guarded(one, time_kernels(one, packages))


def layers(setting: Setting, tokens: Collection[int], *, skewed: bool) -> Iterator[Row]:
    """Time the whole layer, its router included."""
    for n_tokens in tokens:
        one = replace(setting, shape=replace(setting.shape, n_tokens=n_tokens))
        routing = "skewed" if skewed else "balanced"
        yield from guarded(one, time_layer(one, skewed), routing)


def guarded(
    setting: Setting, timed: Iterator[KernelRow], routing: str = "balanced"
) -> Iterator[Row]:
    """Turn lines into rows; a size that does not fit is a row, and the next one is tried."""
    try:
        for row in timed:
            yield facts_of(row, routing)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        what = (setting.model, setting.shape, str(setting.dtype).removeprefix("torch."))
        yield facts_of(
            KernelRow(*what, "every step", "everybody", None, problem="out of memory"), routing
        )


def facts_of(row: KernelRow, routing: str) -> Row:
    """Write a line of the table as plain data, and say if it cannot be true."""
    facts: Row = {
        "model": row.model,
        "shape": asdict(row.shape),
        "dtype": row.dtype,
        "routing": routing,
        "step": row.step,
        "contender": row.contender,
    }
    if row.timing is None:
        return {**facts, "problem": row.problem}
    facts |= {
        "seconds": row.timing.seconds,
        "ratio": row.timing.ratio,  # to the dense matmuls of the same round
        "bandwidth_share": row.bandwidth,
        "peak_bytes": row.peak_bytes,
    }
    bound = "bandwidth" if row.step == "decode" else "dense matmuls"
    share = row.bandwidth if row.step == "decode" else 1 / max(row.timing.ratio, 1e-9)
    if row.model != "toy" and (share > MOST_PLAUSIBLE or row.timing.seconds <= 0):
        facts["doubt"] = f"{100 * share:.0f} % of the {bound}: this cannot be."
    return facts


def time_layer(setting: Setting, skewed: bool) -> Iterator[KernelRow]:
    """Time our layer and transformers' with the same matrices, routers included."""
    shape, device = setting.shape, torch.device(setting.device)
    with device:  # large matrices are drawn where they are needed
        layer = build_layer(shape, setting.dtype)
        x = torch.randn(shape.n_tokens, shape.d_model, dtype=setting.dtype)
        if skewed:
            skew_router(layer, x)
        blocks = list(transformers_blocks(shape, layer))
    x.requires_grad_()
    modules = [(OURS, OutputOnly(layer)), *((f"transformers {n}", b) for n, b in blocks)]
    entries = [Contender(name, _calling(module, x), _leaves(module, x)) for name, module in modules]
    with torch.no_grad():
        expected = WithBackend(layer, "sorted")(x).float()
        chosen = layer(x)[1].expert_ids
    n_bytes = needed_bytes(chosen, shape, x.element_size())
    setting = replace(setting, most_difference=_LAYERS_MAY_DIFFER)
    yield from time_entries(setting, entries, expected, n_bytes)


def _calling(module: torch.nn.Module, x: Tensor):
    return lambda: module(x)


def _leaves(module: torch.nn.Module, x: Tensor) -> list[Tensor]:
    return [x, *(p for p in module.parameters() if p.requires_grad)]


def toy_setting(shape: Shape) -> Setting:
    """Give the setting in which the interpreter tries the code."""
    return Setting("toy", shape, torch.bfloat16, "cpu", 0.0)
