"""Install the course into the environment of the Python that runs this, saying what it does.

    .venv/bin/python tools/set_up.py [--torch auto|cpu|cuda] [-c constraints.txt]

On Linux pip's own torch is the CUDA build: several gigabytes that a machine without an NVIDIA card
has no use for. There the build for CPUs is taken: by pip, if one of its sources has it, else by uv,
which knows where PyTorch keeps it. This file needs the standard library only.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

EXTRA = "dev"
# Not compiled beforehand: Python does that for what is imported, and most of it never is.
PIP_INSTALL = (
    *(sys.executable, "-m", "pip", "--disable-pip-version-check"),
    *("install", "--no-compile"),
)
# Fetches and installs a hundred packages in a fifth of pip's time, and knows PyTorch's builds.
UV_INSTALL = (sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable)
Build = Literal["here", "plain", "cuda", "cpu"]
ANNOUNCED: dict[Build, str] = {
    "here": "torch is here already.",
    "plain": "torch comes with step 2.",
    "cuda": "torch for NVIDIA cards comes with step 2: several gigabytes. (TORCH=cpu spares them.)",
    "cpu": "torch for CPUs, about 200 MB. (TORCH=cuda takes the build for NVIDIA cards instead.)",
}
NO_CPU_BUILD = """\
The build of torch for CPUs could not be had; the lines above say why. Three ways on:
  - if the network was away, type the same again;
  - point PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS at a place that has it, and type the same again;
  - take the build for NVIDIA cards, several gigabytes, with TORCH=cuda: make TORCH=cuda lab"""
# A class shall not ask another machine for news, nor each learner be asked whether it may.
QUIET = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}
}
# What pip and uv say while they work, without the hundreds of lines about what they look at.
PROGRESS = re.compile(r"\s*(Downloading|Installing collected|Resolved|Prepared|Installed) (.*)")


def main(words: Sequence[str] | None = None) -> int:
    """Install torch and then the course; return 0, or 1 after saying what failed."""
    parser = argparse.ArgumentParser(description="Install the course and what it needs.")
    parser.add_argument("--torch", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("-c", dest="constraints", metavar="FILE", help="exact versions to keep to")
    parser.add_argument("--torch-only", action="store_true", help="stop when torch is there")
    asked = parser.parse_args(words)
    keep_to = ("-c", asked.constraints) if asked.constraints else ()
    pin = pinned(Path(asked.constraints).read_text(encoding="utf-8")) if keep_to else None
    started = time.monotonic()

    build = which_build(asked.torch, sys.platform, has_nvidia_card(), is_here(pin))
    say(f"Step 1 of 2: {ANNOUNCED[build]}")
    if not works(*PIP_INSTALL, *keep_to, "uv"):
        say("uv, which installs the rest, could not be had; the lines above say why.")
        return 1
    if build == "cpu" and not install_cpu_build(pin, keep_to):
        say(NO_CPU_BUILD)
        return 1
    if asked.torch_only:
        return 0
    say("Step 2 of 2: JupyterLab, the course and its tools, some 140 packages, 400 MB.")
    if not install_course(keep_to):
        say("The course could not be installed; the lines above say why.")
        return 1
    quieten_jupyterlab(Path(sys.prefix))
    say(f"Everything is installed, {time.monotonic() - started:.0f} s after the start.")
    return 0


def which_build(asked: str, platform: str, has_card: bool, is_here: bool) -> Build:
    """Say which build of torch to install; only Linux has more than one under one name."""
    if is_here:
        return "here"
    if platform != "linux":
        return "plain"
    return "cuda" if asked == "cuda" or (asked == "auto" and has_card) else "cpu"


def install_cpu_build(pin: str | None, keep_to: Sequence[str]) -> bool:
    """Install torch for CPUs from a source that pip has been told of, else by uv."""
    asking = (sys.executable, "-m", "pip", "index", "versions", "torch")
    offered = subprocess.run(asking, capture_output=True, text=True).stdout
    if local := cpu_build_among(offered, pin):
        return works(*PIP_INSTALL, *keep_to, f"torch=={local}")
    wanted = f"torch=={pin}" if pin else "torch"
    return works(*UV_INSTALL, *keep_to, "--torch-backend", "cpu", wanted)


def install_course(keep_to: Sequence[str]) -> bool:
    """Install everything else with uv; or with pip, which may have been told of other sources."""
    course = (*keep_to, "--editable", f".[{EXTRA}]")
    if works(*UV_INSTALL, *course):
        return True
    say("uv could not do it; now pip tries, which takes a few minutes.")
    return works(*PIP_INSTALL, *course)


def quieten_jupyterlab(environment: Path) -> None:
    """Set what JupyterLab of this environment begins with; a file that is there stays as it is."""
    file = environment / "share/jupyter/lab/settings/overrides.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(QUIET, indent=1) + "\n", encoding="utf-8")


def cpu_build_among(offered: str, pin: str | None) -> str | None:
    """Pick the CPU build of the pinned version, or of the newest, out of `pip index versions`."""
    versions = re.findall(r"\d[^\s,]*", offered.partition("Available versions:")[2])
    newest = versions[0].partition("+")[0] if versions else None
    wanted = f"{pin or newest}+cpu"
    return wanted if wanted in versions else None


def pinned(constraints: str) -> str | None:
    """Read which torch the pins ask for."""
    found = re.search(r"^torch==([^\s;]+)", constraints, re.MULTILINE)
    return found and found[1]


def is_here(pin: str | None) -> bool:
    """Say whether torch is installed in the version that is wanted, in whatever build."""
    try:
        installed = version("torch").partition("+")[0]
    except PackageNotFoundError:
        return False
    return pin in (None, installed)


def has_nvidia_card() -> bool:
    """Say whether an NVIDIA driver is at work here."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def works(*command: str) -> bool:
    """Run a command, passing on its lines of progress; all that it said, if it fails."""
    lines = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            if (progress := shortened(line)) is not None:
                say(f"  {progress}")
    if process.returncode:
        say("".join(lines[-40:]))
    return process.returncode == 0


def shortened(line: str) -> str | None:
    """Keep a line that tells of progress, without the names of a hundred packages."""
    found = PROGRESS.match(line)
    if not found:
        return None
    if found[1] == "Installing collected":
        return "Installing what was fetched ..."
    return f"{found[1]} {found[2]}"


def say(words: str) -> None:
    """Print at once, also into a pipe."""
    print(words, flush=True)


if __name__ == "__main__":
    sys.exit(main())
