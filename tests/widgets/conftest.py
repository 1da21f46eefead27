"""Run a widget's JavaScript in node, so that both halves can be held to the same numbers."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WIDGETS = Path(__file__).parents[2] / "moe_teach" / "widgets"


@pytest.fixture
def in_node() -> Callable[[str, str, list[Any]], list[Any]]:
    """Give `run(name, expression, cases)`: the expression's value for each case.

    The expression sees `given`, one of the cases, and, as `m`, everything that `name.js` exports;
    a full path names a script elsewhere.
    """
    if shutil.which("node") is None:
        pytest.skip("node is not installed, so the JavaScript half cannot be compared")

    def run(name: str, expression: str, cases: list[Any]) -> list[Any]:
        script = (
            f"import * as m from {json.dumps((WIDGETS / f'{name}.js').as_uri())};\n"
            "import { readFileSync } from 'node:fs';\n"
            "const cases = JSON.parse(readFileSync(0, 'utf8'));\n"
            f"console.log(JSON.stringify(cases.map((given) => {expression})));"
        )
        node = ["node", "--input-type=module", "--no-warnings", "-e", script]
        done = subprocess.run(node, input=json.dumps(cases), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run
