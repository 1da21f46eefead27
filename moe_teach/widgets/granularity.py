"""Cut the experts of one layer, share some, and see what the same bill buys."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import traitlets

from moe_teach.config import refuse
from moe_teach.widgets import still
from moe_teach.widgets.base import CourseWidget

Number = float | int
MOST_PARTS = 512  # narrower experts could not be told apart


class Granularity(CourseWidget):
    """One layer at fixed parameters and FLOPs of its experts.

    It starts as `n_experts` experts of width `d_ff`, `top_k` per token, on tokens of width
    `d_model`. `split` cuts each expert in as many parts, and `n_shared` of the parts are always
    on. `measured` lists designs somebody trained: {"split", "n_shared", "kilobits"}, the last one
    a number for each seed.
    """

    _esm = Path(__file__).with_suffix(".js")
    _css = Path(__file__).with_suffix(".css")
    alt: ClassVar[str] = (
        "A layer as a row of experts, cut finer or coarser by a slider, with the chosen and the "
        "always-on ones marked. Below it numbers that stay (hidden units in all and at work) "
        "beside numbers that move (routes, the router's size), and what was measured."
    )
    what_to_try: ClassVar[tuple[str, str, str]] = (
        "Cut from 1 to 2 to 4 to 8. The routes explode; follow the measured bits meanwhile.",
        "At 8 parts, share 0, 1, 2 ... 7 of them. Where do the routes fall fastest, and what is "
        "left to the router at 7?",
        "Cut as finely as it goes and compare the router's work with that of the experts.",
    )

    n_experts = traitlets.Int(8, min=1).tag(sync=True)
    top_k = traitlets.Int(1, min=1).tag(sync=True)
    d_ff = traitlets.Int(64, min=1).tag(sync=True)
    d_model = traitlets.Int(32, min=1).tag(sync=True)
    split = traitlets.Int(1, min=1).tag(sync=True)
    n_shared = traitlets.Int(0, min=0).tag(sync=True)
    measured = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        refuse(
            self.top_k > self.n_experts,
            f"A token cannot choose {self.top_k} of {self.n_experts} experts.",
        )
        refuse(
            self.n_experts * self.splits[-1] > 64 * MOST_PARTS,
            "There would be too many parts to draw: give fewer or narrower experts.",
        )

    @classmethod
    def of(
        cls, measured: Iterable[tuple[int, int, Sequence[Number]]], **traits: Any
    ) -> "Granularity":
        """Show what was measured: (split, n_shared, one number of kilobits for each seed)."""
        rows = [
            {"split": split, "n_shared": n_shared, "kilobits": [round(float(v), 2) for v in seeds]}
            for split, n_shared, seeds in measured
        ]
        refuse(
            any(not row["kilobits"] for row in rows),
            "A measured design needs at least one seed: leave out those that were not run.",
        )
        return cls(measured=rows, **traits)

    @property
    def splits(self) -> list[int]:
        """The cuts that come out even and can be drawn."""
        most = max(1, MOST_PARTS // self.n_experts)
        return [m for m in range(1, min(self.d_ff, most) + 1) if self.d_ff % m == 0]

    @property
    def design(self) -> Mapping[str, int]:
        """Experts, choices, width, routes and the router's numbers, as the widget shows them."""
        n_routed = self.n_experts * self.split - self.n_shared
        n_chosen = self.top_k * self.split - self.n_shared
        return {
            "n_experts": n_routed,
            "top_k": n_chosen,
            "d_ff": self.d_ff // self.split,
            "routes": math.comb(n_routed, n_chosen),
            "router": self.d_model * n_routed,
        }

    def words(self) -> str:
        """Say the present design and what was measured of it."""
        now = self.design
        text = (
            f"{now['n_experts']} routed experts of width {now['d_ff']}, {now['top_k']} chosen and "
            f"{self.n_shared} always on: {self.n_experts * self.d_ff} hidden units, "
            f"{self.top_k * self.d_ff} at work, {now['routes']:,} routes, {now['router']:,} "
            "numbers in the router."
        )
        for row in self.measured:
            if (row["split"], row["n_shared"]) == (self.split, self.n_shared):
                mean = sum(row["kilobits"]) / len(row["kilobits"])
                return f"{text} Measured: {mean:.1f} kilobits over {len(row['kilobits'])} seeds."
        return f"{text} Nobody measured this one."

    def picture(self) -> str:
        """Draw all parts as a row of boxes: those always on, those chosen, those at rest."""
        now, strokes = self.design, []
        n_parts = self.n_experts * self.split
        if n_parts > still.MOST_MARKS:
            return ""
        width = 520 / n_parts
        groups = ((self.n_shared, still.COLOURS[2], 1.0), (now["top_k"], still.COLOURS[0], 1.0))
        groups += ((n_parts - self.n_shared - now["top_k"], still.INK, 0.12),)
        start = 0
        for count, colour, full in groups:
            for part in range(start, start + count):
                left, gap = 12 + part * width, min(2, width / 4)
                strokes.append(still.box(left, 36, width - gap, 44, colour, full=full))
            start += count
        words = f"{self.n_shared} always on, {now['top_k']} chosen for this token, the rest idle"
        strokes.append(still.label(12, 102, f"{words}; {now['routes']:,} routes"))
        title = f"{n_parts} parts of width {now['d_ff']}"
        return still.sheet(560, 116, title, *strokes)

    @traitlets.validate("split")
    def _comes_out_even(self, proposal: Any) -> int:
        value = proposal["value"]
        refuse(
            value not in self.splits,
            f"An expert of width {self.d_ff} can be cut into {', '.join(map(str, self.splits))} "
            f"parts here, not into {value}.",
        )
        return value

    @traitlets.validate("n_shared")
    def _leaves_a_choice(self, proposal: Any) -> int:
        value = proposal["value"]
        refuse(
            value >= self.top_k * self.split,
            f"With {value} shared experts nothing is left to choose: a token uses "
            f"{self.top_k * self.split}.",
        )
        return value

    @traitlets.observe("split")
    def _share_no_more_than_there_are(self, change: Any) -> None:
        self.n_shared = min(self.n_shared, self.top_k * change["new"] - 1)
