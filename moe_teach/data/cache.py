"""A cache of texts that are slow to make: checked on reading, replaced when damaged."""

import contextlib
import hashlib
from collections.abc import Callable

from moe_teach.files import cache_folder, write_atomically


def cached_text(name: str, make: Callable[[], str]) -> str:
    """Return the text stored under `name`, or make it and store it.

    The first line of the file is the digest of the rest; a file that fails it is made again.
    A cache that cannot be written, or has no place to be, is done without.
    """
    with contextlib.suppress(OSError):
        stored, _, content = (cache_folder() / name).read_bytes().partition(b"\n")
        if stored == hashlib.sha256(content).hexdigest().encode():
            return content.decode()
    text = make()
    content = text.encode()
    with contextlib.suppress(OSError):
        digest = hashlib.sha256(content).hexdigest().encode()
        write_atomically(cache_folder() / name, digest + b"\n" + content)
    return text
