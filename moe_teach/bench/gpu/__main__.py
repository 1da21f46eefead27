"""`python -m moe_teach.bench.gpu`: the command where the package is not installed."""

import sys

from moe_teach.bench.gpu.cli import main

sys.exit(main(sys.argv[1:]))
