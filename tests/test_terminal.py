"""The command speaks on poor terminals, and into pipes that close."""

import os
import subprocess
import sys

import pytest

SPEAK = """
import sys
from moe_teach.terminal import on_any_terminal
sys.exit(on_any_terminal(lambda: print({words}) or 0))
"""


def started(words: str, encoding: str = "utf-8") -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SPEAK.format(words=words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_sign_that_the_terminal_lacks_is_a_question_mark(encoding: str) -> None:
    said, complaints = started("'α → é'", encoding).communicate(timeout=60)

    assert said.decode(encoding).split() == ["?", "?", "é" if encoding != "ascii" else "?"]
    assert complaints == b""


@pytest.mark.skipif(os.name != "posix", reason="pipes of other systems end differently")
@pytest.mark.parametrize("length", [1, 10_000_000], ids=["kept until the end", "cut in the middle"])
def test_a_reader_who_has_had_enough_is_no_fault(length: int) -> None:
    with started(f"'x' * {length}") as process:
        process.stdout.close()
        complaints = process.stderr.read()

    assert complaints == b""
    assert process.returncode == 141
