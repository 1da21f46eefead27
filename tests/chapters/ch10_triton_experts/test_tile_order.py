"""The measure of exercise 10.9 counts as a cache does, and what its text says of the best holds."""

import heapq

from moe_teach.chapters.ch10_triton_experts.cache import blocks_fetched, blocks_there
from moe_teach.chapters.ch10_triton_experts.tile_order import EXERCISE
from moe_teach.course.materials import reference


def _fewest(n_tiles: int, n_columns: int, cache_blocks: int) -> int:
    """Search all orders of one expert's products for the fewest fetched blocks."""
    start: tuple[int, tuple[int, ...]] = (0, ())
    least, waiting = {start: 0}, [(0, start)]
    while waiting:
        fetched, (done, held) = heapq.heappop(waiting)
        if fetched > least[done, held]:
            continue
        if done == 2 ** (n_tiles * n_columns) - 1:
            return fetched
        for product in range(n_tiles * n_columns):
            if done >> product & 1:
                continue
            t, j = divmod(product, n_columns)
            now, cost = held, fetched
            for block in (t, n_tiles + j):
                cost += block not in now
                now = (*(other for other in now if other != block), block)[-cache_blocks:]
            state = (done | 1 << product, now)
            if cost < least.get(state, 10**9):
                least[state] = cost
                heapq.heappush(waiting, (cost, state))
    raise AssertionError("no order does all products")


def _order(n_tiles: int, n_columns: int, cache_blocks: int) -> list[tuple[int, int]]:
    return reference(EXERCISE)([0] * n_tiles, n_columns, cache_blocks)


def test_a_cache_that_holds_everything_fetches_each_block_once() -> None:
    order = [(t, j) for t in range(4) for j in range(3)]

    assert blocks_fetched(order, [0, 0, 2, 2], 10) == blocks_there([0, 0, 2, 2], 3) == 10


def test_what_was_used_least_recently_makes_room() -> None:
    # rows 0, column 0 | column 1 | column 0 again: with room for two, it is gone by then
    assert blocks_fetched([(0, 0), (0, 1), (0, 0)], [0], 2) == 4
    assert blocks_fetched([(0, 0), (0, 1), (0, 0)], [0], 3) == 3


def test_experts_share_no_blocks() -> None:
    assert blocks_fetched([(0, 0), (1, 0)], [0, 1], 4) == 4
    assert blocks_fetched([(0, 0), (1, 0)], [0, 0], 4) == 3


def test_the_text_says_truly_that_the_course_is_not_the_best() -> None:
    assert _fewest(3, 3, 4) == 7
    assert blocks_fetched(_order(3, 3, 4), [0, 0, 0], 4) == 8
