"""`moe-teach bench gpu`: everything worth knowing about the GPU at hand, in the time there is.

    moe-teach bench gpu --minutes 9 --out results/h100
    moe-teach bench gpu --out results/h100 --page results/h100.md

The first command may be killed at any moment; the same command goes on where it stopped.
"""

import argparse
import os
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from moe_teach.bench.gpu.record import FILE, Record, demand_same, fingerprint, read
from moe_teach.bench.gpu.session import Session
from moe_teach.bench.gpu.supervisor import NoWorker, Worker
from moe_teach.files import write_atomically
from moe_teach.ops.triton_mode import choose_mode
from moe_teach.train.machine import facts, version_of

STEPS = "moe_teach.bench.gpu.steps"
PACKAGES = ("triton", "transformers", "scattermoe", "megablocks", "vllm", "sonicmoe")
NO_GPU = (
    "there is no GPU here that torch can use: run this where there is one, or try its code in "
    "Triton's interpreter with --toy."
)
NO_TRITON = "the kernels need the package triton: pip install 'moe-teach[kernels]'."
_MOST_HELPERS = 12


def parser() -> argparse.ArgumentParser:
    """Describe the arguments."""
    result = argparse.ArgumentParser(
        prog="moe-teach bench gpu",
        description="Check every kernel on a GPU against float64, time layer, kernels and decoding "
        "against limits and rivals, then tune block sizes: in this order, in the time there is. "
        "What was found out is in FOLDER/gpu.json at every moment; the same command goes on.",
    )
    result.add_argument("--minutes", type=float, default=9.0, help="how long (default 9)")
    result.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for gpu.json")
    result.add_argument("--anew", action="store_true", help="forget what the folder holds")
    result.add_argument("--toy", action="store_true", help="try the code without a GPU")
    result.add_argument(
        "--page", type=Path, metavar="FILE", help="measure nothing; write the record in Markdown"
    )
    return result


def main(argv: list[str]) -> int:
    """Do what is asked; the exit status is that of `moe-teach`."""
    options = parser().parse_args(argv)
    try:
        record = Record() if options.anew and not options.page else read(options.out)
        if options.page:
            return _write_page(record, options)
        problem = _missing(options)
        return _refuse(problem) if problem else measure(record, options)
    except ValueError as problem:
        return _refuse(str(problem))


def measure(record: Record, options: argparse.Namespace, step_set: str = STEPS) -> int:
    """Measure for the time there is; 1 if some kernel was found to be wrong or broken."""
    choose_mode()
    new_worker = partial(Worker, step_set, options.toy)
    helpers = 1 if options.toy else max(1, min(_MOST_HELPERS, (os.cpu_count() or 2) - 2))
    session = Session(record, options.out, options.minutes, new_worker, helpers)
    described = facts(*PACKAGES)
    command = f"moe-teach bench gpu --minutes {options.minutes:g}" + " --toy" * options.toy

    def describe(device: dict[str, Any]) -> dict[str, Any]:
        subject = {"device": device["name"], "kernels": fingerprint(), "toy": options.toy}
        subject |= {package: version_of(package) for package in ("torch", "triton")}
        demand_same(record, subject)
        record.machine = described
        return subject

    run = {"command": command, "date": described["date"], "minutes": options.minutes}
    try:
        session.open(run, describe)
        session.perform(import_module(step_set).steps(options.toy))
    except NoWorker as problem:
        print(f"moe-teach bench gpu: {problem}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("\nmoe-teach: stopped; the same command goes on where it was.", file=sys.stderr)
        return 130
    finally:
        session.close()
    return _conclude(record, options)


def _conclude(record: Record, options: argparse.Namespace) -> int:
    """Say where everything stands, and what is left."""
    bad = [d for d in record.steps if d.verdict not in ("passed", "measured")]
    print(f"{len(record.steps)} steps are in {options.out / FILE}, {len(bad)} with a problem.")
    if record.left_out:
        print(f"{len(record.left_out)} were left out; the file says why, and a new start goes on.")
    return 1 if any(d.kind == "correct" and d.verdict != "passed" for d in record.steps) else 0


def _missing(options: argparse.Namespace) -> str:
    if version_of("triton") == "not installed":
        return NO_TRITON
    return "" if options.toy or torch.cuda.is_available() else NO_GPU


def _write_page(record: Record, options: argparse.Namespace) -> int:
    if not record.steps:
        return _refuse(f"there is no record in {options.out}: measure first, without --page.")
    from moe_teach.bench.gpu.page import page

    write_atomically(options.page, page(record).encode())
    return 0


def _refuse(problem: str) -> int:
    print(f"moe-teach bench gpu: {problem}", file=sys.stderr)
    return 2
