"""The table of graphs tells how often a compiled layer is cut, and why."""

import subprocess
import sys


def test_the_command_counts_breaks_and_says_why():
    # In a process of its own: torch's compiler cannot follow the shape checks of the tests.
    command = ["bench", "compile-graph", "--dtype", "float32", "--first", "1"]
    said = subprocess.run(
        [sys.executable, "-m", "moe_teach.cli", *command],
        capture_output=True,
        text=True,
        check=True,
    )
    line = said.stdout.splitlines()[-1]
    assert line.startswith("float32") and "how many rows an expert has" in line
