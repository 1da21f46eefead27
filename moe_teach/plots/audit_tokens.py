"""Who worked on what: the text of an audit, token by token, a panel for each layer."""

from html import escape

from moe_teach.analysis.audit.layers import CLOSE
from moe_teach.analysis.audit.report import AuditReport, LayerView
from moe_teach.plots.audit_pictures import load_picture
from moe_teach.plots.page import table


def who(report: AuditReport) -> str:
    """Return the section: a panel for each layer, of which one is seen."""
    buttons = "".join(
        f'<input type="radio" name="layer" id="layer{i}"{" checked" if not i else ""}>'
        f'<label for="layer{i}">{escape(view.name)}</label>'
        for i, view in enumerate(report.layers)
    )
    cut = " A dot stands for the rest of a character that was cut." if "·" in report.tokens else ""
    panels = "".join(_panel(report, i) for i in range(len(report.layers)))
    return (
        "<h2>Who worked on what</h2>"
        f"<p>The first {len(report.tokens)} tokens. Under each stands the number of the expert "
        "that was its first choice in the layer, and the colour says the same. A dotted line marks "
        "a close call. Colours mean no more than the number, and expert 3 of one layer has nothing "
        f"to do with expert 3 of another.{cut}</p>"
        f'<div class="layers" role="group" aria-label="Layer">{buttons}{panels}</div>'
    )


def _panel(report: AuditReport, number: int) -> str:
    view = report.layers[number]
    border = CLOSE / report.n_experts
    tokens = "".join(
        _token(text, ids, gates, margin, margin < border)
        for text, ids, gates, margin in zip(
            report.tokens, view.expert_ids, view.gates, view.margins, strict=True
        )
    )
    beyond = max(0.0, view.token_bits - view.token_chance)
    return (
        f'<div class="panel" id="panel{number}"><div class="tokens">{tokens}</div>'
        f"<p>Who is chosen in {escape(view.name)} takes {view.choice_bits:.2f} bits to say. The "
        f"token itself, whatever stands around it, settles {view.token_bits:.2f} of them; tokens "
        f"dealt out at random would seem to settle {view.token_chance:.2f}, so about "
        f"{beyond:.2f} are its own.</p>"
        f"<h3>How busy each expert was</h3>{load_picture(view)}"
        f"<details><summary>What each expert takes more than its share of</summary>"
        f"{_words(view)}</details></div>"
    )


def _token(
    text: str, ids: tuple[int, ...], gates: tuple[float, ...], margin: float, is_close: bool
) -> str:
    who = ", ".join(f"expert {e} ({gate:.2f})" for e, gate in zip(ids, gates, strict=True))
    kind = f"t e{ids[0]}{' close' if is_close else ''}"
    end = "<br>" if "\n" in text else ""
    return (
        f'<span class="{kind}" title="{who}; margin {margin:.3f}"><b>{seen(text)}</b>'
        f"<i>{ids[0]}</i></span>{end}"
    )


def seen(text: str) -> str:
    """Make white space visible, as a token of its own needs it."""
    text = text or "∅"
    if not text.strip(" "):
        text = "␣" * len(text)
    return escape(text.replace("\n", "↵").replace("\t", "⇥").replace("\r", "␍"))


def _words(view: LayerView) -> str:
    rows = []
    for expert in sorted(range(len(view.load)), key=lambda e: -view.load[e]):
        words = "".join(
            f'<span class="word"><code>{seen(word.text)}</code> '
            f"{round(word.share * word.count)} of {word.count}</span>"
            for word in view.words[expert]
        )
        chip = f'<span class="chip e{expert}">{expert}</span>'
        rows.append((chip, f"{view.load[expert]:.1%}", words or "nothing in particular"))
    return table(("expert", "of choices", "tokens, and how many of them it worked on"), rows, (1,))
