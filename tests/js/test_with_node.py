"""Runs every JavaScript test of this folder in node's own test runner."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize("test_file", sorted(HERE.glob("*.test.js")), ids=lambda path: path.stem)
def test_javascript(test_file: Path) -> None:
    node = shutil.which("node")
    if node is None:
        sentence = "node is missing: install Node.js 20.19 or newer to run the JavaScript tests."
        (pytest.fail if os.environ.get("CI") else pytest.skip)(sentence)

    run = subprocess.run(
        [node, "--test", str(test_file)], capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stdout + run.stderr
