"""The picture of the README: the signature figure of chapter 00, as its lesson drew it."""

import base64
import sys
from pathlib import Path

import nbformat


def front_door_picture(lesson: Path) -> bytes:
    """Return the first stored PNG of an executed lesson.

    Raises:
        LookupError: if the lesson holds no figure, because it was never executed.
    """
    notebook = nbformat.read(lesson, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [
        output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})
    ]
    if not pictures:
        raise LookupError(f"{lesson} holds no figure yet: run `make notebooks` first.")
    return base64.b64decode(pictures[0])


if __name__ == "__main__":
    lesson, target = map(Path, sys.argv[1:])
    target.write_bytes(front_door_picture(lesson))
    print(f"{target}: {target.stat().st_size:,} bytes")
