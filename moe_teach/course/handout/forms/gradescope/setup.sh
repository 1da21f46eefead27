#!/usr/bin/env bash
# Gradescope runs this once, when it builds the image that grades: the course in a place of its own.
set -euo pipefail

apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq git python3 python3-venv
python3 -m venv /autograder/venv
/autograder/venv/bin/pip install --quiet uv
# uv knows where PyTorch keeps its build for CPUs.
/autograder/venv/bin/uv pip install --quiet --python /autograder/venv/bin/python \
    --torch-backend cpu "moe-teach[kernels] @ git+@URL@"
