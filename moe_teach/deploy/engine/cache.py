"""The keys and values of all slots, and the view of them that one step gets.

Every slot has room for one text of the greatest length, set aside once: nothing is moved when a
text grows, and a text that ends frees its slot by being forgotten. Nobody sees a position beyond
the end of their own text, so what a slot held before cannot be seen by who gets it next.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.config import ModelConfig
from moe_teach.nn.cache import look


@dataclass(frozen=True, slots=True)
class Piece:
    """The next `n_tokens` tokens of the text in one slot."""

    slot: int
    n_tokens: int


class SlotCache:
    """Keys and values (n_layers, n_slots, H_kv, longest, d_head), and how much of each is read."""

    def __init__(self, config: ModelConfig, n_slots: int, like: Tensor) -> None:
        attention = config.attention
        heads = attention.n_kv_heads, config.max_seq_len, attention.d_head
        # Zeros, because what nobody sees is still multiplied by a weight of zero.
        self.keys = like.new_zeros(config.n_layers, n_slots, *heads)
        self.values = torch.zeros_like(self.keys)
        self.n_read = [0] * n_slots

    def reading(self, pieces: Sequence[Piece]) -> "Reading":
        """Prepare to read the next tokens of some texts, each slot at most once.

        Pieces of a single token come first. The texts count as read at once.
        """
        return Reading(self, pieces)

    def forget(self, slot: int, n_kept: int = 0) -> None:
        """Forget the text in a slot, or what comes after its first `n_kept` tokens."""
        self.n_read[slot] = n_kept


class Reading:
    """One step's view of the slots: a cache, as attention asks for one, whose batch are tokens.

    The batch has one row of length 1 for every token of every piece, in order. So tokens of
    different texts and different positions are read in one forward pass, the ends of prompts
    beside the newest tokens of others; only attention has to know which of them belong together.
    """

    def __init__(self, cache: SlotCache, pieces: Sequence[Piece]) -> None:
        device = cache.keys.device
        slots, positions = [], []
        for piece in pieces:
            start = cache.n_read[piece.slot]
            slots += [piece.slot] * piece.n_tokens
            positions += range(start, start + piece.n_tokens)
            cache.n_read[piece.slot] += piece.n_tokens
        self.cache, self.pieces = cache, pieces
        self.n_single = sum(piece.n_tokens == 1 for piece in pieces)
        self.n_tokens = max(positions)  # before the newest of the longest text
        self.slots = torch.tensor(slots, device=device)
        self.at = torch.tensor(positions, device=device)
        self._prepare_singles(slots[: self.n_single], positions[: self.n_single])
        self.masks = [self._mask(piece) for piece in pieces[self.n_single :]]

    def positions(self, layer: int, x: Float[Tensor, "T 1 D"]) -> Int[Tensor, "T 1 1"]:
        """Say where in its text each token stands; the same in every layer."""
        return self.at[:, None, None]

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "T H 1 d"],
        key: Float[Tensor, "T G 1 d"],
        value: Float[Tensor, "T G 1 d"],
    ) -> Float[Tensor, "T H 1 d"]:
        """Write the new keys and values into their slots, and let each token see its own text."""
        keys, values = self.cache.keys[layer], self.cache.values[layer]
        keys[self.slots, :, self.at] = key[:, :, 0]
        values[self.slots, :, self.at] = value[:, :, 0]
        start = self.n_single
        if start == len(query):
            return self._singles(query, keys, values)
        mixed = torch.empty_like(query)
        if start:
            mixed[:start] = self._singles(query[:start], keys, values)
        for piece, mask in zip(self.pieces[start:], self.masks, strict=True):
            end, n_seen = start + piece.n_tokens, self.cache.n_read[piece.slot]
            own = (part[piece.slot, None, :, :n_seen] for part in (keys, values))
            # Its tokens are neighbours in the batch: for attention they are one text again.
            answer = look(query[None, start:end, :, 0].transpose(1, 2), *own, mask)
            mixed[start:end, :, 0] = answer[0].transpose(0, 1)
            start = end
        return mixed

    def _singles(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Let tokens of different texts look, each at its own."""
        # The heads that share keys stand one after the other, as if they were positions.
        folded = query.view(len(query), keys.shape[1], -1, query.shape[-1])
        mixed = look(folded, self._of_singles(keys), self._of_singles(values), self.single_mask)
        return mixed.reshape(query.shape)

    def _prepare_singles(self, slots: list[int], positions: list[int]) -> None:
        self.longest = max(positions, default=0) + 1
        # Slots 0, 1, ... in order are a view; others have to be gathered.
        self.are_first = slots == list(range(len(slots)))
        seen = torch.arange(self.longest, device=self.at.device) <= self.at[: len(slots), None]
        unseen = self.cache.keys.new_zeros(seen.shape).masked_fill_(~seen, -torch.inf)
        self.single_mask = unseen[:, None, None]

    def _of_singles(self, part: Tensor) -> Tensor:
        if self.are_first:
            return part[: self.n_single, :, : self.longest]
        return part[:, :, : self.longest].index_select(0, self.slots[: self.n_single])

    def _mask(self, piece: Piece) -> Tensor | None:
        end = self.cache.n_read[piece.slot]
        if end == piece.n_tokens:
            return None
        everything = torch.arange(end, device=self.at.device)
        return everything <= everything[-piece.n_tokens :, None]
