"""The command line of `moe-teach bench`."""

import argparse
import sys

import torch

from moe_teach.bench.grid import GRIDS
from moe_teach.bench.layer import time_shape
from moe_teach.bench.table import as_markdown, as_text, cells, machine

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def parser() -> argparse.ArgumentParser:
    """Describe the arguments."""
    description = "Time one MoE layer against its rivals and the physical limit, in one run."
    result = argparse.ArgumentParser(prog="moe-teach bench", description=description)
    result.add_argument("what", choices=["layer"], help="what to time")
    result.add_argument("--grid", choices=GRIDS, default="training", help="which sizes")
    result.add_argument("--dtype", choices=DTYPES, action="append", help="default: both")
    result.add_argument("--skewed", action="store_true", help="heaviest expert 4x the mean")
    result.add_argument("--all", action="store_true", help="time every backend of ours too")
    result.add_argument("--seconds", type=float, default=4.0, help="for each shape and step")
    result.add_argument("--threads", type=int, help="default: as torch finds the machine")
    result.add_argument("--markdown", action="store_true", help="print a table for a page")
    return result


def main(argv: list[str]) -> int:
    """Run the benchmark and print one table; lines appear on stderr as they are measured."""
    options = parser().parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    rows = []
    for dtype in options.dtype or DTYPES:
        for shape in GRIDS[options.grid]:
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
