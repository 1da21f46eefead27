"""The servers that are compared: ours, transformers', llama.cpp's, with the same weights.

All are up during the whole run, and all but one are stopped at any moment (SIGSTOP), so that
rounds can take turns and nobody's idle loop costs another's time.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from moe_teach.checkpoint.chat import PLAIN_CHAT
from moe_teach.checkpoint.gguf.export import export_gguf
from moe_teach.checkpoint.hf_export import export_hf
from moe_teach.train.shipped import DEFAULT, TOKENIZER, WEIGHTS, load_shipped

OURS, TRANSFORMERS, LLAMA = "moe_teach", "transformers serve", "llama.cpp"
EVERY = (OURS, TRANSFORMERS, LLAMA)
_SECONDS_TO_START = 180


@dataclass
class Peer:
    """A server that is running: its port, what it calls the model, its process."""

    name: str
    port: int
    model: str
    process: subprocess.Popen[bytes]

    @property
    def cpu_seconds(self) -> float:
        """What its process and threads have computed so far, whoever else had the cores."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    @contextmanager
    def awake(self) -> Iterator["Peer"]:
        """Let it run for a while; it sleeps before and after."""
        self.process.send_signal(signal.SIGCONT)
        try:
            yield self
        finally:
            self.process.send_signal(signal.SIGSTOP)


def commands(folder: Path, n_slots: int, n_threads: int) -> dict[str, tuple[list[str], str]]:
    """Write the weights in each server's form; return its command, {port} open, and its model.

    A context of 256 tokens is what the shipped model has.
    """
    model, _, _ = load_shipped()
    texts = {
        "tokenizer_json": (WEIGHTS / DEFAULT / TOKENIZER).read_text(encoding="utf-8"),
        "chat_template": PLAIN_CHAT,
    }
    hf, gguf = folder / "hf", folder / "model.gguf"
    export_hf(model, hf, **texts)
    export_gguf(model, gguf, **texts)
    longest = model.config.max_seq_len
    blocks = ["--cb-block-size", "32", "--cb-num-blocks", str(n_slots * longest // 32 + 8)]
    transformers = Path(sys.executable).with_name("transformers")
    python = [sys.executable, "-m"]
    return {
        OURS: (
            [*python, "moe_teach.cli", "serve", "--port", "{port}", "--n-slots", str(n_slots)],
            DEFAULT,
        ),
        TRANSFORMERS: (
            [
                *(str(transformers), "serve", str(hf), "--continuous-batching", *blocks),
                *("--cb-max-batch-tokens", "256", "--device", "cpu", "--port", "{port}"),
            ],
            str(hf),
        ),
        LLAMA: (
            [
                *(*python, "moe_teach.bench.serve.llama_server", str(gguf), "{port}"),
                *map(str, (n_slots, n_threads, longest)),
            ],
            DEFAULT,
        ),
    }


@contextmanager
def running(
    folder: Path, names: tuple[str, ...], n_slots: int, n_threads: int
) -> Iterator[list[Peer]]:
    """Start the servers named, and end them afterwards; their output goes to the folder."""
    surroundings = os.environ | {
        "OMP_NUM_THREADS": str(n_threads),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "hub"),
    }
    (folder / "hub" / "hub").mkdir(parents=True)  # without it, transformers lists no models
    known = commands(folder, n_slots, n_threads)
    with ExitStack() as stack:
        yield [
            stack.enter_context(_running(name, *known[name], folder, surroundings))
            for name in names
        ]


@contextmanager
def _running(
    name: str, command: list[str], model: str, folder: Path, surroundings: dict[str, str]
) -> Iterator[Peer]:
    port = _free_port()
    log = folder / f"{name}.log"
    with log.open("wb") as stream:
        words = [word.format(port=port) for word in command]
        process = subprocess.Popen(words, env=surroundings, stdout=stream, stderr=stream)
    try:
        _wait(port, "/ready" if name == OURS else "/health", process, log)
        process.send_signal(signal.SIGSTOP)
        yield Peer(name, port, model, process)
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(port: int, path: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server says that it is well, or fail with its last words."""
    deadline = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5).status_code == 200:
                return
            time.sleep(0.2)
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError(f"A server did not start. It said:\n{log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
