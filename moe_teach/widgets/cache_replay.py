"""A recorded trace, replayed through a memory that does not hold all experts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import traitlets

from moe_teach.config import refuse
from moe_teach.deploy.store.foresight import Forecast
from moe_teach.deploy.store.policies import LFU, LRU, Key, Optimum, Pinned, Policy
from moe_teach.deploy.store.simulator import Replay, simulate
from moe_teach.deploy.store.trace import Trace
from moe_teach.widgets import cache_record, still
from moe_teach.widgets.base import CourseWidget

__all__ = ["CacheReplay"]

POLICIES = ("LRU", "LFU", "pinned", "optimum")


class CacheReplay(CourseWidget):
    """Traces of one model through a memory for some of its experts, under four policies.

    `room` is how many experts the memory holds, over all layers; all are `expert_bytes` large.
    `distance` layers ahead a layer's router is run early, and what it names is read meanwhile (0
    reads nothing ahead). "pinned" keeps the experts that `profile` used most, all but top_k of the
    places, and lets the others pass through the rest. What is not in memory comes over `link`,
    what is in memory is read at `memory`, both in bytes a second. `layer` and `token` say where to
    look.
    """

    _esm = Path(__file__).with_suffix(".js")
    _css = Path(__file__).with_suffix(".css")
    alt: ClassVar[str] = (
        "The experts of one layer as rows and tokens as columns: which experts are in memory, and "
        "which were there when a token asked, read ahead, or waited for."
    )
    what_to_try: ClassVar[tuple[str, str, str]] = (
        "Pin the hottest experts of the text that is read, then change only the text. What is "
        "left of the hits?",
        "Give the memory a place for all but four experts. Who still waits, and how long does a "
        "token take at least?",
        "Read one layer ahead, then three. When does reading ahead cost more than it saves?",
    )

    traces = traitlets.List(traitlets.Dict()).tag(sync=True)
    choices = traitlets.Bytes(b"").tag(sync=True)
    guesses = traitlets.Bytes(b"").tag(sync=True)
    profiles = traitlets.List(traitlets.Dict()).tag(sync=True)
    n_layers = traitlets.Int(1, min=1).tag(sync=True)
    n_experts = traitlets.Int(1, min=1).tag(sync=True)
    top_k = traitlets.Int(1, min=1).tag(sync=True)
    farthest = traitlets.Int(0, min=0).tag(sync=True)
    expert_bytes = traitlets.Int(1, min=1).tag(sync=True)
    memory = traitlets.Float(50e9).tag(sync=True)
    note = traitlets.Unicode("").tag(sync=True)
    trace = traitlets.Unicode("").tag(sync=True)
    policy = traitlets.Enum(POLICIES, POLICIES[0]).tag(sync=True)
    profile = traitlets.Unicode("").tag(sync=True)
    room = traitlets.Int(1, min=1).tag(sync=True)
    distance = traitlets.Int(0, min=0).tag(sync=True)
    link = traitlets.Float(3e9).tag(sync=True)
    layer = traitlets.Int(0, min=0).tag(sync=True)
    token = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        if "traces" not in traits:
            drawn, profiles, guesses = cache_record.example()
            note = "An invented illustration: these traces are drawn by lot."
            begin = {"expert_bytes": 50_000, "note": note}
            traits = _as_traits(drawn, profiles, guesses) | begin | traits
        super().__init__(**traits)

    @classmethod
    def of(
        cls,
        traces: Mapping[str, Trace],
        profiles: Mapping[str, Trace],
        expert_bytes: int,
        forecasts: Mapping[str, Sequence[Forecast]] | None = None,
        **traits: Any,
    ) -> "CacheReplay":
        """Show traces of one model.

        Args:
            traces: by their names, one token a step.
            profiles: by their names; the load of each says whom "pinned" may keep.
            expert_bytes: the size of one expert.
            forecasts: of each trace, guesses 1, 2, 3 ... layers ahead; as many for all.
            traits: where to begin, and a `note` that says where the traces come from.

        Raises:
            ValueError: nothing to show, traces of different models, several tokens a step, or more
                than 32 experts or 512 tokens.
        """
        state = _as_traits(traces, profiles, forecasts)
        return cls(**state | {"expert_bytes": expert_bytes} | traits)

    def replay(self) -> Replay:
        """Run the library's simulator on the present state."""
        return simulate(*self._how(), self.expert_bytes, forecast=self._forecast())

    def words(self) -> str:
        """Say the present state in numbers."""
        now = self.replay()
        ahead = f", read {self.distance} layers ahead" if self.distance else ""
        per_token = now.moved_bytes / now.hits.shape[0]
        end = f" {self.note}" if self.note else ""
        return (
            f"{self.trace}, {self.policy}{ahead}: memory for {self.room} of "
            f"{self.n_layers * self.n_experts} experts serves {now.hit_rate:.0%} of the requests; "
            f"{per_token / self.expert_bytes:.2f} experts are moved for a token.{end}"
        )

    def picture(self) -> str:
        """Draw hits and misses of the chosen layer over the first tokens: dots and crosses."""
        trace, now = self._trace(), self.replay()
        shown = min(48, len(trace))
        wide, high = 460 / shown, 240 / self.n_experts
        strokes = [still.label(8, 36 + high * (e + 0.7), str(e)) for e in range(self.n_experts)]
        missed = now.misses[:, self.layer].tolist()
        for token in range(shown):
            left = 40 + token * wide
            for expert in trace.expert_ids[token, self.layer].tolist():
                middle = 36 + high * (expert + 0.5)
                strokes.append(still.dot(left + wide / 2, middle, wide * 0.3, still.COLOURS[0]))
            height = 22 * missed[token] / self.top_k
            if height:
                strokes.append(still.box(left, 310 - height, wide - 1, height, still.COLOURS[3]))
        strokes.append(still.label(40, 326, "orange: requests of a token that had to wait"))
        title = f"Experts that layer {self.layer} asks for, token by token ({self.trace})"
        return still.sheet(560, 336, title, *strokes)

    def _place(self) -> tuple[int, int]:
        """Say how many tokens stand before the chosen trace, and how many it has."""
        sizes = {each["name"]: each["n_tokens"] for each in self.traces}
        return sum(list(sizes.values())[: list(sizes).index(self.trace)]), sizes[self.trace]

    def _trace(self) -> Trace:
        shape = (self.n_layers, self.top_k)
        return cache_record.trace_of(self.choices, *self._place(), shape, self.n_experts)

    def _forecast(self) -> Forecast | None:
        if not self.distance:
            return None
        shape = (self.n_layers, self.farthest, self.top_k)
        return cache_record.forecast_of(self.guesses, *self._place(), shape, self.distance)

    def _how(self) -> tuple[Trace, Policy, int]:
        trace = self._trace()
        made: dict[str, Any] = {
            "LRU": LRU,
            "LFU": LFU,
            "pinned": lambda: Pinned(self.pinned()),
            "optimum": lambda: Optimum(trace),
        }
        return trace, made[self.policy](), self.room * self.expert_bytes

    def pinned(self) -> list[Key]:
        """Name the experts that "pinned" keeps: the profile's hottest, as far as there is room."""
        counts = next(each["counts"] for each in self.profiles if each["name"] == self.profile)
        ranked = sorted(range(len(counts)), key=lambda key: (-counts[key], key))
        return [Key(*divmod(key, self.n_experts)) for key in ranked[: self.room - self.top_k]]

    @traitlets.validate("room")
    def _fits(self, proposal: Any) -> int:
        return min(max(proposal["value"], self.top_k), self.n_layers * self.n_experts)

    @traitlets.validate("distance")
    def _is_recorded(self, proposal: Any) -> int:
        return min(proposal["value"], self.farthest)

    @traitlets.validate("trace")
    def _is_known(self, proposal: Any) -> str:
        return _known("trace", proposal["value"], self.traces)

    @traitlets.validate("profile")
    def _is_profile(self, proposal: Any) -> str:
        return _known("profile", proposal["value"], self.profiles)


def _known(kind: str, name: str, among: list[dict[str, Any]]) -> str:
    names = [each["name"] for each in among]
    refuse(
        name not in names,
        f"There is no {kind} called {name!r}. Choose one of {', '.join(map(repr, names))}.",
    )
    return name


def _as_traits(
    traces: Mapping[str, Trace],
    profiles: Mapping[str, Trace],
    forecasts: cache_record.Forecasts | None,
) -> dict[str, Any]:
    state = cache_record.packed(traces, profiles, forecasts)
    begin = {"trace": next(iter(traces)), "profile": next(iter(profiles))}
    quarter = state["n_layers"] * state["n_experts"] // 4
    return state | begin | {"room": max(state["top_k"], quarter)}
