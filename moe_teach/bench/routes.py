"""What recording routes costs: bytes of a million tokens, and seconds against the forward passes.

The shape has the routers of OLMoE (16 layers, 64 experts, 8 chosen) at a width that a small
machine computes: our model, which returns its routings, and the class of transformers, whose
routers are watched by hooks. Apart from one hash of the weights, recording costs the same at any
width, and forward passes do not: a narrow model is the hard case for the share.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from moe_teach.analysis.routes.hooks import hf_routes_by_batch
from moe_teach.analysis.routes.record import RouteRecord, weights_digest
from moe_teach.analysis.routes.recorder import routes_by_batch
from moe_teach.analysis.routes.store import RouteWriter, open_routes
from moe_teach.bench.routes_models import batches_of, in_transformers, invented, shape_of
from moe_teach.bench.table import machine, written
from moe_teach.bench.timing import Run, cpu_seconds, in_turn, wall_seconds
from moe_teach.config import ModelConfig
from moe_teach.nn.mode import in_evaluation
from moe_teach.nn.model import Model

MOST_MB, MOST_SHARE = 300.0, 0.25  # what recording is meant to stay below
HEADER = (
    *("model", "width", "expert width", "tokens", "MB per million tokens", "forward s"),
    *("with recording s", "of it the hash s", "share of the forward", "share at a million tokens"),
    "tokens/s, recorded",
)
Clock = Callable[[Run], float]
RECORDED = {"ours": routes_by_batch, "transformers": hf_routes_by_batch}


@dataclass(frozen=True)
class Cost:
    """What was measured of one model."""

    kind: str
    config: ModelConfig
    n_tokens: int
    mb_per_million: float
    forward_s: float
    recorded_s: float
    share: float  # of the forward passes, added by recording: median over rounds
    hash_s: float  # of the weights: once for a recording, however long it is

    def cells(self) -> tuple[str, ...]:
        """Give the cells of one line, as text."""
        return (
            self.kind,
            str(self.config.d_model),
            str(self.config.moe.d_ff),
            f"{self.n_tokens:,}",
            f"{self.mb_per_million:.1f}",
            f"{self.forward_s:.2f}",
            f"{self.recorded_s:.2f}",
            f"{self.hash_s:.2f}",
            f"{self.share:.1%}",
            f"{self.share_of_a_million:.1%}",
            f"{self.n_tokens / self.recorded_s:,.0f}",
        )

    @property
    def share_of_a_million(self) -> float:
        """The share where the hash, which is made once, is spread over a million tokens."""
        return self.share - self.hash_s / self.forward_s * (1 - min(1.0, self.n_tokens / 1e6))

    @property
    def is_within(self) -> bool:
        """Whether both aims are met."""
        return self.mb_per_million < MOST_MB and self.share_of_a_million < MOST_SHARE


@torch.no_grad()
def cost_of(kind: str, config: ModelConfig, n_tokens: int, clock: Clock = wall_seconds) -> Cost:
    """Send the same text through a model with and without a recording on disk, in turn."""
    torch.manual_seed(0)
    model = Model(config).eval() if kind == "ours" else in_transformers(config)
    batches = batches_of(config, n_tokens, rows=4, length=256)
    with tempfile.TemporaryDirectory() as home:
        folders = (Path(home) / str(number) for number in range(1 << 30))
        last: list[Path] = []

        def forward() -> None:
            with in_evaluation(model):
                for batch in batches:
                    batch.through(model)

        def recorded() -> None:
            last[:] = [next(folders)]
            _write(last[0], RECORDED[kind](model, batches))

        both = {"forward": forward, "recorded": recorded}
        found = in_turn(both, "forward", budget_s=0.0, clock=clock)
        stored = open_routes(last[0])
        mb = stored.n_bytes / len(stored)
        seconds = found["forward"].seconds, found["recorded"].seconds
        hashed = clock(lambda: weights_digest(model))
        return Cost(kind, config, len(stored), mb, *seconds, found["recorded"].ratio - 1, hashed)


def _write(folder: Path, records: Iterable[RouteRecord]) -> None:
    with RouteWriter(folder) as writer:
        for record in records:
            writer.add(record)


def written_alone(n_tokens: int) -> str:
    """Write so many invented tokens in one go, and say what they took: no model is run."""
    with tempfile.TemporaryDirectory() as home:
        folder, records = Path(home) / "routes", invented(n_tokens)
        seconds = wall_seconds(lambda: _write(folder, records))
        stored = open_routes(folder)
        n_chunks = len(stored.manifest["chunks"])
        return (
            f"{len(stored):,} invented tokens of {len(stored.manifest['layers'])} layers, written "
            f"in one go: {stored.n_bytes / 1e6:.1f} MB in {n_chunks} chunks, {seconds:.0f} s with "
            "the inventing"
        )


def parser() -> argparse.ArgumentParser:
    """Describe the arguments."""
    result = argparse.ArgumentParser(
        prog="moe-teach bench routes",
        description="Record the routes of a model with the routers of OLMoE (16 layers, 8 of 64 "
        "experts), and measure bytes per million tokens and time against the forward passes.",
    )
    result.add_argument(
        "--width", type=int, action="append", help="of the model; default: 128 and 256; OLMoE: 2048"
    )
    result.add_argument("--tokens", type=int, default=16_384, help="in each of four passes")
    result.add_argument(
        "--hooks", action="store_true", help="also the class of transformers, watched by hooks"
    )
    result.add_argument(
        "--written", type=int, metavar="N", help="also write N invented tokens in one go"
    )
    result.add_argument(
        "--cpu",
        action="store_true",
        help="count this process's seconds on the processor: on a crowded machine, with one thread",
    )
    result.add_argument("--threads", type=int, help="default: as torch finds the machine")
    result.add_argument("--markdown", action="store_true", help="print a table for a page")
    return result


def rows(options: argparse.Namespace) -> Iterator[Cost]:
    """Measure one width after the other."""
    clock = cpu_seconds if options.cpu else wall_seconds
    for width in options.width or [128, 256]:
        for kind in RECORDED if options.hooks else ["ours"]:
            yield cost_of(kind, shape_of(width), options.tokens, clock)


def main(argv: list[str]) -> int:
    """Run the benchmark and print one table; 1 where an aim is missed."""
    options = parser().parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    start, found = time.perf_counter(), []
    try:
        for cost in rows(options):
            found.append(cost)
            print(" ".join(cost.cells()), file=sys.stderr, flush=True)
        alone = written_alone(options.written) if options.written else ""
    except (ValueError, ImportError) as problem:
        print(f"moe-teach: {problem}", file=sys.stderr)
        return 2
    print(machine())
    print(
        f"load of the machine {os.getloadavg()[0]:.1f}; {time.perf_counter() - start:.0f} s in "
        f"all; aims: below {MOST_MB:.0f} MB and {MOST_SHARE:.0%}"
    )
    if alone:
        print(alone)
    print(written(HEADER, [cost.cells() for cost in found], options.markdown))
    return 0 if all(cost.is_within for cost in found) else 1
