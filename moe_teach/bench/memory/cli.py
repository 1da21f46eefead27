"""The command line of `moe-teach bench memory`."""

import argparse
import os
import shutil
import statistics
import sys
from pathlib import Path

from moe_teach.bench.memory.checkpoint import lean_towards_favourites, make
from moe_teach.bench.memory.race import OVERHEAD_BYTES, Lap, race
from moe_teach.bench.memory.worker import POLICIES, Job
from moe_teach.bench.table import machine, written
from moe_teach.catalog import CATALOG
from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig, refuse
from moe_teach.cost import expert_bytes, resident_bytes, weight_bytes

OLMOE = CATALOG["OLMoE-1B-7B"].config
QUICK = ModelConfig(
    n_layers=4,
    d_model=256,
    vocab_size=512,
    attention=AttentionConfig(n_heads=4, n_kv_heads=4, d_head=64, qk_norm="full"),
    moe=MoEConfig(router=RouterConfig(n_experts=16, top_k=2, normalize_gates=False), d_ff=128),
)
SHAPES = {"olmoe": OLMOE, "quick": QUICK}
HEADER = (
    *("weights", "engine", "policy", "hits", "MB/token", "disk GB/s", "tokens/s"),
    *("of the limit", "CPU s/token", "peak GB"),
)


def parser() -> argparse.ArgumentParser:
    """Describe the arguments."""
    result = argparse.ArgumentParser(
        prog="moe-teach bench memory",
        description="Make a checkpoint of random weights, and decode with it inside a limit on "
        "memory that the operating system enforces: ours, llama.cpp, and the least time.",
    )
    result.add_argument("--folder", type=Path, required=True, help="on a disk with 28 GB free")
    result.add_argument("--shape", choices=SHAPES, default="olmoe", help="quick: to try the code")
    result.add_argument("--limit", type=float, default=4e9, help="bytes for the whole process")
    result.add_argument("--tokens", type=int, default=24, help="that are timed")
    result.add_argument("--rounds", type=int, default=1, help="of all engines in turn")
    result.add_argument("--skew", type=float, action="append", help="of routers; default: 0, 0.6")
    result.add_argument("--policy", choices=POLICIES, action="append", help="default: LFRU")
    result.add_argument("--foresight", type=int, help="read so many layers ahead")
    result.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    result.add_argument("--keep", action="store_true", help="leave the checkpoints for next time")
    result.add_argument("--markdown", action="store_true", help="print a table for a page")
    return result


def main(argv: list[str]) -> int:
    """Run the benchmark; lines appear on stderr as they are measured."""
    options = parser().parse_args(argv)
    config = SHAPES[options.shape]
    try:
        budget = budget_within(config, options.limit)
        make(options.folder, config)
        rows = [
            cells for skew in options.skew or (0.0, 0.6) for cells in _rows(options, skew, budget)
        ]
    except ValueError as problem:
        print(f"moe-teach: {problem}", file=sys.stderr)
        return 2
    finally:
        if not options.keep:
            shutil.rmtree(options.folder, ignore_errors=True)
    print(machine())
    print(
        f"{options.shape}: {weight_bytes(config) / 1e9:.2f} GB, limit {options.limit / 1e9:.2f}, "
        f"budget of experts {budget / 1e9:.2f}, {options.threads} threads, "
        f"load of the machine {os.getloadavg()[0]:.1f}"
    )
    print(written(HEADER, rows, options.markdown))
    return 0


def budget_within(config: ModelConfig, limit_bytes: float) -> int:
    """Return what is left for experts when all else has its place."""
    overhead = resident_bytes(config) + OVERHEAD_BYTES
    least = overhead + config.n_moe_layers * expert_bytes(config)
    refuse(
        limit_bytes < least,
        f"With a limit of {limit_bytes / 1e9:.2f} GB there is no room for experts: give at least "
        f"{least / 1e9:.2f} GB.",
    )
    return int(limit_bytes - overhead)


def _rows(options: argparse.Namespace, skew: float, budget: int) -> list[tuple[str, ...]]:
    lean_towards_favourites(options.folder, SHAPES[options.shape], skew)
    common = {
        "folder": str(options.folder),
        "budget_bytes": budget,
        "n_tokens": options.tokens,
        "n_threads": options.threads,
    }
    jobs = [
        Job(engine="moe_teach", policy=policy, foresight=options.foresight, **common)
        for policy in options.policy or ("LFRU",)
    ]
    jobs.append(Job(engine="llama.cpp", **common))
    rows = []
    for lap in race(jobs, int(options.limit), options.rounds):
        rows.append(cells(lap, skew))
        print(" ".join(rows[-1]), lap.how, lap.said, file=sys.stderr, flush=True)
    return rows


def cells(lap: Lap, skew: float) -> tuple[str, ...]:
    """Give the cells of one line, as text."""
    name = f"skew {skew:g}" if skew else "even"
    policy = lap.job.policy if lap.job.engine == "moe_teach" else "page cache"
    if lap.report is None:
        return (name, lap.job.engine, policy, "-", "-", "-", lap.said, "-", "-", "-")
    report, limit = lap.report, lap.limit_seconds
    moved = (report.moved or {}).get("waited_bytes", 0) + (report.moved or {}).get(
        "guessed_bytes", 0
    )
    return (
        name,
        lap.job.engine,
        policy,
        "-" if lap.hit_rate is None else f"{lap.hit_rate:.2f}",
        f"{moved / lap.job.n_tokens / 1e6:.0f}" if moved else "-",
        "-" if report.bytes_per_s is None else f"{statistics.mean(report.bytes_per_s) / 1e9:.2f}",
        f"{1 / report.seconds_per_token:.2f}",
        "-" if limit is None else f"{limit / report.seconds_per_token:.2f}",
        f"{report.cpu_seconds_per_token:.2f}",
        f"{report.peak_bytes / 1e9:.2f}",
    )
