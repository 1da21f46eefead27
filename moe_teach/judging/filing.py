"""Files source text where Python's own tools look for it."""

import itertools
import linecache

_NUMBERS = itertools.count()


def file_source(source: str, label: str) -> str:
    """File source text where `inspect` looks for it, and give its file name.

    Triton reads the source of a kernel, to compile and to interpret it, and tracebacks show it.
    """
    name = f"<{label}, {next(_NUMBERS)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    return name
