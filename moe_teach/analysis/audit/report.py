"""What an audit found: plain numbers and words, no tensors, equal for equal input."""

from dataclasses import dataclass

from moe_teach.analysis.specialisation.intervals import Interval


@dataclass(frozen=True)
class Word:
    """A token that an expert takes more often than the layer's experts do on average.

    `share` of its `count` occurrences went to the expert.
    """

    text: str
    share: float
    count: int


@dataclass(frozen=True)
class LayerView:
    """What one layer did. The first four are of the tokens shown, the rest of all that were read.

    `margins` are the gap between the last expert chosen and the first one left out, in the units
    of the ranking; `margin_points` are their 10th, 25th, 50th, 75th and 90th percentiles, and
    `even_share` what each choice of an undecided router would have. `choice_bits` is the entropy of
    the choices, `token_bits` how much of it the token's id alone settles, and `token_chance` how
    much it would seem to settle if ids were dealt out at random.
    """

    name: str
    expert_ids: tuple[tuple[int, ...], ...]
    gates: tuple[tuple[float, ...], ...]
    margins: tuple[float, ...]
    load: tuple[float, ...]
    words: tuple[tuple[Word, ...], ...]
    margin_points: tuple[float, float, float, float, float]
    close_calls: float
    choice_bits: float
    token_bits: float
    token_chance: float


@dataclass(frozen=True)
class Turn:
    """A place where another next token became the likeliest: what was said, and what really came.

    `rise` is how many nats more the real token costs.
    """

    before: str
    was: str
    became: str
    really: str
    rise: float


@dataclass(frozen=True)
class Closed:
    """The model without one expert: `kind` is "busiest" of its layer, or "middling", the control.

    `rise` of the loss is in nats per token; without an interval where there is one window only.
    """

    layer: int
    expert: int
    kind: str
    load: float
    rise: float
    interval: Interval | None
    changed: float
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Crowd:
    """What a capacity does to a text among other texts; the neighbours are changed twice.

    `factor` None is the model as it is. `dropped` and `dropped_in_flood` are shares of the choices;
    `changed_by_others` and `changed_by_flood` shares of next-token predictions that changed when
    the neighbours became other texts, and when all of them became one word, repeated.
    """

    factor: float | None
    dropped: float
    dropped_in_flood: float
    changed_by_others: float
    changed_by_flood: float


@dataclass(frozen=True)
class AuditReport:
    """Everything a page of an audit says.

    `not_closed` and `not_capped` say why something could not be tried, "" where it was. `read_by`
    names what computed the model where it was not the library.
    """

    model: str
    weights_digest: str
    text: str
    text_digest: str
    n_experts: int
    top_k: int
    n_tokens: int
    n_windows: int
    window: int
    n_left_out: int
    loss: float
    tokens: tuple[str, ...]
    layers: tuple[LayerView, ...]
    closed: tuple[Closed, ...]
    not_closed: str
    drops: bool
    crowds: tuple[Crowd, ...]
    flood_word: str
    not_capped: str = ""
    read_by: str = ""
