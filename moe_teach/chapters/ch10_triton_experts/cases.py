"""Chapter 10: what the kernels of 10.1, 10.3 and 10.4 are launched on, and their right results."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch10_triton_experts.inputs import (
    empty,
    expert_of_rows,
    normal,
    offsets_of,
    tile_tables,
)
from moe_teach.judging.exercise import generator

BLOCKS = ("BLOCK_ROWS", "BLOCK_F", "BLOCK_D")


def gathered_case(
    counts: list[int],
    sizes: tuple[int, int],
    seed: int,
    *,
    blocks: tuple[int, int, int] = (4, 4, 4),
    surplus: int = 0,
    flip: bool = False,
) -> dict[str, Any]:
    """Give exercise 10.1 its arguments for blocks of rows, of F and of D.

    `flip` stores w the other way round.
    """
    d_model, d_ff = sizes
    n_rows, n_tokens = sum(counts), sum(counts) + 3
    x = normal(n_tokens, d_model, seed=seed)
    shuffled = torch.randperm(n_tokens, generator=generator(seed))[:n_rows]
    w = normal(len(counts), d_ff, d_model, seed=seed + 1)
    w = w.mT.contiguous().mT if flip else w
    given = {"x_ptr": x, "token_idx_ptr": shuffled.to(torch.int32), "w_ptr": w}
    given |= {"out_ptr": empty(n_rows, d_ff)} | tile_tables(counts, blocks[0], surplus)
    given |= {"D": d_model, "F": d_ff}
    given |= dict(zip(("stride_e", "stride_f", "stride_d"), w.stride(), strict=True))
    return given | dict(zip(("BLOCK_ROWS", "BLOCK_F", "BLOCK_D"), blocks, strict=True))


def gathered_product(given: dict[str, Any], counts: list[int]) -> Tensor:
    """Multiply each row with the matrix of its expert."""
    rows, w = given["x_ptr"][given["token_idx_ptr"].long()], given["w_ptr"]
    return torch.einsum("nd,nfd->nf", rows.double(), w[expert_of_rows(counts)].double()).float()


def _order(n_rows: int, seed: int) -> Tensor:
    """Shuffle the rows so that the inverse is another order, where there is one."""
    order = identity = torch.arange(n_rows)
    random = generator(seed)
    while bool((order == identity).any() or (n_rows > 2 and (order[order] == identity).any())):
        order = torch.randperm(n_rows, generator=random)
    return order


def down_case(
    counts: list[int],
    d_model: int,
    seed: int,
    *,
    blocks: tuple[int, int, int] = (4, 4, 4),
    surplus: int = 0,
    sorted_already: bool = False,
) -> dict[str, Any]:
    """Give exercise 10.3 its arguments for blocks of rows, of D and of F, with F = 3."""
    n_rows, d_ff = sum(counts), 3
    given: dict[str, Any] = {"h_ptr": normal(n_rows, d_ff, seed=seed)}
    given["w_ptr"] = normal(len(counts), d_model, d_ff, seed=seed + 1)
    given["gates_ptr"] = 0.1 + torch.rand(n_rows, generator=generator(seed + 2))
    order = torch.arange(n_rows) if sorted_already else _order(n_rows, seed)
    given["choice_ptr"] = order.to(torch.int32)
    given |= {"out_ptr": empty(n_rows, d_model)} | tile_tables(counts, blocks[0], surplus)
    given |= {"D": d_model, "F": d_ff}
    return given | dict(zip(("BLOCK_ROWS", "BLOCK_D", "BLOCK_F"), blocks, strict=True))


def answers_by_row(given: dict[str, Any], counts: list[int]) -> Tensor:
    """Give the answers before their gates, in the order of the rows."""
    w = given["w_ptr"][expert_of_rows(counts)].double()
    return torch.einsum("nf,ndf->nd", given["h_ptr"].double(), w).float()


def placed(given: dict[str, Any], by_row: Tensor) -> Tensor:
    """Put each row in the place of its choice."""
    out = torch.empty_like(by_row)
    out[given["choice_ptr"].long()] = by_row
    return out


def gradient_case(
    counts: list[int],
    sizes: tuple[int, int],
    seed: int,
    *,
    blocks: tuple[int, int, int] = (4, 4, 4),
) -> dict[str, Any]:
    """Give exercise 10.4 its arguments for blocks of rows, of F and of D."""
    d_model, d_ff = sizes
    given: dict[str, Any] = {"rows_ptr": normal(sum(counts), d_model, seed=seed)}
    given["dout_ptr"] = normal(sum(counts), d_ff, seed=seed + 1)
    given |= {"expert_offsets_ptr": offsets_of(counts)}
    given |= {"dw_ptr": empty(len(counts), d_ff, d_model), "D": d_model, "F": d_ff}
    return given | dict(zip(BLOCKS, blocks, strict=True))


def gradient(given: dict[str, Any], counts: list[int]) -> Tensor:
    """Sum the outer products of each expert's rows."""
    pairs = zip(given["dout_ptr"].split(counts), given["rows_ptr"].split(counts), strict=True)
    return torch.stack([(a.double().T @ b.double()).float() for a, b in pairs])
