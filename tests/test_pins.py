"""The pins resolve where learners are, from the public index alone.

A test on this machine would not notice: its torch may come from a local file that asks for less
than the index's own. So uv resolves what `make` installs for other systems, reading descriptions
only; nothing is fetched or installed.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SYSTEMS = [  # each system and each Python once; Debian 12 still brings 3.11.2
    ("x86_64-unknown-linux-gnu", "3.11.2"),
    ("x86_64-unknown-linux-gnu", "3.13"),
    ("aarch64-unknown-linux-gnu", "3.12"),
    ("aarch64-apple-darwin", "3.12"),
    ("x86_64-pc-windows-msvc", "3.11"),
    ("x86_64-pc-windows-msvc", "3.13"),
]
pytestmark = pytest.mark.index


def resolve(constraints: Path, system: str, python: str) -> subprocess.CompletedProcess[str]:
    """Resolve the course with all its extras for a system, as `make setup` would there."""
    sources = ("UV_FIND_LINKS", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_TORCH_BACKEND")
    known = {name: value for name, value in os.environ.items() if name not in sources}
    this_python = ("--no-python-downloads", "--python", sys.executable)  # to run, not to ask about
    return subprocess.run(
        [
            *(sys.executable, "-m", "uv", "pip", "compile", *this_python),
            *(
                "--python-platform",
                system,
                "--python-version",
                python,
                "--extra",
                "dev",
                "--extra",
                "site",
            ),
            *("--constraints", constraints, ROOT / "pyproject.toml"),
        ],
        env={**known, "MACOSX_DEPLOYMENT_TARGET": "14.0"},  # older ones have no torch any more
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module", autouse=True)
def index() -> None:
    """Skip all of this where no package index answers."""
    asked = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "compile", "--no-deps", "--no-cache", "-"],
        input="triton",
        capture_output=True,
        text=True,
    )
    if asked.returncode:
        pytest.skip("No package index answers here, so nothing can say whether the pins resolve.")


def test_the_pins_resolve_on_every_system() -> None:
    def complaint(system: tuple[str, str]) -> str:
        done = resolve(ROOT / "constraints.txt", *system)
        return done.stderr if done.returncode else ""

    with ThreadPoolExecutor() as pool:
        complaints = list(pool.map(complaint, SYSTEMS))

    assert dict(zip(SYSTEMS, complaints, strict=True)) == dict.fromkeys(SYSTEMS, "")


def test_a_triton_that_the_indexs_own_torch_refuses_is_noticed(tmp_path: Path) -> None:
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    other = ["triton==3.9.0" if pin.startswith("triton==") else pin for pin in pins]
    (tmp_path / "constraints.txt").write_text("\n".join(other))

    done = resolve(tmp_path / "constraints.txt", *SYSTEMS[0])

    assert done.returncode
    assert "triton" in done.stderr
