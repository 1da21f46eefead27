"""Exercise 10.9: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch10_triton_experts.cache import blocks_fetched
from moe_teach.chapters.ch10_triton_experts.tile_order import EXERCISE


def _grouped(tiles, n_columns, size):
    return [
        (t, j)
        for first in range(0, len(tiles), size)
        for j in range(n_columns)
        for t in tiles[first : first + size]
    ]


def _by_expert(tile_expert):
    return [
        [t for t, owner in enumerate(tile_expert) if owner == e] for e in sorted(set(tile_expert))
    ]


@EXERCISE.wrong(stage="goal", says="there is: 4.586. The goal is at most")
def as_the_lesson_launches_them(tile_expert, n_columns, cache_blocks):
    return [(t, j) for j in range(n_columns) for t in range(len(tile_expert))]


@EXERCISE.wrong(stage="goal", says="The goal is at most")
def groups_of_eight_for_everybody(tile_expert, n_columns, cache_blocks):
    return _grouped(range(len(tile_expert)), n_columns, 8)


@EXERCISE.wrong(stage="goal", says="The goal is at most")
def expert_by_expert_without_groups(tile_expert, n_columns, cache_blocks):
    return [pair for tiles in _by_expert(tile_expert) for pair in _grouped(tiles, n_columns, 10**6)]


@EXERCISE.wrong(stage="goal", says="Blocks are thrown out")
def fills_the_cache_to_the_last_block(tile_expert, n_columns, cache_blocks):
    size = cache_blocks - 1
    return [pair for tiles in _by_expert(tile_expert) for pair in _grouped(tiles, n_columns, size)]


@EXERCISE.wrong(stage="each product once", says="is never computed")
def forgets_the_short_group(tile_expert, n_columns, cache_blocks):
    return [
        (t, j)
        for tiles in _by_expert(tile_expert)
        for first in range(0, len(tiles) - 3, 4)
        for j in range(n_columns)
        for t in tiles[first : first + 4]
    ]


@EXERCISE.wrong(stage="each product once", says="is computed more than once")
def groups_overlap(tile_expert, n_columns, cache_blocks):
    return [
        (t, j)
        for tiles in _by_expert(tile_expert)
        for first in range(0, len(tiles), 4)
        for j in range(n_columns)
        for t in tiles[first : first + 5]
    ]


@EXERCISE.wrong(stage="each product once", says="does not exist")
def turns_the_pairs_round(tile_expert, n_columns, cache_blocks):
    return [
        (j, t)
        for tiles in _by_expert(tile_expert)
        for t, j in _grouped(tiles, n_columns, cache_blocks)
    ]


@EXERCISE.wrong(stage="edges", says="")
def steps_by_half_the_cache_less_two(tile_expert, n_columns, cache_blocks):
    size = cache_blocks // 2 - 1
    return [pair for tiles in _by_expert(tile_expert) for pair in _grouped(tiles, n_columns, size)]


@EXERCISE.right
def columns_in_groups(tile_expert, n_columns, cache_blocks):
    size = cache_blocks - 2
    return [
        [t, j]
        for tiles in _by_expert(tile_expert)
        for first in range(0, n_columns, size)
        for t in tiles
        for j in range(n_columns)[first : first + size]
    ]


@EXERCISE.right
def the_best_of_all_groups(tile_expert, n_columns, cache_blocks):
    def cost(order):
        return blocks_fetched(order, tile_expert, cache_blocks)

    order = []
    for tiles in _by_expert(tile_expert):
        ways = (_grouped(tiles, n_columns, size) for size in range(1, cache_blocks + 1))
        order += min(ways, key=cost)
    return order
