"""Chapter 10, exercise 10.9: an order of tiles in which a small cache serves most requests."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from moe_teach.chapters.ch10_triton_experts.cache import blocks_fetched, blocks_there
from moe_teach.judging.exercise import Exercise, Goal, Words, WrongAnswer, generator, require

EXERCISE = Exercise(
    id="10.9",
    name="tile_order",
    title="Open task: Who goes next to whom",
    points=3,
    difficulty=4,
    importance=3,
    minutes=25,
    limit=30,
    hints=(
        "Take one expert with many tiles and columns, and paper. In the plain order, when does the "
        "cache still have what the next program needs, and what was thrown out just before? "
        "Experts share nothing with one another.",
        "Work through a few tiles of one expert, all columns, before you go on to the next few. "
        "While you stay with them, each column's block is fetched once and serves all of them. "
        "How many tiles fit beside the columns' blocks?",
        "for each expert: for first in range(0, len(its tiles), size): for j in columns: for t in "
        "its tiles[first : first + size]. With size = cache_blocks - 2 there is room for the old "
        "column and the new one. Then try what happens if columns are grouped instead of tiles, "
        "and take the better of the two with `blocks_fetched`.",
    ),
    explanation="This is what `GROUP_M` does in the library, and what tutorials call swizzling: "
    "programs that run next to one another read few different blocks. A group that fills the cache "
    "to the last block is worse than a smaller one, because the next column pushes out the very "
    "tile that is needed next; two places must stay free, or the group must be walked through "
    "forwards and backwards in turn. Groups that reach across experts waste their places, which is "
    "what a fixed number in a table does with ragged experts.",
    goal=Goal(
        quantity="blocks fetched, for each block that there is",
        unit="",
        baseline=4.586,
        target=1.6,
        more_is_better=False,
        limit="Nobody fetches less than 1, each block once; the course's own order fetches 1.39.",
        cause="Blocks are thrown out of the cache before the last program that needs them has run.",
        cure="Stay with a few tiles of one expert for all columns, then go on to the next few.",
    ),
)
CACHES = (5, 7, 10, 14)  # blocks; an answer is measured on all of them
EDGES = (([], 3, 4), ([2], 1, 3), ([0, 0, 3], 4, 3), ([5] * 7, 1, 4), ([1, 4, 4, 4, 9], 5, 50))


def world(seed: int, cache_blocks: int) -> dict[str, Any]:
    """Draw ragged experts, some without tiles, and a number of column blocks."""
    random = generator(seed)

    def between(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=random))

    n_experts, n_columns = between(6, 12), between(8, 18)
    liking = 1 / torch.arange(1, n_experts + 1)
    dealt = liking.multinomial(n_experts * between(4, 8), replacement=True, generator=random)
    shuffled = torch.randperm(n_experts, generator=random)
    tile_expert = shuffled[dealt].sort().values.tolist()
    return {"tile_expert": tile_expert, "n_columns": n_columns, "cache_blocks": cache_blocks}


def _demand_each_once(got: Any, given: dict[str, Any]) -> list[tuple[int, int]]:
    n_tiles, n_columns = len(given["tile_expert"]), given["n_columns"]
    require(
        isinstance(got, Sequence) and not isinstance(got, str),
        "The order must be a list of pairs (tile, column).",
        got=got,
        example=given,
    )
    for pair in got:
        require(
            isinstance(pair, Sequence) and len(pair) == 2 and all(type(n) is int for n in pair),
            "An entry of the order is no pair of two plain integers.",
            cure="Each entry is (t, j): a tile and a block of columns, by their numbers.",
            got=pair,
            example=given,
        )
    order = [(pair[0], pair[1]) for pair in got]
    _demand_partition(Counter(order), n_tiles, n_columns, given)
    return order


def _demand_partition(
    times: Counter[tuple[int, int]], n_tiles: int, n_columns: int, given: dict[str, Any]
) -> None:
    wanted = [(t, j) for t in range(n_tiles) for j in range(n_columns)]
    strange = sorted(set(times) - set(wanted))
    missing = [pair for pair in wanted if not times[pair]]
    twice = [pair for pair in wanted if times[pair] > 1]
    for pairs, said in (
        (strange, "does not exist"),
        (missing, "is never computed"),
        (twice, "is computed more than once"),
    ):
        if pairs:
            raise WrongAnswer(
                f"The product of tile and column {pairs[0]} {said}.",
                cause="The order has to name each of the T x J products once.",
                cure="Tiles are numbered through all experts, 0 to len(tile_expert) - 1.",
                expected=Words(f"{len(wanted)} pairs"),
                got=Words(f"{sum(times.values())} pairs, {len(pairs)} of them like this")
                if pairs is not missing
                else Words(f"{sum(times.values())} pairs, and {len(pairs)} are missing"),
                example=given,
            )


@EXERCISE.stage("each product once")
def _order_once(answer: Any, seed: int) -> None:
    given = world(seed, 6)
    _demand_each_once(answer(**given), given)


@EXERCISE.stage("edges")
def _order_edges(answer: Any, seed: int) -> None:
    if seed:
        return
    for tile_expert, n_columns, cache_blocks in EDGES:
        given: dict[str, Any] = {"tile_expert": list(tile_expert), "n_columns": n_columns}
        given["cache_blocks"] = cache_blocks
        _demand_each_once(answer(**given), given)


@EXERCISE.goal.measure
def _order_fetches(answer: Any, seed: int) -> float:
    figures = []
    for i, cache_blocks in enumerate(CACHES):
        given = world(len(CACHES) * seed + i + 1000, cache_blocks)
        order = _demand_each_once(answer(**given), given)
        there = blocks_there(given["tile_expert"], given["n_columns"])
        figures.append(blocks_fetched(order, given["tile_expert"], cache_blocks) / there)
    return sum(figures) / len(figures)
