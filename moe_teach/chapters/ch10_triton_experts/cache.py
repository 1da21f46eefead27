"""Chapter 10: a cache of a few blocks, and what an order of programs makes it fetch."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence


def blocks_fetched(
    order: Iterable[tuple[int, int]], tile_expert: Sequence[int], cache_blocks: int
) -> int:
    """Count the blocks that programs (t, j), one after another, fetch from memory.

    Program (t, j) needs two blocks: the rows of tile t, and block j of the columns of its expert's
    matrix. The cache holds `cache_blocks` of them, and gives up the one that nobody has used for
    the longest time.
    """
    held: OrderedDict[tuple[int, ...], None] = OrderedDict()
    fetched = 0
    for t, j in order:
        for block in ((t,), (tile_expert[t], j)):
            if block not in held:
                fetched += 1
            held[block] = None
            held.move_to_end(block)
            if len(held) > cache_blocks:
                held.popitem(last=False)
    return fetched


def blocks_there(tile_expert: Sequence[int], n_columns: int) -> int:
    """Count the blocks that somebody needs: each must be fetched once at least."""
    return len(tile_expert) + n_columns * len(set(tile_expert))
