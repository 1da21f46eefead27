"""Which rows a fused feed-forward works on, and what their answers weigh."""

from dataclasses import dataclass, field

from torch import Tensor

from moe_teach.ops.tile_map import TileMap, map_tiles


@dataclass(frozen=True, slots=True)
class Ragged:
    """N rows sorted by expert, standing ready or still to be gathered from their tokens.

    `n_rows` may be more than there are: the last of `expert_offsets` says on the device how many.
    With `choice` (N,), row n is token `choice[n] // top_k`, and its answer weighs
    `gates.flatten()[choice[n]]`. Without, row n stands at place n and weighs 1.
    """

    expert_offsets: Tensor
    n_rows: int
    choice: Tensor | None = None
    gates: Tensor | None = None
    top_k: int = 1
    _maps: dict[int, TileMap] = field(default_factory=dict)

    def tiles(self, block_m: int) -> TileMap:
        """Cut the experts' slices into tiles; the map is made once for each height."""
        if block_m not in self._maps:
            self._maps[block_m] = map_tiles(self.expert_offsets, self.n_rows, block_m)
        return self._maps[block_m]
