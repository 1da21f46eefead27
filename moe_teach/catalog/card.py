"""What the catalog says about one model, and the arithmetic of two published numbers."""

from dataclasses import dataclass
from typing import Literal

from moe_teach.config import ModelConfig, refuse


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """One model: its configuration and its published facts.

    `published_total` and `published_active` are parameters as the authors print them, `None`
    where they print nothing; `active_leaves_out` says which counting convention that active number
    follows. `router` and `balancing` are one sentence each.
    """

    name: str
    config: ModelConfig
    published_total: float | None
    published_active: float | None
    active_leaves_out: Literal["nothing", "input table", "both tables"] = "nothing"
    source: str
    router: str = "none: every parameter works on every token"
    balancing: str = "nothing to balance"
    note: str = ""

    @property
    def is_dense(self) -> bool:
        """Whether the model has no experts at all."""
        return self.config.moe is None


def solve_shared_and_expert(
    total: float, active: float, n_experts: int, top_k: int
) -> tuple[float, float]:
    """Solve total = S + E x and active = S + K x for the shared part S and one expert x.

    Both results are in the unit of `total`. An "expert" is here one expert's share of *all*
    layers. Raises `ValueError` when the numbers do not determine, or contradict, such a model.
    """
    refuse(
        not 1 <= top_k < n_experts,
        f"With {top_k} of {n_experts} experts active the two numbers say the same thing or "
        "nothing: top_k must lie between 1 and n_experts - 1.",
    )
    expert = (total - active) / (n_experts - top_k)
    shared = active - top_k * expert
    refuse(
        expert <= 0,
        f"A sparse model holds more than it uses, but total is {total} and active is {active}: "
        "a dense model cannot be split this way.",
    )
    refuse(
        shared < 0,
        f"{active} active of {total} is less than {top_k}/{n_experts} of the total, so the "
        "shared part would be negative: check top_k and n_experts.",
    )
    return shared, expert
