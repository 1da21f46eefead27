"""Tensors larger than the machine exist wherever addresses do."""

import subprocess
import sys

import pytest

LIMITED = """
import resource
import torch
from moe_teach.analysis.kernel_watch import vast

resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, 6 << 30))
far = vast((5, 4), (2**31, 1), dtype=torch.float16)
far[4, 3] = 7
print(far[4, 3].item(), far[0, 0].item())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems limit nothing of the kind")
def test_a_limit_on_a_process_own_data_does_not_refuse_them() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True)

    assert done.stdout.split() == ["7.0", "0.0"], done.stderr
