"""Write the source of the site: `python -m moe_teach.course.authoring.site build/site/source`."""

import sys
from pathlib import Path

from moe_teach.course.authoring.site.files import write

if __name__ == "__main__":
    out = Path(sys.argv[1])
    print(f"{write(Path.cwd(), out)} files changed in {out}.")
