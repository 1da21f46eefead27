"""The map from tiles to experts, and the block sizes that a GPU could hold."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moe_teach.ops.tiles import SHARED_MEMORY, Tiles, as_on, fitting_tiles, forced
from moe_teach.ops.triton_mode import mode

if mode() == "absent":
    pytest.skip("Triton is not installed", allow_module_level=True)

from moe_teach.ops.tile_product import map_tiles, most_tiles

WORKS = ("product", "double", "outer")


def tiles_by_hand(sizes: list[int], block_m: int) -> list[tuple[int, int]]:
    found, start = [], 0
    for expert, size in enumerate(sizes):
        found += [(expert, start + row) for row in range(0, size, block_m)]
        start += size
    return found


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([0, 0, 1, 3, 15, 16, 17, 40]), min_size=1, max_size=9),
    block_m=st.sampled_from([1, 4, 16]),
)
def test_every_row_is_in_one_tile_and_no_tile_has_rows_of_two_experts(sizes, block_m) -> None:
    expected = tiles_by_hand(sizes, block_m)
    tile_map = map_tiles(torch.tensor(sizes).cumsum(0).int(), sum(sizes), block_m)

    found = list(zip(tile_map.expert.tolist(), tile_map.row.tolist(), strict=True))
    assert found[: len(expected)] == expected
    assert all(expert == len(sizes) for expert, _ in found[len(expected) :]), "surplus tiles"


def test_the_map_serves_256_experts_and_several_programs() -> None:
    sizes = torch.arange(256) % 5
    tile_map = map_tiles(sizes.cumsum(0).int(), int(sizes.sum()), 2)
    expected = tiles_by_hand(sizes.tolist(), 2)
    assert tile_map.n_tiles > 256
    assert tile_map.expert[: len(expected)].tolist() == [expert for expert, _ in expected]
    assert tile_map.row[: len(expected)].tolist() == [row for _, row in expected]


def test_rows_may_be_fewer_than_announced() -> None:
    """Where choices were dropped, only the device knows the number of rows."""
    tile_map = map_tiles(torch.tensor([2, 2, 5], dtype=torch.int32), 40, 4)
    assert tile_map.expert.tolist() == [0, 2] + [3] * (tile_map.n_tiles - 2)


@pytest.mark.parametrize(
    ("n_rows", "n_experts", "block_m", "expected"),
    [(0, 8, 16, 0), (1, 8, 16, 1), (8, 256, 16, 8), (64, 4, 16, 7), (17, 1, 16, 2)],
)
def test_surplus_tiles_are_few(n_rows, n_experts, block_m, expected) -> None:
    assert most_tiles(n_rows, n_experts, block_m) == expected


@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("n_rows", [1, 20, 33, 100, 4096])
@pytest.mark.parametrize("generation", SHARED_MEMORY)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_the_operands_in_flight_fit_in_shared_memory(dtype, generation, n_rows, work) -> None:
    with as_on(generation):
        tiles = fitting_tiles(work, torch.device("cpu"), dtype, n_rows, 4096, 4096)
    assert tiles.shared_bytes(work, dtype.itemsize) <= SHARED_MEMORY[generation]
    blocks = (tiles.block_m, tiles.block_n, tiles.block_k)
    assert all(block >= 16 and block.bit_count() == 1 for block in blocks), "tensor-core sizes"


def test_few_rows_get_low_tiles() -> None:
    device = torch.device("cpu")
    with as_on(90):
        heights = [
            fitting_tiles("product", device, torch.bfloat16, n, 4096, 4096).block_m
            for n in (1, 16, 17, 64, 5000)
        ]
    assert heights == [16, 16, 32, 64, 128]


def test_block_sizes_can_be_forced() -> None:
    wanted = Tiles(32, 64, 16)
    with forced(wanted):
        inside = fitting_tiles("double", torch.device("cpu"), torch.float32, 5, 8, 8)
    assert inside == wanted
    assert fitting_tiles("double", torch.device("cpu"), torch.float32, 5, 8, 8) != wanted
