"""The page of an audit: one file that opens anywhere, without a script or a network.

What it says is computed from the record; what it cannot say stands at its end, always.
"""

import math
from html import escape
from pathlib import Path

from moe_teach.analysis.audit.layers import CLOSE
from moe_teach.analysis.audit.report import AuditReport, Closed, Crowd
from moe_teach.plots.audit_limits import limits
from moe_teach.plots.audit_pictures import (
    crowd_name,
    crowd_picture,
    damage_picture,
    margin_picture,
)
from moe_teach.plots.audit_tokens import seen, who
from moe_teach.plots.page import page, table

_GOLDEN_ANGLE = 137.508  # degrees: neighbours in number are far apart in hue


def audit_page(report: AuditReport) -> str:
    """Return the page as HTML; the same record gives the same bytes."""
    css = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    return page(
        f"Audit of {report.model}",
        _head(report),
        who(report),
        _how_sure(report),
        _without(report),
        _neighbours(report),
        limits(report),
        style=css + _hues(report),
    )


def _hues(report: AuditReport) -> str:
    hues = [round(expert * _GOLDEN_ANGLE % 360) for expert in range(report.n_experts)]
    rules = [f".e{expert}{{--h:{hue}}}" for expert, hue in enumerate(hues)]
    shown = [f"#layer{i}:checked~#panel{i}{{display:block}}" for i in range(len(report.layers))]
    return "\n".join([*rules, *shown]) + "\n"


def _head(report: AuditReport) -> str:
    share = busiest(report)[2]
    tiles = {
        "tokens read": f"{report.n_tokens:,}",
        "nats per token": f"{report.loss:.2f}",
        "layers × experts": f"{len(report.layers)} × {report.n_experts}",
        "work on a token": f"{report.top_k} a layer",
        "the busiest has": f"{share:.0%}",
    }
    told = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles.items())
    short = "".join(f"<li>{sentence}</li>" for sentence in _in_short(report))
    return (
        f"<h1>Audit of {escape(report.model)}</h1>"
        f'<p class="faint">Who worked on <b>{escape(report.text)}</b>, how surely they were '
        "chosen, and what would have been otherwise.</p>"
        f'<dl class="tiles">{told}</dl><ul class="short">{short}</ul>'
    )


def busiest(report: AuditReport) -> tuple[int, int, float]:
    """Return layer, expert and share of the choices of the busiest expert of all."""
    shares = [
        (share, -layer, -expert)
        for layer, view in enumerate(report.layers)
        for expert, share in enumerate(view.load)
    ]
    share, layer, expert = max(shares)
    return -layer, -expert, share


def _in_short(report: AuditReport) -> list[str]:
    layer, expert, share = busiest(report)
    even = 1 / report.n_experts
    told = [
        f"The busiest expert is number {expert} of {report.layers[layer].name}: {share:.1%} of the "
        f"choices there, {share / even:.1f} times an even share."
    ]
    low, high = (pick(view.close_calls for view in report.layers) for pick in (min, max))
    if _some_left_out(report):
        told.append(
            f"Between {low:.0%} and {high:.0%} of the choices in a layer were close calls: the "
            f"first expert left out was less than {CLOSE:.0%} of an even share behind."
        )
    told += _told_of_closing(report)
    as_it_is = report.crowds[0]
    told.append(
        f"Its neighbours in a batch can change up to {_changed(as_it_is):.0%} of its predictions."
        if _changed(as_it_is)
        else "Its neighbours in a batch changed none of its predictions"
        + (", though experts may be full here." if report.drops else ": no token is dropped.")
    )
    return told


def _told_of_closing(report: AuditReport) -> list[str]:
    worst = max(
        (c for c in report.closed if c.kind == "busiest"), key=lambda c: c.rise, default=None
    )
    if worst is None:
        return []
    return [
        f"Of the layers' busiest experts, number {worst.expert} of "
        f"{report.layers[worst.layer].name} is missed most: without it the loss rises by "
        f"{worst.rise:.3f} nats per token and {worst.changed:.0%} of the next tokens change."
    ]


def _changed(crowd: Crowd) -> float:
    return max(crowd.changed_by_others, crowd.changed_by_flood)


def _some_left_out(report: AuditReport) -> bool:
    return all(math.isfinite(view.margin_points[4]) for view in report.layers)


def _how_sure(report: AuditReport) -> str:
    title = "<h2>How sure they were</h2>"
    if not _some_left_out(report):
        return f"{title}<p>Every token has all experts, so nobody was left out.</p>"
    border = CLOSE / report.n_experts
    return (
        f"{title}<p>The margin of a choice is the score of the last expert chosen minus that of "
        "the first one left out. At 0 a coin could have decided; left of the dashed line "
        f"({border:.4f}, {CLOSE:.0%} of an even share) we call it close. Dot: the median; thick: "
        "the middle half of the tokens; thin: the middle 80 %.</p>"
        f"{margin_picture(report.layers, border)}"
    )


def _without(report: AuditReport) -> str:
    title = "<h2>Without the busiest expert</h2>"
    if not report.closed:
        return f"{title}<p>This could not be tried. {escape(report.not_closed)}</p>"
    names = [view.name for view in report.layers]
    rows = [
        (
            f'{escape(names[one.layer])}, <span class="chip e{one.expert}">{one.expert}</span>',
            one.kind,
            f"{one.load:.1%}",
            _signed(one.rise),
            _ends(one),
            f"{one.changed:.1%}",
        )
        for one in report.closed
    ]
    header = ("expert", "which", "of choices", "loss", "95 % interval", "next tokens changed")
    worst = max((c for c in report.closed if c.kind == "busiest"), key=lambda one: one.rise)
    return (
        f"{title}<p>One expert is closed: its tokens go to their next best. The control is the "
        "expert with the middle load of the same layer. Loss in nats per token; intervals are "
        "drawn from the windows of this text.</p>"
        '<ul class="key"><li><i class="dot"></i>without the busiest</li>'
        '<li><i class="ring"></i>without a middling one</li></ul>'
        f"{damage_picture(report.closed, names)}{table(header, rows, (2, 3, 4, 5))}"
        f"{_turns(worst, names[worst.layer])}"
    )


def _ends(one: Closed) -> str:
    if one.interval is None:
        return "one window only"
    return f"{_signed(one.interval.low)} to {_signed(one.interval.high)}"


def _signed(number: float, digits: int = 4) -> str:
    return f"{number:+.{digits}f}".replace("-", "−")


def _quoted(text: str) -> str:
    return f'<span class="became">{seen(text)}</span>'


def _turns(worst: Closed, name: str) -> str:
    if not worst.turns:
        return "<p>No prediction changed.</p>"
    rows = [
        (*map(_quoted, (turn.before, turn.was, turn.became, turn.really)), _signed(turn.rise, 2))
        for turn in worst.turns
    ]
    header = ("the text", "said next", "without it", "really", "nats")
    return (
        f"<h3>Places where expert {worst.expert} of {escape(name)} decided the next token</h3>"
        '<p class="faint">Picked for their size: the real token loses most in the first ones and '
        f"gains most in the last.</p>{table(header, rows, (4,))}"
    )


def _verdict(report: AuditReport) -> str:
    as_it_is = report.crowds[0]
    if not report.drops and not _changed(as_it_is):
        told = (
            "<b>Nothing: this model drops no tokens.</b> We put the text beside other texts, and "
            "beside a flood of one word, and not one prediction changed."
        )
        follows = (
            " What follows is what a server would do that gives each expert a capacity to save "
            "memory."
        )
        told += "" if report.not_capped else follows
    else:
        told = (
            f"In this model {'experts can be full' if report.drops else 'no expert is ever full'}. "
            f"Other texts beside it changed {as_it_is.changed_by_others:.1%} of the predictions, "
            f"a flood of one word {as_it_is.changed_by_flood:.1%}."
        )
    if report.not_capped:
        told += f" A capacity could not be tried. {escape(report.not_capped)}"
    return told


def _neighbours(report: AuditReport) -> str:
    rows = [
        (
            crowd_name(crowd),
            f"{crowd.dropped:.1%}",
            f"{crowd.dropped_in_flood:.1%}",
            f"{crowd.changed_by_others:.1%}",
            f"{crowd.changed_by_flood:.1%}",
        )
        for crowd in report.crowds
    ]
    header = (
        "capacity",
        "dropped",
        "dropped in a flood",
        "changed by others",
        "changed by a flood",
    )
    return (
        f"<h2>What its neighbours could have changed</h2><p>{_verdict(report)}</p>"
        "<p>A capacity × 1 has just the room that even routing would need. The text stands last in "
        f"its batch and experts serve first who comes first. The flood is <code>"
        f"{seen(report.flood_word)}</code>, over and over.</p>"
        '<ul class="key"><li><i class="first"></i>predictions changed beside other texts</li>'
        '<li><i class="second"></i>changed in a flood</li></ul>'
        f"{crowd_picture(report.crowds)}{table(header, rows, (1, 2, 3, 4))}"
    )
