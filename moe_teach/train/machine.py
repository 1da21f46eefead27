"""Where and with what a result was made, in the words that stand beside it."""

import platform
from datetime import UTC, datetime
from pathlib import Path

import torch

from moe_teach.surroundings import version_of


def facts(*packages: str) -> dict[str, str | int]:
    """Describe processor, threads, graphics card, versions and the date of today (UTC)."""
    described: dict[str, str | int] = {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
    }
    if torch.cuda.is_available():
        described["gpu"] = torch.cuda.get_device_name()
    for package in ("moe-teach", "torch", *packages):
        described[package] = version_of(package)
    return {**described, "date": datetime.now(UTC).date().isoformat()}


def processor() -> str:
    """Name the processor and count its cores, as well as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} cores of {names[0]}" if names else platform.machine()
