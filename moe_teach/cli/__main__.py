"""`python -m moe_teach.cli` is `moe-teach`."""

import sys

from moe_teach.cli import main

sys.exit(main())
