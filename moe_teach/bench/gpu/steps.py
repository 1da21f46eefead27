"""The steps in the order of their value: right first, then fast, then faster.

The seconds are reasoned for an H100 with 16 processor cores; a step that needs three times as
many is stopped.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch

from moe_teach.bench.gpu.compiled import check_compiled
from moe_teach.bench.gpu.correctness import DEFINITION, check, check_large, list_kernels
from moe_teach.bench.gpu.prepare import prepare, prepare_tiles
from moe_teach.bench.gpu.step import Row, Step
from moe_teach.bench.gpu.timings import kernels, layers, measure_limits, toy_setting
from moe_teach.bench.gpu.tuning import neighbours, start_of, tune
from moe_teach.bench.kernel_cases import NAMES, TOY, Case, shape_of, with_kernels
from moe_teach.bench.kernels import Setting
from moe_teach.ops.tiles import Work

DECODED, TRAINED = (1, 4, 16, 64), (4096, 16384)
SPECIALISTS = ("scattermoe", "megablocks", "vllm", "sonicmoe")
PEERS = ("transformers",)
FIRST = "Qwen3"  # the model that answers first: many small experts, as most are built now
# What is tuned: a kind of work, at how many tokens.
TUNED: tuple[tuple[Work, int], ...] = (
    ("double", 16384),
    ("product", 16384),
    ("outer", 16384),
    ("double", 16),
    ("product", 16),
)
_ROUNDS_S = 0.7  # for each size, in each direction


def steps(toy: bool) -> list[Step]:
    """Give every step, the most valuable first."""
    return list(_toy_steps() if toy else _gpu_steps())


def _toy_steps() -> Iterator[Step]:
    """Go through all code in the interpreter, at sizes that it can bear."""
    setting, one = toy_setting(TOY), (TOY.n_tokens,)
    yield from _correctness("cpu", toy=True)
    yield Step("limits of the card", "limits", 10.0, partial(measure_limits, "cpu"))
    yield Step("kernels: toy", "kernels", 30.0, partial(kernels, setting, one, PEERS))
    for skewed in (False, True):
        name = "layer: toy, skewed" if skewed else "layer: toy"
        yield Step(name, "layer", 30.0, partial(layers, setting, one, skewed=skewed))
    for work in ("double", "outer"):
        yield Step(f"tune: toy, {work}", "tune", 20.0, partial(tune, setting, work, 3.0))
    yield from (_specialist(package, setting, one) for package in SPECIALISTS)


def _gpu_steps() -> Iterator[Step]:
    models = (FIRST, *(model for model in NAMES if model != FIRST))
    yield from _correctness("cuda", toy=False)
    yield from _preparations()
    yield Step("limits of the card", "limits", 5.0, partial(measure_limits, "cuda"))
    for model in models:
        yield _timing("kernels", model, "decode", DECODED, 12.0)
        yield _timing("kernels", model, "training", TRAINED, 15.0)
    for model in models:
        yield _timing("layer", model, "decode", (1, 16), 10.0)
        yield _timing("layer", model, "training", (4096,), 10.0)
    for package in SPECIALISTS:
        yield _specialist(package, _setting(FIRST), (1, 16, 4096, 16384))
    for work, n_tokens in TUNED:
        yield _tile_preparation(FIRST, work, n_tokens)
    for model in models:
        for work, n_tokens in TUNED:
            yield _tuning(model, work, n_tokens, 15.0)
    for model in models:
        yield _timing("layer", model, "skewed training", (4096,), 10.0)
        yield _timing("kernels", model, "long training", (32768,), 15.0)


def _correctness(device: str, *, toy: bool) -> Iterator[Step]:
    expected_s = {"routed_ffn": 60.0, "grouped_ffn": 50.0, "grouped_mm": 40.0}
    for operation in sorted(with_kernels(), key=lambda name: -expected_s.get(name, 0.0)):
        run = partial(check, operation, device, toy)
        seconds = 20.0 if toy else expected_s.get(operation, 25.0)
        yield Step(f"correct: {operation}", "correct", seconds, run, together=True)
    run = partial(check_compiled, device, toy)
    yield Step("correct: inside torch.compile", "correct", 40.0, run, together=True)
    run = partial(check_large, device, toy)
    yield Step("correct: past 2^31 elements", "correct", 20.0, run, together=True)
    yield Step("correct: the list of kernels", "correct", 5.0, list_kernels, together=True)


def _preparations() -> Iterator[Step]:
    """Compile for all models at once: most of what they launch is the same code."""
    for operation in DEFINITION:
        for regime, tokens in (("decode", DECODED), ("training", TRAINED)):
            cases = [
                Case(operation, shape_of(model, n_tokens), backward=regime == "training")
                for model in NAMES
                for n_tokens in tokens
            ]
            name = f"prepare: {operation}, {regime}"
            run = partial(prepare, cases)
            yield Step(name, "prepare", 30.0, run, together=True, lasts=False)


def _setting(model: str, n_tokens: int = 1) -> Setting:
    return Setting(model, shape_of(model, n_tokens), torch.bfloat16, "cuda", _ROUNDS_S)


def _timing(kind: str, model: str, regime: str, tokens: tuple[int, ...], seconds: float) -> Step:
    setting = _setting(model)
    run: Callable[[], Iterator[Row]] = partial(kernels, setting, tokens, PEERS)
    if kind == "layer":
        run = partial(layers, setting, tokens, skewed=regime.startswith("skewed"))
    seconds *= len(tokens) / 2 if kind == "kernels" else 1
    return Step(f"{kind}: {model}, {regime}", kind, seconds, run)


def _specialist(package: str, setting: Setting, tokens: tuple[int, ...]) -> Step:
    """Time one package beside ours: it may take the process down, and nobody else with it."""
    run = partial(kernels, setting, tokens, (package,))
    return Step(f"rivals: {package}, {setting.model}", "rivals", 30.0, run, package=package)


def _tile_preparation(model: str, work: Work, n_tokens: int) -> Step:
    case = Case("routed_ffn", shape_of(model, n_tokens), backward=work == "outer")
    name = f"prepare: block sizes of {work}, {n_tokens} tokens"
    run = partial(_first_ring, case, work)
    return Step(name, "prepare", 30.0, run, together=True, lasts=False)


def _first_ring(case: Case, work: Work) -> Iterator[Row]:
    """Compile the block sizes that tuning tries first; only where the GPU is are they known."""
    start = start_of(work, case.shape, case.dtype, "cuda")
    yield from prepare_tiles(case, work, neighbours(start, work, case.dtype.itemsize))


def _tuning(model: str, work: Work, n_tokens: int, seconds: float) -> Step:
    run = partial(tune, _setting(model, n_tokens), work, seconds)
    return Step(f"tune: {model}, {work}, {n_tokens} tokens", "tune", seconds + 5.0, run)
