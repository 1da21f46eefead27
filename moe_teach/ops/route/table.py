"""Experts that a fixed table holds for a token id (Roller et al. 2021, arXiv 2106.04426)."""

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from moe_teach.config import refuse


def drawn_table(vocab_size: int, top_k: int, n_experts: int, seed: int) -> Int[Tensor, "V K"]:
    """Draw `top_k` different experts for each token id, all equally likely; on the CPU."""
    source = torch.Generator().manual_seed(seed)
    lots = torch.rand(vocab_size, n_experts, generator=source, device="cpu")
    return lots.topk(top_k, dim=-1).indices


def looked_up(
    table: Int[Tensor, "V K"], token_ids: Int[Tensor, "..."] | None, n_rows: int
) -> Int[Tensor, "T K"]:
    """Give the experts of the tokens with these ids, of which there must be one for each row.

    Raises:
        ValueError: if there are no ids, not one for each row, or one not in the table.
    """
    refuse(
        token_ids is None,
        "This router chooses by token id and got none. Call the layer as "
        "moe(x, token_ids=token_ids); a Model does so by itself.",
    )
    refuse(
        token_ids.numel() != n_rows,
        f"There are {n_rows} rows, but {token_ids.numel()} token ids: each row needs its own.",
    )
    try:
        # Unlike table[ids], this counts no negative id from the end.
        return F.embedding(token_ids.reshape(-1), table)
    except IndexError as error:  # on a GPU nobody waits to look
        raise ValueError(
            f"Token ids must lie between 0 and {len(table) - 1}: was the table made for another "
            "vocabulary?"
        ) from error
