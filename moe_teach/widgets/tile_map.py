"""Sorted rows cut into tiles: which program computes what, what is padding, what is loaded."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import traitlets

from moe_teach.config import refuse
from moe_teach.widgets import still
from moe_teach.widgets.base import CourseWidget

ORDERS = ("along the columns", "down the rows", "in groups of 4")
GROUP = 4  # row tiles that one group of the third order walks down together
MOST_ROWS, MOST_EXPERTS = 512, 16  # more could not be told apart
SIZES = tuple(2**i for i in range(8))


class RowTile(NamedTuple):
    """Rows `start` to `start + n_rows` of the sorted rows, all of one expert."""

    expert: int
    start: int
    n_rows: int


class TileMap(CourseWidget):
    """The output of one grouped matmul, rows by columns, cut into one tile per program.

    `tokens_per_expert` says how long each expert's slice of the sorted rows is; `skew` moves that
    many per cent of all rows to the first expert. A tile is `block_rows` by `block_columns`, and
    it never crosses into the next expert's rows, so the last one of each expert may be part
    padding. `at_once` programs run at a time, taken in the given `order`; what one such wave loads
    is loaded once, what two waves need is loaded twice.
    """

    _esm = Path(__file__).with_suffix(".js")
    _css = Path(__file__).with_suffix(".css")
    alt: ClassVar[str] = (
        "Left, the routed rows as a column sorted by expert. Right, the tiles that cover them, one "
        "for each program, with padding hatched and the programs that run together outlined."
    )
    what_to_try: ClassVar[tuple[str, str, str]] = (
        "One row per tile: nothing is padded any more. What happened to the numbers loaded?",
        "Make the tiles 64 rows high, then move the skew. Whose rows are the padding?",
        "Keep the blocks and change only the order of the programs. Why do the loads change?",
    )

    tokens_per_expert = traitlets.List(traitlets.Int(min=0), [22, 9, 31, 0, 17, 17]).tag(sync=True)
    n_columns = traitlets.Int(64, min=1).tag(sync=True)
    block_rows = traitlets.Enum(SIZES, 8).tag(sync=True)
    block_columns = traitlets.Enum(SIZES, 16).tag(sync=True)
    skew = traitlets.Int(0, min=0, max=100).tag(sync=True)
    order = traitlets.Enum(ORDERS, ORDERS[0]).tag(sync=True)
    at_once = traitlets.Int(8, min=1, max=64).tag(sync=True)
    program = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        counts = self.tokens_per_expert
        refuse(
            not 1 <= sum(counts) <= MOST_ROWS or not 1 <= len(counts) <= MOST_EXPERTS,
            f"{len(counts)} experts with {sum(counts)} rows cannot be drawn: give 1 to "
            f"{MOST_EXPERTS} experts and 1 to {MOST_ROWS} rows.",
        )
        refuse(self.n_columns > 128, f"{self.n_columns} columns cannot be drawn: give up to 128.")

    @classmethod
    def of(cls, tokens_per_expert: Sequence[int], **traits: Any) -> "TileMap":
        """Show real counts: `dispatched.tokens_per_expert.tolist()`."""
        return cls(tokens_per_expert=list(tokens_per_expert), **traits)

    @property
    def counts(self) -> list[int]:
        """Rows of each expert after the skew, which keeps their sum."""
        given, percent = self.tokens_per_expert, self.skew
        n_rows = sum(given)
        hundredths = [count * (100 - percent) for count in given]
        hundredths[0] += n_rows * percent
        counts = [value // 100 for value in hundredths]
        # The largest remainders get the rows that rounding left over, the first one at a tie.
        by_rest = sorted(range(len(counts)), key=lambda e: (-(hundredths[e] % 100), e))
        for expert in by_rest[: n_rows - sum(counts)]:
            counts[expert] += 1
        return counts

    @property
    def row_tiles(self) -> list[RowTile]:
        """The tiles down the rows, expert by expert."""
        tiles, first = [], 0
        for expert, count in enumerate(self.counts):
            for start in range(0, count, self.block_rows):
                n_rows = min(self.block_rows, count - start)
                tiles.append(RowTile(expert, first + start, n_rows))
            first += count
        return tiles

    @property
    def programs(self) -> list[tuple[int, int]]:
        """The row tile and the block of columns of each program, in the chosen order."""
        rows, columns = len(self.row_tiles), -(-self.n_columns // self.block_columns)
        if self.order == ORDERS[0]:
            return [(row, column) for row in range(rows) for column in range(columns)]
        height = rows if self.order == ORDERS[1] else GROUP
        return [
            (row, column)
            for top in range(0, rows, height)
            for column in range(columns)
            for row in range(top, min(top + height, rows))
        ]

    @property
    def bill(self) -> Mapping[str, int]:
        """Programs, rows computed, and vectors of length D loaded, as the widget shows them."""
        tiles, programs = self.row_tiles, self.programs
        loaded = 0
        for first in range(0, len(programs), self.at_once):
            wave = programs[first : first + self.at_once]
            loaded += sum(tiles[row].n_rows for row in {row for row, _ in wave})
            blocks = {(tiles[row].expert, column) for row, column in wave}
            loaded += sum(self._width(column) for _, column in blocks)
        working = sum(count > 0 for count in self.counts)
        return {
            "programs": len(programs),
            "rows": sum(self.counts),
            "computed": len(tiles) * self.block_rows,
            "loaded": loaded,
            "least": sum(self.counts) + working * self.n_columns,
        }

    def words(self) -> str:
        """Say the tiles and their bill."""
        now = self.bill
        padding = 100 * (now["computed"] - now["rows"]) / now["computed"]
        return (
            f"{now['rows']} rows of {len(self.counts)} experts in {now['programs']} tiles of "
            f"{self.block_rows} rows by {self.block_columns} columns: {padding:.0f} % of the rows "
            f"computed are padding, {now['loaded']:,} vectors are loaded where "
            f"{now['least']:,} would be the least."
        )

    def picture(self) -> str:
        """Draw the sorted rows and beside them the tiles, their padding faint."""
        if len(self.programs) > still.MOST_MARKS:
            return ""
        tiles, columns = self.row_tiles, -(-self.n_columns // self.block_columns)
        scale = 250 / (len(tiles) * self.block_rows)
        height, width = self.block_rows * scale, min(420 / columns, 90)
        strokes = []
        for row, tile in enumerate(tiles):
            top, own = 44 + row * height, tile.n_rows * scale
            colour = still.colour_of(tile.expert)
            strokes.append(still.box(12, top, 24, own, colour))
            if row == 0 or tiles[row - 1].expert != tile.expert:
                strokes.append(still.label(44, top + 11, f"expert {tile.expert}"))
            for column in range(columns):
                left = 116 + column * width
                strokes.append(still.box(left, top, width - 2, height, colour, full=0.08))
                strokes.append(still.box(left, top, width - 2, own, colour, full=0.6))
        title = f"{len(self.programs)} programs, one for each tile; pale is padding"
        return still.sheet(560, 304, title, *strokes)

    def _width(self, column: int) -> int:
        return min(self.block_columns, self.n_columns - column * self.block_columns)

    @traitlets.validate("program")
    def _exists(self, proposal: Any) -> int:
        return min(proposal["value"], len(self.programs) - 1)
