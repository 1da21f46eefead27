"""The process in which steps run: whatever they do to it, the record is kept by another.

    python -m moe_teach.bench.gpu.worker STEP_SET gpu|toy

It reads names of steps from its input, a line each, and answers with events in JSON, a line each:
"ready" with the device, "row" with a row, "end" with a verdict. It ends when its input does, so
that nobody holds the GPU after the command was killed.
"""

import gc
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any, TextIO

from moe_teach.bench.gpu.step import Row, Step, Verdict, verdict_on

_POISONED = ("CUDA error", "device-side assert", "AcceleratorError")


def main(step_set: str, mode: str) -> None:
    """Perform steps until nobody asks for more, or the GPU takes no more orders."""
    events = _own_output()
    asked = _questions()
    toy = mode == "toy"
    tell(events, "ready", device=device_facts(toy))
    steps: dict[str, Step] = {step.name: step for step in import_module(step_set).steps(toy)}
    for name in asked:
        verdict, problem = perform(steps[name], events)
        sick = "" if toy else _sickness()
        if sick:
            verdict, problem = "crashed", f"{problem} The GPU takes no more orders: {sick}".strip()
        tell(events, "end", verdict=verdict, problem=problem, leaves=bool(sick))
        if sick:
            return


def perform(step: Step, events: TextIO) -> tuple[Verdict, str]:
    """Run one step and tell its rows; an error is a verdict."""
    rows: list[Row] = []
    try:
        for row in step.run():
            rows.append(row)
            tell(events, "row", row=row)
        return verdict_on(step.kind, rows)
    except Exception as problem:  # whatever it is, the next step can do without
        return _verdict_of(problem), in_short(problem)
    finally:
        gc.collect()
        if "torch" in sys.modules:
            with suppress(Exception):  # a GPU that is sick will be found to be
                sys.modules["torch"].cuda.empty_cache()


def _verdict_of(problem: Exception) -> Verdict:
    # By their names, because who needs no torch is not to wait for it.
    said = in_short(problem)
    if said.startswith(("OutOfMemoryError", "MemoryError")):
        return "out of memory"
    return "crashed" if any(word in said for word in _POISONED) else "failed"


def tell(events: TextIO, event: str, **facts: Any) -> None:
    """Write one event."""
    events.write(json.dumps({"event": event, **facts}) + "\n")
    events.flush()


def in_short(problem: BaseException) -> str:
    """Say in one line what was raised."""
    lines = str(problem).strip().splitlines()
    return f"{type(problem).__name__}: {lines[0] if lines else ''}"[:300]


def device_facts(toy: bool) -> dict[str, Any]:
    """Describe the GPU, or the stand-in for it."""
    if toy:
        return {"name": "Triton's interpreter on the CPU"}
    import torch

    facts = torch.cuda.get_device_properties(0)
    free, total = torch.cuda.mem_get_info()
    return {
        "name": facts.name,
        "capability": f"{facts.major}.{facts.minor}",
        "multiprocessors": facts.multi_processor_count,
        "memory_bytes": total,
        "free_bytes": free,
        "l2_bytes": getattr(facts, "L2_cache_size", 0),
        "cuda": torch.version.cuda or torch.version.hip or "",
        "driver": _driver(),
    }


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.strip().splitlines()[0] if said.strip() else ""


def _sickness() -> str:
    """Ask the GPU for a trifle: after a fault it refuses everything in this process."""
    import torch

    try:
        torch.cuda.synchronize()
        return "" if torch.ones(1, device="cuda").item() == 1 else "it cannot store a one"
    except Exception as problem:
        return in_short(problem)


def _own_output() -> TextIO:
    """Keep the output for events: what libraries print goes where errors go."""
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return events


def _questions() -> Iterator[str]:
    """Give the names as they come, and leave at once when the other side is gone."""
    asked: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            asked.put(line.strip())
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        yield asked.get()


if __name__ == "__main__":
    main(*sys.argv[1:])
