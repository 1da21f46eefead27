"""What a router did with a text: the colours that convince, and the numbers that check them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import traitlets

from moe_teach.config import refuse
from moe_teach.widgets import still
from moe_teach.widgets.base import CourseWidget
from moe_teach.widgets.route_example import example
from moe_teach.widgets.route_numbers import bits_about_domain, compared, divergence
from moe_teach.widgets.route_packed import VIEWS, by_view, packed
from moe_teach.widgets.route_story import RoutedText, Routes, RouteStory

__all__ = ["RouteExplorer", "RouteStory"]


class RouteExplorer(CourseWidget):
    """Texts as tokens in the colours of their experts, with what those colours do not show.

    `text` is the text that is read and `second` the one beside it ("" for none), `layer` and
    `token` say where to look (-1 for no token), `expert` is the one that stands out (-1 for none).
    `view` is "trained", "untrained", or "shuffled": the trained router with the domains dealt anew
    to whole texts. `knocked` shows what the loss becomes without the expert, `measured` what the
    expert tells about the domain, in bits. Everything comes from a `RouteStory`; no model is run.
    """

    _esm = Path(__file__).with_suffix(".js")
    _css = Path(__file__).with_suffix(".css")
    alt: ClassVar[str] = (
        "A text whose tokens carry the colour and the number of the expert that one layer sent "
        "them to; below it every expert with its load, the domains of its tokens, and the damage "
        "when it is taken away."
    )
    what_to_try: ClassVar[tuple[str, str, str]] = (
        "Look at the colours of a text under the trained router, then under the untrained one. "
        "Which of them looks like specialists? Write it down, and only then press “measure”.",
        "Choose the expert with the largest load and knock it out. Does it do the most damage of "
        "its layer, and is the damage where its tokens come from?",
        "Put two texts side by side that differ in one word. In which layer do their paths part "
        "furthest, and do they part as far as two texts that have nothing in common?",
    )

    texts = traitlets.List(traitlets.Dict()).tag(sync=True)
    ids = traitlets.Bytes(b"").tag(sync=True)
    gates = traitlets.Bytes(b"").tag(sync=True)
    margins = traitlets.Bytes(b"").tag(sync=True)
    losses = traitlets.Bytes(b"").tag(sync=True)
    counts = traitlets.Bytes(b"").tag(sync=True)
    damage = traitlets.Bytes(b"").tag(sync=True)
    shape = traitlets.Dict().tag(sync=True)
    domains = traitlets.List(traitlets.Unicode()).tag(sync=True)
    layers = traitlets.List(traitlets.Unicode()).tag(sync=True)
    views = traitlets.List(traitlets.Unicode()).tag(sync=True)
    beyond = traitlets.Dict().tag(sync=True)
    pairs = traitlets.List(traitlets.Dict()).tag(sync=True)
    references = traitlets.List(traitlets.Dict()).tag(sync=True)
    noise = traitlets.Float(0.0).tag(sync=True)
    note = traitlets.Unicode("").tag(sync=True)
    text = traitlets.Unicode("").tag(sync=True)
    second = traitlets.Unicode("").tag(sync=True)
    layer = traitlets.Int(0, min=0).tag(sync=True)
    token = traitlets.Int(-1, min=-1).tag(sync=True)
    expert = traitlets.Int(-1, min=-1).tag(sync=True)
    view = traitlets.Enum(VIEWS, VIEWS[0]).tag(sync=True)
    knocked = traitlets.Bool(False).tag(sync=True)
    measured = traitlets.Bool(False).tag(sync=True)

    def __init__(self, story: RouteStory | None = None, **traits: Any) -> None:
        if story is None:
            note = "An invented illustration: no model was read for these colours."
            traits = {"note": note} | traits
        self._story = story or example()
        super().__init__(**packed(self._story) | traits)

    @classmethod
    def of(cls, story: RouteStory, **traits: Any) -> "RouteExplorer":
        """Show a story; `note` may say where it comes from.

        Raises:
            ValueError: for more than 64 experts, 6 domains, 3 references or 200 tokens of a text.
        """
        return cls(story, **traits)

    def bits(self) -> dict[str, float]:
        """Give what the expert of the present layer tells about the domain, for every view."""
        tables = zip(self.views, by_view(self._story).values(), strict=True)
        return {view: float(bits_about_domain(table)[self.layer]) for view, table in tables}

    def divergence(self) -> list[float]:
        """Give for each layer the share of choices in which the two texts differ; [] for one."""
        if not self.second:
            return []
        first, second = self._text(self.text), self._text(self.second)
        places = compared(first.tokens, second.tokens)
        ids = (self._routes(first).expert_ids, self._routes(second).expert_ids)
        return [round(float(share), 9) for share in divergence(*ids, places)]

    def words(self) -> str:
        """Say the present state in numbers; the bits only where they were asked for."""
        text = self._text(self.text)
        ids = self._routes(text).expert_ids[:, self.layer]
        router = "An untrained router" if self.view == "untrained" else "The trained router"
        said = [
            f"{router} sends the {len(text.tokens)} tokens of “{text.name}” to "
            f"{len(np.unique(ids))} of {self.shape['n_experts']} experts at layer "
            f"{self.layers[self.layer]}."
        ]
        if self.second:
            share = self.divergence()[self.layer]
            said.append(f"From where “{self.second}” differs on, {share:.0%} of its choices do.")
        if self.measured:
            told = ", ".join(f"{view} {bits:.2f}" for view, bits in self.bits().items())
            said.append(f"Bits about the domain: {told}.")
        return " ".join([*said, self.note]).strip()

    def picture(self) -> str:
        """Draw the first lines of the text, each token with its first expert's colour and number.

        It tells no bits: they are to be guessed first.
        """
        text, strokes, x, y = self._text(self.text), [], 8.0, 40.0
        for token, ids in zip(text.tokens, self._routes(text).expert_ids, strict=True):
            word = token.replace("\n", "↵").strip() or "␣"
            width = 12 + 7.6 * max(len(word), 2)
            if x + width > 552:
                x, y = 8.0, y + 50
            if y > 240:
                break
            expert = int(ids[self.layer, 0])
            strokes.append(still.box(x, y, width, 42, still.colour_of(expert), full=0.2))
            strokes.append(still.label(x + width / 2, y + 18, word, size=13, anchor="middle"))
            strokes.append(
                still.label(x + width / 2, y + 36, str(expert), weight=600, anchor="middle")
            )
            x, y = (8.0, y + 50) if token.endswith("\n") else (x + width + 4, y)
        title = f"“{text.name}” at layer {self.layers[self.layer]}: every token with its expert"
        return still.sheet(560, int(min(y, 240)) + 52, title, *strokes)

    def _text(self, name: str) -> RoutedText:
        return next(text for text in self._story.texts if text.name == name)

    def _routes(self, text: RoutedText) -> Routes:
        untrained = self.view == "untrained" and text.untrained is not None
        return text.untrained if untrained else text.routes

    @traitlets.validate("text")
    def _is_known(self, proposal: Any) -> str:
        return _one_of("text", proposal["value"], [each["name"] for each in self.texts])

    @traitlets.validate("second")
    def _stands_beside(self, proposal: Any) -> str:
        return _one_of("text beside it", proposal["value"], ["", *self._partners()])

    @traitlets.validate("view")
    def _was_stored(self, proposal: Any) -> str:
        return _one_of("view", proposal["value"], self.views)

    @traitlets.validate("layer", "token", "expert")
    def _is_there(self, proposal: Any) -> int:
        sizes = {"layer": len(self.layers), "expert": self.shape["n_experts"]}
        size = sizes.get(proposal["trait"].name, len(self._text(self.text).tokens))
        return min(proposal["value"], size - 1)

    @traitlets.observe("text")
    def _another_text(self, _: Any) -> None:
        if self.second not in self._partners():
            self.second = ""
        self.token = min(self.token, len(self._text(self.text).tokens) - 1)

    def _partners(self) -> list[str]:
        pairs = [(each["first"], each["second"]) for each in self.pairs]
        ways = [*pairs, *((second, first) for first, second in pairs)]
        return [second for first, second in ways if first == self.text]


def _one_of(kind: str, name: str, known: Sequence[str]) -> str:
    refuse(
        name not in known,
        f"There is no {kind} called {name!r}. Choose one of {', '.join(map(repr, known))}.",
    )
    return name
