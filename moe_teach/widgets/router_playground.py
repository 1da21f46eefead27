"""Move a token among experts in the plane, and see who is chosen and with what weight."""

import math
from pathlib import Path
from typing import Any, ClassVar

import torch
import traitlets

from moe_teach.config import RouterConfig, refuse
from moe_teach.nn.router import Router
from moe_teach.widgets import still
from moe_teach.widgets.base import CourseWidget

REACH = 2.0  # of the plane from its middle, in the still picture
MOST_EXPERTS = 8  # one colour each; more could not be told apart


class RouterPlayground(CourseWidget):
    """A router with d_model = 2: token and experts are vectors that you drag.

    A logit is the product of the two vectors over `temperature`; `noise` is the standard deviation
    of what `training` adds to each logit, drawn from `seed`. `expert_bias`, `score_fn`,
    `topk_first`, `normalize_gates` and `top_k` mean what they mean in
    `moe_teach.config.RouterConfig`. All traits follow the mouse, and the picture follows them.
    """

    _esm = Path(__file__).with_suffix(".js")
    _css = Path(__file__).with_suffix(".css")
    alt: ClassVar[str] = (
        "A plane divided into regions, one for each set of chosen experts, with the token and the "
        "expert vectors in it; beside it, for every expert, one bar for score plus bias, which "
        "chooses, and one bar for the gate, which mixes and never contains the bias."
    )
    what_to_try: ClassVar[tuple[str, str, str]] = (
        "Raise the bias of an expert that is left out until it is chosen. Its gate comes from its "
        "score alone.",
        "Set k to 1 and walk through the five gate rules: where the slope is 0, no task loss can "
        "teach this router.",
        "Carry the token to a border until the margin is below 0.01, then switch training and some "
        "noise on and draw again.",
    )

    token = traitlets.List(traitlets.Float(), [0.95, 0.55]).tag(sync=True)
    experts = traitlets.List(
        traitlets.List(traitlets.Float()),
        [[1.45, 0.35], [0.35, 1.3], [-1.1, 0.75], [-0.7, -1.15], [0.9, -1.05]],
    ).tag(sync=True)
    expert_bias = traitlets.List(traitlets.Float(), [0.0] * 5).tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)
    noise = traitlets.Float(0.0).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    training = traitlets.Bool(False).tag(sync=True)
    top_k = traitlets.Int(2).tag(sync=True)
    score_fn = traitlets.Enum(["softmax", "sigmoid"], "softmax").tag(sync=True)
    topk_first = traitlets.Bool(False).tag(sync=True)
    normalize_gates = traitlets.Bool(True).tag(sync=True)

    @classmethod
    def of(cls, router: Router) -> "RouterPlayground":
        """Show a router with d_model = 2 as it is now; later training does not move the picture.

        Raises ValueError for a router that the plane cannot show: another width, more than 8
        experts, groups, a gate scale, or expert choice.
        """
        config, weight = router.config, router.proj.weight.detach().float()
        refuse(
            weight.shape[1] != 2,
            f"The playground shows vectors in the plane, so the router needs d_model = 2; "
            f"this one has {weight.shape[1]}.",
        )
        refuse(
            config.n_groups > 1
            or config.choice == "expert"
            or config.gate_scale != 1.0
            or config.score_fn == "sqrt_softplus",
            "The playground shows plain top-k routing by softmax or sigmoid: leave n_groups at 1, "
            "choice at 'token' and gate_scale at 1.",
        )
        return cls(
            experts=weight.tolist(),
            expert_bias=router.expert_bias.tolist(),
            top_k=config.top_k,
            score_fn=config.score_fn,
            topk_first=config.topk_first,
            normalize_gates=config.normalize_gates,
        )

    def router(self) -> Router:
        """Give the library's router with these vectors, rule and bias (without the noise)."""
        config = RouterConfig(
            n_experts=len(self.experts),
            top_k=self.top_k,
            score_fn=self.score_fn,
            topk_first=self.topk_first,
            normalize_gates=self.normalize_gates,
        )
        router = Router(2, config)
        with torch.no_grad():
            router.proj.weight.copy_(torch.tensor(self.experts) / self.temperature)
            router.expert_bias.copy_(torch.tensor(self.expert_bias))
        return router.eval()

    def picture(self) -> str:
        """Draw the plane with the borders of its regions, and the gates of the token."""
        router, strokes = self.router(), [still.dashes(self._borders())]
        with torch.no_grad():
            here = router(torch.tensor([self.token]))
        for expert, point in enumerate(self.experts):
            x, y = _place(point)
            strokes.append(still.line([_place([0.0, 0.0]), (x, y)], still.colour_of(expert)))
            strokes.append(still.dot(x, y, 9, still.colour_of(expert)))
            strokes.append(still.label(x, y + 4, str(expert), anchor="middle", colour="#ffffff"))
        x, y = _place(self.token)
        strokes += [still.dot(x, y, 6, still.INK), still.label(x + 9, y + 4, "token")]
        gates = zip(here.expert_ids[0].tolist(), here.gates[0].tolist(), strict=True)
        for i, (expert, gate) in enumerate(gates):
            strokes.append(still.label(330, 60 + 34 * i, f"gate of expert {expert}: {gate:.2f}"))
            strokes.append(still.box(330, 66 + 34 * i, 190 * gate, 9, still.colour_of(expert)))
        title = f"Regions by chosen experts (k = {self.top_k})"
        return still.sheet(560, 344, title, *strokes)

    def _borders(self) -> list[tuple[float, float, float, float]]:
        """Find where the chosen set changes, on a fine grid: short strokes between its cells."""
        cells = 60
        middle = (torch.arange(cells) + 0.5) / cells * 2 * REACH - REACH
        y, x = torch.meshgrid(middle, middle, indexing="ij")
        with torch.no_grad():
            ids = self.router()(torch.stack([x.flatten(), y.flatten()], dim=1)).expert_ids
        chosen = ids.sort(dim=1).values.view(cells, cells, -1)
        half, strokes = REACH / cells, []
        for down, across in (chosen[:, 1:] != chosen[:, :-1]).any(-1).nonzero().tolist():
            edge, at = float(middle[across]) + half, float(middle[down])
            strokes.append((*_place([edge, at - half]), *_place([edge, at + half])))
        for down, across in (chosen[1:] != chosen[:-1]).any(-1).nonzero().tolist():
            edge, at = float(middle[down]) + half, float(middle[across])
            strokes.append((*_place([at - half, edge]), *_place([at + half, edge])))
        return strokes

    @traitlets.validate("token", "experts")
    def _are_points(self, proposal: Any) -> list[Any]:
        value = proposal["value"]
        points = [value] if proposal["trait"].name == "token" else value
        refuse(
            not 1 <= len(points) <= MOST_EXPERTS,
            f"The playground shows 1 to {MOST_EXPERTS} experts, not {len(points)}.",
        )
        refuse(
            any(len(point) != 2 or not all(map(math.isfinite, point)) for point in points),
            "Token and experts are points of the plane: give two finite numbers, [x, y], for each.",
        )
        return value

    @traitlets.validate("temperature", "noise")
    def _is_in_range(self, proposal: Any) -> float:
        name, value = proposal["trait"].name, proposal["value"]
        refuse(
            not math.isfinite(value) or value < 0 or (name == "temperature" and value == 0),
            f"{name} must be a finite {'positive' if name == 'temperature' else 'non-negative'} "
            f"number; it is {value}.",
        )
        return value

    @traitlets.validate("expert_bias", "top_k", "topk_first", "score_fn")
    def _fits(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        n_experts = len(self.experts)
        refuse(
            name == "expert_bias" and len(value) != n_experts,
            f"expert_bias needs one number for each of the {n_experts} experts.",
        )
        refuse(
            name == "top_k" and not 1 <= value <= n_experts,
            f"top_k must lie between 1 and the number of experts, {n_experts}; it is {value}.",
        )
        state = {"topk_first": self.topk_first, "score_fn": self.score_fn, name: value}
        refuse(
            state["topk_first"] and state["score_fn"] == "sigmoid",
            "topk_first only changes a softmax: a sigmoid scores each expert alone. "
            "Leave topk_first at False.",
        )
        return value

    @traitlets.observe("experts")
    def _follow_the_number_of_experts(self, change: Any) -> None:
        n_experts = len(change["new"])
        if len(self.expert_bias) != n_experts:
            self.expert_bias = (self.expert_bias + [0.0] * n_experts)[:n_experts]
        self.top_k = min(self.top_k, n_experts)


def _place(point: list[float]) -> tuple[float, float]:
    """Give the place of a point of the plane in the still picture."""
    x, y = (max(-REACH, min(REACH, value)) for value in point)
    return 160 + 148 * x / REACH, 184 - 148 * y / REACH
