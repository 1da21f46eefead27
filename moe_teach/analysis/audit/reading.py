"""A text as tokens: their ids, and the piece of the text that each of them stands for."""

from typing import NamedTuple

import torch
from jaxtyping import Int
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from moe_teach.config import refuse
from moe_teach.data.batches import Batch

WINDOW, MOST_WINDOWS, ROWS = 128, 64, 16  # tokens of a window; windows read; windows of a batch


class Reading(NamedTuple):
    """A text in windows of equal length, each with the token after every one of its tokens."""

    inputs: Int[Tensor, "windows S"]
    targets: Int[Tensor, "windows S"]
    pieces: list[str]
    n_left_out: int

    def batches(self) -> list[Batch]:
        """Return the windows as batches of one kind of text."""
        none = torch.zeros(len(self.inputs), dtype=torch.int64)
        parts = (part.split(ROWS) for part in (self.inputs, self.targets, none))
        return [Batch(*rows) for rows in zip(*parts, strict=True)]


def read(text: str, tokenizer: Tokenizer, longest: int) -> Reading:
    """Cut a text into windows side by side; what does not fill one is left out.

    Args:
        text: at least two tokens of it.
        tokenizer: of the model.
        longest: how many tokens the model reads at once.

    Raises:
        ValueError: the text is too short to predict anything in it.
    """
    encoded = tokenizer.encode(text)
    refuse(
        len(encoded.ids) < 2,
        "The text is shorter than two tokens, so there is nothing to predict in it.",
    )
    ids, pieces = torch.tensor(encoded.ids), pieces_of(text, encoded)
    window = min(WINDOW, longest, len(ids) - 1)
    n_windows = min(MOST_WINDOWS, (len(ids) - 1) // window)
    end = n_windows * window
    inputs, targets = ids[:end].view(-1, window), ids[1 : end + 1].view(-1, window)
    return Reading(inputs, targets, pieces[: end + 1], len(ids) - end - 1)


def pieces_of(text: str, encoded: Encoding) -> list[str]:
    """Return what each token stands for; the later tokens of one cut character stand for "·"."""
    pieces, reached = [], 0
    for (start, end), name in zip(encoded.offsets, encoded.tokens, strict=True):
        piece = text[max(start, reached) : end]
        is_added = start == end  # as the mark of a beginning, which is not in the text
        pieces.append(name if is_added else piece or "·")
        reached = max(reached, end)
    return pieces
