"""Results as a table for the terminal or, in Markdown, for the results page."""

import platform
from collections.abc import Iterable
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from moe_teach.bench.layer import Row

HEADER = ("shape", "type", "routing", "step", "contender", "ms", "x limit")


def machine() -> str:
    """Describe the machine, the versions and the date in one line."""
    versions = [f"Python {platform.python_version()}"]
    for package in ("torch", "transformers"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"no {package}")
    threads = f"{torch.get_num_threads()} threads"
    return f"{_processor()}, {threads}, {', '.join(versions)}, {date.today().isoformat()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} cores of {names[0]}" if names else platform.machine()


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


def as_text(rows: Iterable[Row]) -> str:
    """Align the table for a terminal."""
    lines = [HEADER, *map(cells, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return "\n".join(padded)


def as_markdown(rows: Iterable[Row]) -> str:
    """Write the table in Markdown."""
    rule = "|".join(["---"] * len(HEADER))
    lines = [" | ".join(HEADER), rule, *(" | ".join(cells(row)) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)
