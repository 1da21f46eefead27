"""Results as a table for the terminal or, in Markdown, for the results page."""

import platform
from collections.abc import Iterable, Sequence
from datetime import date

import torch

from moe_teach.bench.layer import Row
from moe_teach.bench.parts import Part
from moe_teach.bench.train import Row as TrainRow
from moe_teach.bench.train import Size
from moe_teach.surroundings import version_of
from moe_teach.text_table import aligned, in_markdown
from moe_teach.train.machine import processor

HEADER = ("shape", "type", "routing", "step", "contender", "ms", "x limit")
TRAIN_HEADER = ("size", "contender", "ms per step", "tokens/s", "x limit")
PART_HEADER = ("size", "part", "% of the step", "% matmuls", "% outside matmuls")


def machine() -> str:
    """Describe the machine, the versions and the date in one line."""
    versions = [f"{package} {version_of(package)}" for package in ("torch", "transformers")]
    if torch.cuda.is_available():
        versions.append(f"triton {version_of('triton')}")
        versions.append(f"{torch.cuda.get_device_name()} with CUDA {torch.version.cuda}")
    words = (f"{torch.get_num_threads()} threads", f"Python {platform.python_version()}", *versions)
    return f"{processor()}, {', '.join(words)}, {date.today().isoformat()}"


def cells(row: Row) -> tuple[str, ...]:
    """Give the cells of one line, as text."""
    return (
        str(row.shape),
        row.dtype,
        row.routing,
        row.step,
        row.contender,
        f"{1e3 * row.timing.seconds:.2f}",
        f"{row.timing.ratio:.2f}",
    )


def train_cells(row: TrainRow) -> tuple[str, ...]:
    """Give the cells of one line about a training step, as text."""
    return (
        str(row.size),
        row.contender,
        f"{1e3 * row.timing.seconds:.1f}",
        f"{row.tokens_per_second:,.0f}",
        f"{row.timing.ratio:.2f}",
    )


def part_cells(size: Size, part: Part) -> tuple[str, ...]:
    """Give the cells of one line about a part of a step, as text."""
    shares = (part.share, part.matmuls, part.outside)
    return (size.name, part.name, *(f"{100 * share:.1f}" for share in shares))


def as_text(rows: Iterable[Row]) -> str:
    """Align the table of a layer for a terminal."""
    return written(HEADER, [cells(row) for row in rows], markdown=False)


def as_markdown(rows: Iterable[Row]) -> str:
    """Write the table of a layer in Markdown."""
    return written(HEADER, [cells(row) for row in rows], markdown=True)


def written(header: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool) -> str:
    """Write any table, aligned for a terminal or in Markdown."""
    return in_markdown(header, rows) if markdown else aligned(header, rows)
