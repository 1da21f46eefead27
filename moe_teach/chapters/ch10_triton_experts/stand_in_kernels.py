"""Exercises 10.6 and 10.7: the kernels as plain functions that look closely at their launches.

Each is launched as a kernel is, `count[(grid,)](...)`, takes the same parameters, and does with
formulas what the kernel does program by program. What a kernel would do in silence with a wrong
launch is a sentence here.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.exercise import WrongAnswer, require

OF_EXERCISE = {"count": "9.2", "place": "9.3", "tiles": "10.2", "matmul": "10.1", "down": "10.3"}
OF_THE_WAY_BACK = {"tiles": "10.2", "matmul": "10.1", "gradient": "10.4"}


class StandIn:
    """A function that is launched like a kernel, and notes its launches."""

    def __init__(self, name: str, work: Callable[..., None]) -> None:
        self.name, self.work, self.launches = name, work, 0

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        """Take the grid; the result takes the kernel's arguments."""

        def launched(*given: Any, **named: Any) -> None:
            try:
                bound = inspect.signature(self.work).bind(grid, *given, **named)
            except TypeError as mismatch:
                names = list(inspect.signature(self.work).parameters)[1:]
                said = f"The launch of `{self.name}` does not fit its parameters: {mismatch}."
                raise WrongAnswer(said, cure=f"They are: {', '.join(names)}.") from None
            self.launches += 1
            self.work(*bound.args, **bound.kwargs)

        return launched


def demand(kernel: str, condition: Any, said: str, cure: str = "") -> None:
    """Reject a launch."""
    require(condition, f"`{kernel}`: {said}", cure=cure)


def _demand_plain(kernel: str, **tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        demand(
            kernel,
            tensor.is_contiguous(),
            f"it walks through `{name}` as if the numbers lay side by side, and was handed a view "
            "whose numbers do not. On a GPU it would read others, and nobody would notice.",
            f"Hand it `{name}.contiguous()`.",
        )


def _demand_integers(kernel: str, **tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        demand(kernel, not tensor.is_floating_point(), f"`{name}` must hold integers.")


def _demand_blocks(kernel: str, n: int, block: int, experts: int, n_experts: int, grid: Any) -> int:
    n_blocks = -(-n // block)
    demand(
        kernel,
        tuple(grid) == (n_blocks,),
        f"{n} choices in blocks of {block} need {n_blocks} programs, and the grid is {grid}.",
        "triton.cdiv(n_choices, BLOCK) programs",
    )
    is_power = experts & (experts - 1) == 0 and block & (block - 1) == 0
    demand(kernel, is_power, "its blocks must be powers of two.", "triton.next_power_of_2(...)")
    demand(kernel, experts >= n_experts, f"EXPERTS = {experts} leaves experts out.")
    return n_blocks


def _count(
    grid, expert_ids_ptr, counts_ptr, n_choices, n_experts, BLOCK, EXPERTS
) -> None:  # the kernel's own names
    n_blocks = _demand_blocks("count", n_choices, BLOCK, EXPERTS, n_experts, grid)
    _demand_plain("count", expert_ids=expert_ids_ptr, counts=counts_ptr)
    _demand_integers("count", counts=counts_ptr)
    demand(
        "count",
        expert_ids_ptr.numel() == n_choices and counts_ptr.numel() == n_blocks * n_experts,
        f"the table has {n_blocks} rows of {n_experts} counts, and `counts` "
        f"{counts_ptr.numel()} places.",
    )
    table = counts_ptr.view(n_blocks, n_experts)
    for block, ids in enumerate(expert_ids_ptr.reshape(-1).split(BLOCK)):
        table[block] = torch.bincount(ids.long(), minlength=n_experts)


def _place(
    grid, expert_ids_ptr, base_ptr, slot_ptr, token_idx_ptr, n_choices, n_experts, TOP_K, BLOCK,
    EXPERTS,
) -> None:  # fmt: skip
    n_blocks = _demand_blocks("place", n_choices, BLOCK, EXPERTS, n_experts, grid)
    _demand_plain(
        "place", base=base_ptr, expert_ids=expert_ids_ptr, slot=slot_ptr, token_idx=token_idx_ptr
    )
    _demand_integers("place", base=base_ptr, slot=slot_ptr, token_idx=token_idx_ptr)
    sizes = (base_ptr.numel(), slot_ptr.numel(), token_idx_ptr.numel())
    wanted = (n_blocks * n_experts, n_choices, n_choices)
    demand("place", sizes == wanted, f"base, slot and token_idx have {sizes} places, not {wanted}.")
    following = base_ptr.view(n_blocks, n_experts).clone()
    for choice, expert in enumerate(expert_ids_ptr.reshape(-1).tolist()):
        row = int(following[choice // BLOCK, expert])
        demand(
            "place",
            0 <= row < n_choices,
            f"`base` sends choice {choice} to row {row}, and there are {n_choices} rows.",
            "base[b, e] is where expert e begins, plus its choices in the blocks before b.",
        )
        following[choice // BLOCK, expert] += 1
        slot_ptr.view(-1)[choice] = row
        token_idx_ptr.view(-1)[row] = choice // TOP_K


def _tiles(
    grid, expert_offsets_ptr, tile_expert_ptr, tile_begin_ptr, tile_end_ptr, E, BLOCK_ROWS, BLOCK_E
) -> None:
    demand("tiles", BLOCK_E >= E and BLOCK_E & (BLOCK_E - 1) == 0, f"BLOCK_E = {BLOCK_E} is wrong.")
    ends = expert_offsets_ptr.tolist()
    found = [
        (e, first, min(first + BLOCK_ROWS, end))
        for e, (begin, end) in enumerate(zip([0, *ends], ends, strict=False))
        for first in range(begin, end, BLOCK_ROWS)
    ]
    demand(
        "tiles",
        grid[0] >= len(found),
        f"there are {len(found)} tiles, and {grid[0]} programs look for them: rows are left out.",
        "At most cdiv(n_rows, BLOCK_ROWS) + E tiles exist; launch so many, and ask nobody.",
    )
    found += [(-1, 0, 0)] * (grid[0] - len(found))
    for out, numbers in zip(
        (tile_expert_ptr, tile_begin_ptr, tile_end_ptr), zip(*found, strict=True), strict=True
    ):
        demand("tiles", out.numel() == grid[0], "each program stores three integers.")
        out.view(-1)[:] = torch.tensor(numbers)


def _rows(tile_expert: Tensor, begin: Tensor, end: Tensor, n_tiles: int) -> list[list[int]]:
    tiles = zip(tile_expert.tolist(), begin.tolist(), end.tolist(), strict=True)
    return [list(tile) for tile in list(tiles)[:n_tiles] if tile[0] >= 0]


def _matmul(
    grid, x_ptr, token_idx_ptr, w_ptr, out_ptr, tile_expert_ptr, tile_begin_ptr, tile_end_ptr, D, F,
    stride_e, stride_f, stride_d, BLOCK_ROWS, BLOCK_F, BLOCK_D,
) -> None:  # fmt: skip
    _demand_plain("matmul", x=x_ptr, out=out_ptr, token_idx=token_idx_ptr)
    _demand_rows("matmul", D, x=x_ptr)
    _demand_rows("matmul", F, out=out_ptr)
    shape = (int(tile_expert_ptr.max()) + 1, F, D)
    w = torch.as_strided(w_ptr, shape, (stride_e, stride_f, stride_d), w_ptr.storage_offset())
    _demand_columns("matmul", grid, F, BLOCK_F)
    for e, begin, end in _rows(tile_expert_ptr, tile_begin_ptr, tile_end_ptr, grid[0]):
        demand("matmul", end - begin <= BLOCK_ROWS, "BLOCK_ROWS is smaller than the tiles are.")
        tokens = x_ptr.view(-1, D)[token_idx_ptr[begin:end].long()]
        out_ptr.view(-1, F)[begin:end] = tokens @ w[e].T


def _down(
    grid, h_ptr, w_ptr, gates_ptr, choice_ptr, out_ptr, tile_expert_ptr, tile_begin_ptr,
    tile_end_ptr, D, F, BLOCK_ROWS, BLOCK_D, BLOCK_F,
) -> None:  # fmt: skip
    _demand_plain("down", h=h_ptr, w=w_ptr, gates=gates_ptr, out=out_ptr, choice=choice_ptr)
    _demand_integers("down", choice=choice_ptr)
    _demand_columns("down", grid, D, BLOCK_D)
    demand("down", BLOCK_F >= F, f"all of F = {F} must fit into BLOCK_F, which is {BLOCK_F}.")
    is_order = choice_ptr.long().sort().values.equal(torch.arange(choice_ptr.numel()))
    demand("down", is_order, "`choice` must name every choice once, and it does not.")
    for e, begin, end in _rows(tile_expert_ptr, tile_begin_ptr, tile_end_ptr, grid[0]):
        demand("down", end - begin <= BLOCK_ROWS, "BLOCK_ROWS is smaller than the tiles are.")
        place = choice_ptr[begin:end].long()
        answers = h_ptr.view(-1, F)[begin:end] @ w_ptr.view(-1, D, F)[e].T
        out_ptr.view(-1, D)[place] = gates_ptr.view(-1)[place, None] * answers


def _gradient(
    grid, rows_ptr, dout_ptr, expert_offsets_ptr, dw_ptr, D, F, BLOCK_ROWS, BLOCK_F, BLOCK_D
) -> None:
    ends = expert_offsets_ptr.tolist()
    _demand_plain("gradient", rows=rows_ptr, dout=dout_ptr, dw=dw_ptr)
    _demand_rows("gradient", D, rows=rows_ptr, dw=dw_ptr)
    _demand_rows("gradient", F, dout=dout_ptr)
    for name, tensor in (("rows", rows_ptr), ("dout", dout_ptr)):
        demand(
            "gradient",
            len(tensor) == ends[-1],
            f"the experts have {ends[-1]} rows, and `{name}` has {len(tensor)}.",
            "Row n of `rows` and row n of `dout` belong together: both are sorted by expert.",
        )
    wanted = (len(ends), -(-F // BLOCK_F), -(-D // BLOCK_D))
    said = f"its grid is (experts, blocks of F, blocks of D), {wanted} here, and not {tuple(grid)}."
    demand("gradient", tuple(grid) == wanted, said)
    demand("gradient", dw_ptr.numel() == len(ends) * F * D, "`dw` must hold E x F x D numbers.")
    for e, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
        dw_ptr.view(-1, F, D)[e] = dout_ptr[begin:end].T @ rows_ptr[begin:end]


def _demand_rows(kernel: str, width: int, **tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        demand(
            kernel,
            tensor.ndim < 2 or tensor.shape[-1] == width,
            f"rows of `{name}` are {tensor.shape[-1]} long, and the launch says {width}.",
        )


def _demand_columns(kernel: str, grid: Any, width: int, block: int) -> None:
    demand(
        kernel,
        len(grid) == 2 and grid[1] == -(-width // block),
        f"{width} columns in blocks of {block} need {-(-width // block)} programs along the second "
        f"axis, and the grid is {tuple(grid)}.",
    )


WORK = {"count": _count, "place": _place, "tiles": _tiles, "matmul": _matmul, "down": _down}
WORK |= {"gradient": _gradient}


def stand_ins(names: Iterable[str] = OF_EXERCISE) -> dict[str, StandIn]:
    """Give fresh stand-ins, by the name of their part."""
    return {name: StandIn(name, WORK[name]) for name in names}
