"""A private JupyterLab and an installed Chromium: what the course's browser checks stand on."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from playwright.sync_api import Browser, Playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SECONDS_TO_START = 90
# No news, no update checks; every cell is really drawn, also below the window's edge.
LAB_SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}


class LabCheckError(Exception):
    """Something that the check can say in one sentence, for the person who ran it."""


def find_chromium() -> str:
    """Give the path of an installed Chromium; `MOE_TEACH_CHROMIUM` goes before PATH.

    Raises `LabCheckError`, in one line that says how to install it, where there is none.
    """
    named = os.environ.get("MOE_TEACH_CHROMIUM")
    found = next(filter(None, map(shutil.which, [named] if named else BROWSERS)), None)
    if found:
        return found
    if named:
        raise LabCheckError(f"MOE_TEACH_CHROMIUM names {named}, which is no program here.")
    raise LabCheckError(
        "The browser tests need Chromium: install it with your package manager (for example "
        "'sudo apt-get install chromium'), or set MOE_TEACH_CHROMIUM to its path."
    )


def launch_chromium(playwright: Playwright) -> Browser:
    """Start the installed Chromium without a window and without calls home."""
    switches = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    switches += ["--disable-background-networking", "--disable-component-update"]
    return playwright.chromium.launch(executable_path=find_chromium(), args=switches)


@dataclass(frozen=True)
class Lab:
    """A JupyterLab that is running: its notebooks, its address, its token, its kernels' files."""

    folder: Path
    address: str
    token: str
    runtime: Path

    def url(self, notebook: str) -> str:
        """Give the address of one notebook of the folder, in a workspace of its own."""
        workspace = f"w{secrets.token_hex(4)}"
        return f"{self.address}/lab/workspaces/{workspace}/tree/{notebook}?token={self.token}"


def _private_environment(scratch: Path) -> dict[str, str]:
    """Give an environment whose settings, trust and progress all live in `scratch`."""
    settings = scratch / "settings"
    for name, values in LAB_SETTINGS.items():
        file = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    places = {
        "JUPYTERLAB_SETTINGS_DIR": settings,
        "JUPYTERLAB_WORKSPACES_DIR": scratch / "workspaces",
        "JUPYTER_CONFIG_DIR": scratch / "config",
        "JUPYTER_DATA_DIR": scratch / "data",
        "JUPYTER_RUNTIME_DIR": scratch / "runtime",
        "IPYTHONDIR": scratch / "ipython",
        "MOE_TEACH_HOME": scratch / "progress",
    }
    return os.environ | {name: str(place) for name, place in places.items()}


def _command(folder: Path, port: int, token: str) -> list[str]:
    as_root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", *as_root),
        f"--ServerApp.root_dir={folder}",
        *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
        f"--IdentityProvider.token={token}",
        "--LabApp.expose_app_in_browser=True",  # lets the check wait for cells instead of guessing
        *("--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"),
    ]


@contextmanager
def running_jupyterlab(
    folder: Path, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[Lab]:
    """Serve `folder` with this Python's JupyterLab on a free port, and stop it afterwards.

    `prefix` goes before the command, for what shall hold it to a limit; `environment` is added.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        address, runtime = f"http://127.0.0.1:{port}", Path(scratch) / "runtime"
        lab = Lab(folder, address, secrets.token_hex(16), runtime)
        log = Path(scratch) / "server.log"
        with log.open("w") as stream:
            server = subprocess.Popen(
                [*prefix, *_command(folder, port, lab.token)],
                env=_private_environment(Path(scratch)) | dict(environment or {}),
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        try:
            _wait_until_it_answers(lab, server, log)
            yield lab
        finally:
            _stop(server)


def _wait_until_it_answers(lab: Lab, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urlopen(f"{lab.address}/api?token={lab.token}", timeout=5):
                return
        except (URLError, TimeoutError, ConnectionError):
            time.sleep(0.2)
    raise LabCheckError(f"JupyterLab did not start. It said:\n{log.read_text()[-3000:]}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Ask the server to shut down with its kernels; insist after ten seconds."""
    server.terminate()
    try:
        server.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
