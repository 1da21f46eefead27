"""The command line of `moe-teach bench serve`."""

import argparse
import asyncio
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from moe_teach.bench.serve.lab import HEADER, Lab, Row
from moe_teach.bench.serve.peers import EVERY, running
from moe_teach.bench.table import machine, written

LEVELS = (1, 2, 4, 8, 16)


def parser() -> argparse.ArgumentParser:
    """Describe the arguments."""
    result = argparse.ArgumentParser(
        prog="moe-teach bench serve",
        description="Load our server and its peers with the same weights and the same requests: "
        "a closed loop for what they get done, an open one for how long people wait.",
    )
    result.add_argument(
        "--faults",
        type=int,
        nargs="?",
        const=1000,
        metavar="N",
        help="instead: a storm of N good and bad requests (1000) against ours",
    )
    result.add_argument("--against", choices=EVERY, action="append", help="default: all")
    result.add_argument("--levels", type=int, nargs="+", default=LEVELS, help="requests at once")
    result.add_argument("--rounds", type=int, default=3, help="repetitions, in turn (3)")
    result.add_argument("--requests", type=int, default=32, help="for each load and round (32)")
    result.add_argument("--tokens", type=int, default=64, help="of each answer (64)")
    result.add_argument(
        "--rate",
        type=float,
        help="open loop, requests per second; default: half "
        "of what the slowest got done with the last level",
    )
    result.add_argument("--threads", type=int, default=2, help="of each server (2)")
    result.add_argument("--slots", type=int, default=16, help="of each server (16)")
    result.add_argument("--markdown", action="store_true", help="print tables for a page")
    return result


def main(words: Sequence[str]) -> int:
    """Measure and print; lines appear on stderr as they are measured."""
    options = parser().parse_args(words)
    if options.faults:
        from moe_teach.bench.serve.storm import storm

        return storm(options.faults)
    names = tuple(name for name in EVERY if name in (options.against or EVERY))
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), names, options.slots, options.threads) as peers,
    ):
        lab = Lab(peers, options.requests, options.tokens, options.rounds)
        _report(asyncio.run(_measured(lab, options)), options)
    return 0


async def _measured(lab: Lab, options: argparse.Namespace) -> list[Row]:
    await lab.warm_up()
    rows = [row for level in options.levels for row in await lab.closed(level)]
    slowest = min(row.level.tokens_per_second for row in rows[-len(lab.peers) :])
    rate = options.rate or 0.5 * slowest / options.tokens
    return [*rows, *await lab.opened(rate)]


def _report(rows: list[Row], options: argparse.Namespace) -> None:
    load = os.getloadavg()
    print(machine())
    print(
        f"{options.threads} threads for each server; load of the machine at the end: "
        f"{load[0]:.1f}, {load[1]:.1f}, {load[2]:.1f}; {options.rounds} rounds in turn."
    )
    print(written(HEADER, [row.cells() for row in rows], options.markdown))
