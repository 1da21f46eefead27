"""An outcome is plain data, and judging needs nothing heavy to begin with."""

import subprocess
import sys

import pytest

from moe_teach.judging.engine import run_exercise
from moe_teach.judging.outcome import Outcome


@pytest.mark.parametrize("factor", ["2 * x", "3 * x", "x.nothing", "x[:0]"])
def test_an_outcome_survives_json(double, learner, factor):
    outcome = run_exercise(double, learner(f"def double(x):\n    print(1)\n    return {factor}"))
    again = Outcome.from_json(outcome.to_json())
    assert again == outcome
    assert hash(again) == hash(outcome)
    assert "\n" not in outcome.to_json()


def test_judging_is_imported_without_torch_display_or_course():
    code = (
        "import sys, moe_teach.judging.engine, moe_teach.judging.questions\n"
        "heavy = {'torch', 'numpy', 'IPython', 'matplotlib', 'triton', 'moe_teach.course'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_check_does_not_import_the_compiler_or_triton_for_the_learner():
    code = (
        "import sys, torch\nfrom moe_teach.judging.guard import fresh_session\n"
        "with fresh_session():\n    pass\n"
        "heavy = {'triton', 'torch._inductor', 'torch._dynamo', 'sympy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
