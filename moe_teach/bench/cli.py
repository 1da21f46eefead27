"""The command line of `moe-teach bench`."""

import argparse
import importlib
import sys
from itertools import islice

import torch

from moe_teach.bench.compile_only import TARGETS, library_reports
from moe_teach.bench.compile_table import HEADER as COMPILE_HEADER
from moe_teach.bench.compile_table import faults, report_cells
from moe_teach.bench.contenders import BY_PARTS, FUSED, TORCH
from moe_teach.bench.graphs import HEADER as GRAPH_HEADER
from moe_teach.bench.graphs import cuts
from moe_teach.bench.grid import GRIDS
from moe_teach.bench.kernel_cases import kernel_grid
from moe_teach.bench.kernels import HEADER as KERNEL_HEADER
from moe_teach.bench.kernels import Setting, advice, time_kernels
from moe_teach.bench.layer import time_shape
from moe_teach.bench.parts import breakdown
from moe_teach.bench.table import (
    PART_HEADER,
    TRAIN_HEADER,
    as_markdown,
    as_text,
    cells,
    machine,
    part_cells,
    train_cells,
    written,
)
from moe_teach.bench.train import SIZES, time_size
from moe_teach.ops.triton_mode import choose_mode, mode

# What reads options of its own, and needs what the others do not.
OF_THEIR_OWN = {
    "cache": "moe_teach.bench.memory.study",
    "gpu": "moe_teach.bench.gpu.cli",
    "memory": "moe_teach.bench.memory.cli",
    "routes": "moe_teach.bench.routes",
    "serve": "moe_teach.bench.serve.cli",
}
KERNEL_GRIDS = ("models", "toy")
NOT_A_GPU = (
    "These are not GPU numbers: every kernel ran in Triton's interpreter, one program after "
    "another, to try the code of this command."
)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def parser() -> argparse.ArgumentParser:
    """Describe the arguments."""
    description = (
        "Time an MoE layer, a training step, or our kernels on a GPU, against their rivals and the "
        "limit; compile the kernels for GPUs that are not there; count the graphs of a layer; say "
        "how far our models answer from other libraries' with the same weights (parity); or round "
        "a model's weights and measure its answers (quantise)."
    )
    more = (
        "All about the GPU at hand, in a few minutes: moe-teach bench gpu --help. A model of 13 GB "
        "inside 4 GB: moe-teach bench memory --help. Caches of experts on traces: moe-teach bench "
        "cache --help. Servers under load and abuse: moe-teach bench serve --help. The grader on a "
        "made class: moe-teach bench grade --help. What one check of an exercise takes: "
        "moe-teach bench checks --help. What recording routes costs: moe-teach bench routes --help"
    )
    result = argparse.ArgumentParser(prog="moe-teach bench", description=description, epilog=more)
    result.add_argument("what", choices=VERBS, help="what to time")
    result.add_argument("--grid", choices=(*GRIDS, *KERNEL_GRIDS), help="which sizes")
    result.add_argument("--first", type=int, help="only so many shapes of the grid")
    result.add_argument("--dtype", choices=DTYPES, action="append", help="default: both")
    result.add_argument("--skewed", action="store_true", help="heaviest expert 4x the mean")
    result.add_argument("--all", action="store_true", help="time every backend of ours too")
    result.add_argument("--size", choices=SIZES, action="append", help="train: which models")
    result.add_argument("--seconds", type=float, default=4.0, help="for each shape and step")
    result.add_argument("--target", choices=TARGETS, action="append", help="compile: for whom")
    result.add_argument("--few", action="store_true", help="compile: only what stands for all")
    result.add_argument(
        "--windows", type=int, default=32, help="quantise: of 128 tokens, for each domain"
    )
    result.add_argument("--threads", type=int, help="default: as torch finds the machine")
    result.add_argument("--markdown", action="store_true", help="print a table for a page")
    return result


def main(argv: list[str]) -> int:
    """Run the benchmark and print one table; lines appear on stderr as they are measured."""
    if argv[:1] and argv[0] in OF_THEIR_OWN:
        return importlib.import_module(OF_THEIR_OWN[argv[0]]).main(argv[1:])
    options = parser().parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    return VERBS[options.what](options)


def _layer(options: argparse.Namespace) -> int:
    """Time one layer of each shape."""
    rows = []
    for dtype in options.dtype or DTYPES:
        for shape in GRIDS[options.grid or "training"][: options.first]:
            for row in time_shape(
                shape,
                DTYPES[dtype],
                skewed=options.skewed,
                budget_s=options.seconds,
                every_backend=options.all,
            ):
                rows.append(row)
                print(" ".join(cells(row)), file=sys.stderr, flush=True)
    print(machine())
    print(as_markdown(rows) if options.markdown else as_text(rows))
    return 0


def _train(options: argparse.Namespace) -> int:
    """Time whole training steps, then the parts of ours."""
    steps, parts = [], []
    for name in options.size or ("lesson", "shipped"):
        size = SIZES[name]
        for row in time_size(size, options.seconds):
            steps.append(train_cells(row))
            print(" ".join(steps[-1]), file=sys.stderr, flush=True)
        parts += [part_cells(size, part) for part in breakdown(size, options.seconds)]
    print(machine())
    print(written(TRAIN_HEADER, steps, options.markdown), end="\n\n")
    print(written(PART_HEADER, parts, options.markdown))
    return 0


def _compile(options: argparse.Namespace) -> int:
    """Compile every kernel of the library, and fail if one of them would not do on its GPU."""
    cases = "few" if options.few else "every"
    reports = library_reports(cases, options.target or TARGETS, progress=True)
    print(written(COMPILE_HEADER, [report_cells(r) for r in reports], options.markdown))
    wrong = list(faults(reports))
    print(*wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


def _kernels(options: argparse.Namespace) -> int:
    """Time the routed experts on a GPU, or try the code at toy sizes where there is none."""
    choose_mode()  # before a rival imports Triton
    device = "cuda" if torch.cuda.is_available() else "cpu"
    grid = options.grid or "models"
    if grid not in KERNEL_GRIDS or (device == "cpu" and grid != "toy"):
        print(
            "moe-teach bench kernels: it takes '--grid models', which needs a GPU, or '--grid "
            "toy', which tries the same code in Triton's interpreter.",
            file=sys.stderr,
        )
        return 2
    rows = []
    for model, shape in list(kernel_grid(grid))[: options.first]:
        for dtype in options.dtype or ["bfloat16"]:
            setting = Setting(model, shape, DTYPES[dtype], device, options.seconds)
            for row in time_kernels(setting):
                rows.append(row)
                print(" ".join(row.cells()), file=sys.stderr, flush=True)
    print(machine())
    print(written(KERNEL_HEADER, [row.cells() for row in rows], options.markdown))
    if mode() == "compiled":
        print(*advice(rows, (FUSED, BY_PARTS, TORCH), FUSED), sep="\n")
    else:
        print(NOT_A_GPU)
    return 0


def _compile_graph(options: argparse.Namespace) -> int:
    """Count the graphs that torch.compile makes of a layer, and the breaks between them."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = cuts([DTYPES[dtype] for dtype in options.dtype or DTYPES], device)
    rows = [row.cells() for row in islice(found, options.first)]
    print(machine())
    print(written(GRAPH_HEADER, rows, options.markdown))
    return 0


def _parity(options: argparse.Namespace) -> int:
    """Compare our models with other libraries' of the same weights; 1 where they differ."""
    from moe_teach.bench.parity import CASES
    from moe_teach.bench.parity import HEADER as PARITY_HEADER

    rows = []
    for case in CASES[: options.first]:
        for row in case():
            rows.append(row)
            print(" ".join(row.cells()), file=sys.stderr, flush=True)
    print(machine())
    print(written(PARITY_HEADER, [row.cells() for row in rows], options.markdown))
    return 0 if all(row.is_equal for row in rows) else 1


def _quantise(options: argparse.Namespace) -> int:
    """Round the weights of the shipped model, and measure what becomes of its answers."""
    from moe_teach.bench import quantise

    what = quantise.subject(options.windows)
    print(machine())
    print(quantise.about(what), end="\n\n", flush=True)
    for title, header, rows in quantise.tables(what):
        print(title)
        print(written(header, list(rows), options.markdown), end="\n\n", flush=True)
    return 0


VERBS = {
    "layer": _layer,
    "train": _train,
    "compile": _compile,
    "compile-graph": _compile_graph,
    "kernels": _kernels,
    "quantise": _quantise,
    "parity": _parity,
}
