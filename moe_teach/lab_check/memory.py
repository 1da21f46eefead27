"""`python -m moe_teach.lab_check.memory`: does every lesson fit where Binder would run it?

A JupyterLab server and the kernel that it starts live together inside the 2 GB that a Binder gives.
The operating system enforces the limit. Each page of `notebooks/` runs in a server of its own.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import Request, urlopen

from moe_teach.bench.memory.limit import memory_limit
from moe_teach.files import repository
from moe_teach.lab_check.server import Lab, LabCheckError, running_jupyterlab
from moe_teach.text_table import in_markdown

BINDER_BYTES = 2_000_000_000
CELL_LIMIT = 300  # seconds; a kernel that the system has killed answers never
HEADER = ("page", "mode", "server alone, MB", "peak, MB", "of it the kernel, MB", "seconds", "ends")


@dataclass
class Watch:
    """The most that a group of processes held at one moment, looked at five times a second."""

    folder: Path
    peak: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def now(self) -> int:
        """Return the sum over processes; what two of them share counts twice, so never too little.

        The group's own count would leave out libraries that another group has read first.
        """
        pages = 0
        for process in (self.folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):  # it has ended since
                pages += int(Path(f"/proc/{process}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def look(self) -> None:
        """Look until told to stop."""
        while not self.stopped.wait(0.2):
            self.peak = max(self.peak, self.now())


@dataclass(frozen=True)
class Held:
    """What one page took: bytes of the server alone, the most with its kernel, and the end."""

    page: str
    mode: str
    server_bytes: int
    peak_bytes: int
    seconds: float
    end: str

    def cells(self) -> tuple[str, ...]:
        """Give one line of the table."""
        sizes = (self.server_bytes, self.peak_bytes, self.peak_bytes - self.server_bytes)
        return (
            self.page,
            self.mode,
            *(f"{size / 1e6:.0f}" for size in sizes),
            f"{self.seconds:.0f}",
            self.end,
        )


def held_by(notebook: Path, limit_bytes: int, *, fast: bool) -> Held:
    """Run a page inside the limit, as its reader would, and say how much it held.

    Raises `LabCheckError` where the system has no control group that counts memory.
    """
    with tempfile.TemporaryDirectory() as scratch, memory_limit(limit_bytes) as limit:
        if limit.folder is None:
            raise LabCheckError(
                f"No limit on server and kernel together can be set here ({limit.how}). Run this "
                "as root on a Linux with control groups, or inside a container."
            )
        environment = {"MOE_TEACH_FAST": "1" if fast else "0", "MOE_TEACH_MINE": "off"}
        with running_jupyterlab(Path(scratch), limit.prefix, environment) as lab:
            watch = Watch(limit.folder)
            server = watch.now()
            begin = time.perf_counter()
            with looking(watch):
                end = executed(lab, notebook)
            seconds = time.perf_counter() - begin
        mode = "fast" if fast else "full"
        return Held(notebook.stem, mode, server, watch.peak, seconds, end)


@contextlib.contextmanager
def looking(watch: Watch) -> Iterator[None]:
    """Keep a watch on the group while the block runs."""
    thread = threading.Thread(target=watch.look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        watch.stopped.set()
        thread.join()


def executed(lab: Lab, notebook: Path) -> str:
    """Run the code cells of a page in a kernel of that server; say how it ended."""
    from jupyter_client import BlockingKernelClient

    kernel = started_kernel(lab)
    client = BlockingKernelClient(connection_file=str(lab.runtime / f"kernel-{kernel}.json"))
    client.load_connection_file()
    client.start_channels()
    try:
        client.kernel_info(reply=True, timeout=90)
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        for number, cell in enumerate((c for c in cells if c["cell_type"] == "code"), start=1):
            reply = client.execute_interactive(
                "".join(cell["source"]), timeout=CELL_LIMIT, output_hook=lambda message: None
            )["content"]
            if reply["status"] != "ok":
                return f"code cell {number}: {reply.get('ename')}: {reply.get('evalue')}"
    except TimeoutError:
        return "no answer: the system has killed the kernel, or a cell took five minutes"
    finally:
        client.stop_channels()
    return "whole"


def started_kernel(lab: Lab) -> str:
    """Ask the server for a kernel, as its page does; return the kernel's name."""
    request = Request(
        f"{lab.address}/api/kernels",
        data=json.dumps({"name": "python3"}).encode(),
        headers={"Authorization": f"token {lab.token}", "Content-Type": "application/json"},
        method="POST",
    )
    with urlopen(request, timeout=60) as answer:
        return json.load(answer)["id"]


def main(words: Sequence[str] | None = None) -> int:
    """Print a table for the results page; 1 where a page does not end whole."""
    parser = argparse.ArgumentParser(
        prog="python -m moe_teach.lab_check.memory",
        description="Run lessons with JupyterLab inside the memory that Binder gives.",
    )
    parser.add_argument("pages", nargs="*", metavar="NN_slug", help="default: every lesson")
    parser.add_argument("--full", action="store_true", help="full runs instead of short ones")
    parser.add_argument("--limit", type=float, default=BINDER_BYTES, help="bytes")
    asked = parser.parse_args(words)
    folder = repository() / "notebooks"
    pages = asked.pages or [page.stem for page in sorted(folder.glob("*.ipynb"))]
    rows = []
    try:
        for page in pages:
            held = held_by(folder / f"{page}.ipynb", int(asked.limit), fast=not asked.full)
            rows.append(held)
            print(*held.cells(), file=sys.stderr, flush=True)
    except (LabCheckError, FileNotFoundError) as problem:
        print(problem, file=sys.stderr)
        return 1
    print(f"{os.cpu_count()} processors, limit {asked.limit / 1e9:.2f} GB")
    print(in_markdown(HEADER, [row.cells() for row in rows]))
    return 0 if all(row.end == "whole" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
