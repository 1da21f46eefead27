"""What a model remembers of the text that it has read, and who sees whom."""

from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


@runtime_checkable
class Cache(Protocol):
    """What attention asks of a cache: where new tokens stand, and to attend.

    So a cache decides how it remembers and who sees whom, and attention need not know: `KVCache`
    grows with a batch of texts, `moe_teach.deploy.engine` keeps many texts in slots.
    """

    @property
    def n_tokens(self) -> int:
        """How many tokens the longest text had before the new ones."""
        ...

    def positions(self, layer: int, x: Tensor) -> Tensor:
        """Say where in their texts the new tokens `x` (B, S, D) stand, as `rotate` takes it."""
        ...

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Remember new keys and values, and let the queries look at all that they may see."""
        ...


class KVCache:
    """The keys and values of the tokens that a model has already read, layer by layer.

    It grows with a batch of texts of equal length. Keys are stored after rotation.
    """

    def __init__(self, n_layers: int) -> None:
        self.keys: list[Tensor | None] = [None] * n_layers
        self.values: list[Tensor | None] = [None] * n_layers

    @property
    def n_tokens(self) -> int:
        """How many tokens the cache remembers."""
        # The last layer is written last, so the answer does not change in the middle of a step.
        return 0 if self.keys[-1] is None else self.keys[-1].shape[-2]

    def positions(self, layer: int, x: Float[Tensor, "B S D"]) -> Tensor:
        """Say where in their texts the S newest tokens stand, as `rotate` takes it."""
        n_past = 0 if self.keys[layer] is None else self.keys[layer].shape[-2]
        return torch.arange(n_past, n_past + x.shape[1], device=x.device)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor
    ) -> Float[Tensor, "B H S d"]:
        """Remember new keys and values, and let the queries look at all that they may see."""
        n_new = key.shape[-2]
        key, value = self.append(layer, key, value)
        n_past = key.shape[-2] - n_new
        position = torch.arange(n_past, n_past + n_new, device=key.device)
        return look(query, key, value, sees(position, n_past + n_new) if n_past else None)

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add new keys and values (B, H, S, d_head) of one layer and return all of them."""
        if self.keys[layer] is not None:
            key = torch.cat([self.keys[layer], key], dim=-2)
            value = torch.cat([self.values[layer], value], dim=-2)
        self.keys[layer], self.values[layer] = key, value
        return key, value


def look(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Mix the values (B, H_kv, S, d_head) for each query; without a mask, everything is causal.

    Told that it is causal, torch skips what nobody sees; a mask hides that from it.
    """
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, enable_gqa=True
    )


def sees(position: Int[Tensor, " S"], n_keys: int) -> Bool[Tensor, "S n_keys"]:
    """Return the causal mask (S, n_keys): a query sees the keys up to its own position."""
    return torch.arange(n_keys, device=position.device) <= position[:, None]
