"""What recording routes costs: bytes of a million tokens, and seconds against the forward passes.

The shape has the routers of OLMoE (16 layers, 64 experts, 8 chosen) at a width that a small
machine computes. Apart from one hash of the weights, recording costs the same at any width, and
forward passes do not: a narrow model is the hard case for the share.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from moe_teach.analysis.routes.recorder import routes_by_batch
from moe_teach.analysis.routes.store import RouteWriter, open_routes
from moe_teach.bench.table import machine, written
from moe_teach.bench.timing import in_turn
from moe_teach.catalog import CATALOG
from moe_teach.config import ModelConfig, refuse
from moe_teach.data.batches import Batch
from moe_teach.nn.mode import in_evaluation
from moe_teach.nn.model import Model

OLMOE = CATALOG["OLMoE-1B-7B"].config
MOST_MB, MOST_SHARE = 300.0, 0.25  # what recording is meant to stay below
HEADER = (
    *("width", "expert width", "tokens", "MB per million tokens", "forward s"),
    *("with recording s", "share of the forward", "tokens/s, recorded"),
)


@dataclass(frozen=True)
class Cost:
    """What was measured at one width."""

    config: ModelConfig
    n_tokens: int
    mb_per_million: float
    forward_s: float
    recorded_s: float
    share: float  # of the forward passes, added by recording: median over rounds

    def cells(self) -> tuple[str, ...]:
        """Give the cells of one line, as text."""
        return (
            str(self.config.d_model),
            str(self.config.moe.d_ff),
            f"{self.n_tokens:,}",
            f"{self.mb_per_million:.1f}",
            f"{self.forward_s:.2f}",
            f"{self.recorded_s:.2f}",
            f"{self.share:.1%}",
            f"{self.n_tokens / self.recorded_s:,.0f}",
        )

    @property
    def is_within(self) -> bool:
        """Whether both aims are met."""
        return self.mb_per_million < MOST_MB and self.share < MOST_SHARE


def shape_of(d_model: int) -> ModelConfig:
    """Return OLMoE at another width: same layers, experts and choices, all widths in proportion.

    Raises:
        ValueError: the width does not split into its heads of 16 numbers or more.
    """
    d_head = d_model // 16
    refuse(
        d_model % 16 != 0 or d_head < 2 or d_head % 2 != 0,
        f"The width must be a multiple of 32, for 16 heads of an even size; it is {d_model}.",
    )
    return replace(
        OLMOE,
        d_model=d_model,
        attention=replace(OLMOE.attention, d_head=d_head),
        moe=replace(OLMOE.moe, d_ff=d_model // 2),
    )


def batches_of(config: ModelConfig, n_tokens: int, rows: int, length: int) -> list[Batch]:
    """Return random text of about so many tokens, at least one batch."""
    source = torch.Generator().manual_seed(0)
    made = []
    for _ in range(max(1, n_tokens // (rows * length))):
        ids = torch.randint(config.vocab_size, (rows, length), generator=source)
        made.append(Batch(ids, ids, torch.zeros(rows, dtype=torch.long)))
    return made


@torch.no_grad()
def cost_of(config: ModelConfig, n_tokens: int, rows: int = 4, length: int = 256) -> Cost:
    """Send the same text through a model with and without a recording on disk, in turn."""
    torch.manual_seed(0)
    model, batches = Model(config).eval(), batches_of(config, n_tokens, rows, length)
    with tempfile.TemporaryDirectory() as home:
        folders = (Path(home) / str(number) for number in range(1 << 30))
        last: list[Path] = []

        def forward() -> None:
            with in_evaluation(model):
                for batch in batches:
                    batch.through(model)

        def recorded() -> None:
            last[:] = [next(folders)]
            with RouteWriter(last[0]) as writer:
                for record in routes_by_batch(model, batches):
                    writer.add(record)

        found = in_turn({"forward": forward, "recorded": recorded}, "forward", budget_s=0.0)
        stored = open_routes(last[0])
        mb = stored.n_bytes / len(stored)
        seconds = found["forward"].seconds, found["recorded"].seconds
        return Cost(config, len(stored), mb, *seconds, found["recorded"].ratio - 1)


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
    result.add_argument("--threads", type=int, help="default: as torch finds the machine")
    result.add_argument("--markdown", action="store_true", help="print a table for a page")
    return result


def rows(widths: list[int], n_tokens: int) -> Iterator[Cost]:
    """Measure one width after the other."""
    for width in widths:
        yield cost_of(shape_of(width), n_tokens)


def main(argv: list[str]) -> int:
    """Run the benchmark and print one table; 1 where an aim is missed."""
    options = parser().parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    start, found = time.perf_counter(), []
    try:
        for cost in rows(options.width or [128, 256], options.tokens):
            found.append(cost)
            print(" ".join(cost.cells()), file=sys.stderr, flush=True)
    except ValueError as problem:
        print(f"moe-teach: {problem}", file=sys.stderr)
        return 2
    print(machine())
    print(
        f"load of the machine {os.getloadavg()[0]:.1f}; {time.perf_counter() - start:.0f} s in "
        f"all; aims: below {MOST_MB:.0f} MB and {MOST_SHARE:.0%}"
    )
    print(written(HEADER, [cost.cells() for cost in found], options.markdown))
    return 0 if all(cost.is_within for cost in found) else 1
