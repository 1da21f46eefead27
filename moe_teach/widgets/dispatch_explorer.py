"""Follow tokens to their places at the experts: what a capacity drops, and what it pads."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
import traitlets

from moe_teach.config import refuse
from moe_teach.ops.capacity import apply_capacity, capacity_of
from moe_teach.ops.route import score, topk_gates
from moe_teach.types import Routing
from moe_teach.widgets import still
from moe_teach.widgets.base import CourseWidget

MOST_TOKENS, MOST_EXPERTS = 64, 16  # more cells could not be told apart
ORDERS = ("as given", "reversed", "shuffled")


class DispatchExplorer(CourseWidget):
    """One batch of routed tokens and the places of its experts.

    `capacity_factor` and `policy` mean what they mean in `moe_teach.ops.capacity`; `order` is the
    order in which the tokens stand in the batch, and `seed` fixes what is shuffled or drawn.
    `skew` adds a growing preference for the first experts to all logits and then routes again:
    softmax, top-k, renormalise. At 0 the routing is the one that was given, with whatever skew it
    has of its own. `selected` is the token that is followed, -1 for none.
    """

    _esm = Path(__file__).with_suffix(".js")
    _css = Path(__file__).with_suffix(".css")
    alt: ClassVar[str] = (
        "A batch of tokens in order above, and below the places of each expert: filled "
        "places carry their token's number, empty ones are padding, and behind the capacity line "
        "stand the crossed-out choices that were dropped. Bars show the drops by quarter of the "
        "batch."
    )
    what_to_try: ClassVar[tuple[str, str, str]] = (
        "With first come, raise the extra skew and watch the bars: which quarter loses?",
        "Reverse the batch, then serve by gate instead: the drops move, and then they lose their "
        "place. How many there are does not change.",
        "Raise the capacity factor until nothing is dropped, and read what the padding costs.",
    )

    expert_ids = traitlets.List(traitlets.List(traitlets.Int())).tag(sync=True)
    gates = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    logits = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    capacity_factor = traitlets.Float(1.0).tag(sync=True)
    policy = traitlets.Enum(["first_come", "by_gate", "random"], "first_come").tag(sync=True)
    order = traitlets.Enum(list(ORDERS), "as given").tag(sync=True)
    skew = traitlets.Float(0.0).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    selected = traitlets.Int(-1).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        if "expert_ids" not in traits:
            traits = _as_traits(_example()) | {"skew": 1.0} | traits
        super().__init__(**traits)

    @classmethod
    def of(cls, routing: Routing, **traits: Any) -> "DispatchExplorer":
        """Show a routing decision; what an earlier capacity dropped in it is served again.

        Raises:
            ValueError: for more than 64 tokens or 16 experts, or expert choice.
        """
        n_tokens, n_experts = routing.probs.shape
        refuse(
            not 1 <= n_tokens <= MOST_TOKENS,
            f"The explorer shows 1 to {MOST_TOKENS} tokens, so that each can be followed, not "
            f"{n_tokens}: take a slice of the batch and route that.",
        )
        refuse(
            n_experts > MOST_EXPERTS,
            f"The explorer has room for {MOST_EXPERTS} experts, not {n_experts}.",
        )
        refuse(
            routing.top_k == n_experts and routing.kept is not None,
            "With expert choice nobody overflows: every expert takes exactly what it has room for. "
            "Route with choice='token' to see drops.",
        )
        return cls(**_as_traits(routing), **traits)

    def routing(self) -> Routing:
        """The decision as it is shown, after `order` and `skew`, with `kept` under the capacity.

        Raises:
            ValueError: while `policy` or `order` is random, because the browser draws by itself.
        """
        refuse(
            self.policy == "random" or self.order == "shuffled",
            "What is random is drawn in the browser: choose another policy and order to compare.",
        )
        logits = torch.tensor(self.logits)
        expert_ids, gates = torch.tensor(self.expert_ids), torch.tensor(self.gates)
        n_tokens, n_experts = logits.shape
        if self.skew:
            logits = logits + self.skew * torch.linspace(1, 0, n_experts)
            gates, expert_ids = topk_gates(score(logits, "softmax"), expert_ids.shape[1])
        place = torch.arange(n_tokens)
        place = place.flip(0) if self.order == "reversed" else place
        decided = Routing(logits[place], logits[place].softmax(-1), gates[place], expert_ids[place])
        return apply_capacity(decided, self.capacity, self.policy)

    @property
    def capacity(self) -> int:
        """Places of one expert."""
        n_tokens, n_experts, top_k = len(self.logits), len(self.logits[0]), len(self.expert_ids[0])
        return capacity_of(n_tokens, n_experts, top_k, self.capacity_factor)

    def words(self) -> str:
        """Say the batch, the capacity and, unless it is drawn, what is dropped."""
        n_tokens, n_experts, top_k = len(self.logits), len(self.logits[0]), len(self.expert_ids[0])
        text = (
            f"{n_tokens} tokens choose {top_k} of {n_experts} experts each. With a capacity "
            f"factor of {self.capacity_factor:g} an expert has {self.capacity} places"
        )
        if self.policy == "random" or self.order == "shuffled":
            return f"{text}, served in random order."
        kept = self.routing().kept
        assert kept is not None
        dropped = int((~kept).sum())
        padded = n_experts * self.capacity - int(kept.sum())
        return f"{text}: {dropped} of {kept.numel()} choices are dropped, {padded} places padded."

    def picture(self) -> str:
        """Draw the places of every expert: filled, empty, and behind the line what is dropped."""
        if self.policy == "random" or self.order == "shuffled":
            return ""
        routing, strokes = self.routing(), []
        kept, n_experts, room = routing.kept, len(self.logits[0]), self.capacity
        assert kept is not None
        served = [[(t, k) for t, k in (routing.expert_ids == e).nonzero().tolist()]
                  for e in range(n_experts)]  # fmt: skip
        cell = 440 / max(room + 1, *(len(choices) + 1 for choices in served))
        for expert, choices in enumerate(served):
            top, colour = 40 + 24 * expert, still.colour_of(expert)
            strokes.append(still.label(8, top + 14, f"expert {expert}"))
            full = [t for t, k in choices if kept[t, k]]
            lost = [t for t, k in choices if not kept[t, k]]
            for place in range(room):
                strength = 0.75 if place < len(full) else 0.05
                strokes.append(
                    still.box(76 + place * cell, top, cell - 2, 19, colour, full=strength)
                )
            for place in range(len(lost)):
                left = 80 + (room + place) * cell
                strokes.append(still.line([(left, top + 2), (left + cell - 4, top + 17)], colour))
                strokes.append(still.line([(left, top + 17), (left + cell - 4, top + 2)], colour))
        edge, bottom = 77 + room * cell, 40 + 24 * n_experts
        strokes.append(still.line([(edge, 34), (edge, bottom)], dash="4 3"))
        return still.sheet(540, bottom + 8, "Places; crosses behind the line are dropped", *strokes)

    @traitlets.validate("capacity_factor", "skew")
    def _is_in_range(self, proposal: Any) -> float:
        name, value = proposal["trait"].name, proposal["value"]
        least = "positive" if name == "capacity_factor" else "non-negative"
        refuse(
            not math.isfinite(value) or value < 0 or (name == "capacity_factor" and value == 0),
            f"{name} must be a finite {least} number; it is {value}.",
        )
        return value


def _as_traits(routing: Routing) -> dict[str, Any]:
    routing = replace(routing, kept=None)
    return {
        "expert_ids": routing.expert_ids.tolist(),
        "gates": routing.gates.detach().float().tolist(),
        "logits": routing.logits.detach().float().tolist(),
    }


def _example() -> Routing:
    """32 tokens that choose 2 of 6 experts, without a preference in the mean."""
    logits = torch.randn(32, 6, generator=torch.Generator().manual_seed(4))
    probs = score(logits, "softmax")
    gates, expert_ids = topk_gates(probs, 2)
    return Routing(logits, probs, gates, expert_ids)
