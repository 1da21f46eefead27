"""The score a check returns: a number to graders, a card to people.

`Score` is a float, so that nbgrader reads the points from the last expression of a cell: while it
runs, the plain text is the bare number, since any other text would count as full marks, and the
card beside it carries the reason into its feedback pages. In a
notebook it shows the outcome as static HTML, elsewhere as Markdown or text. The pieces of HTML read
well in light and dark notebooks, with or without a kernel: text keeps the host's own colours
(`inherit`), and surfaces are faint tints of grey, so both themes work where JupyterLab's variables
exist (`--jp-*`) and where they do not (Colab, exported pages). Everything that did not come from
the course is escaped here.
"""

import os
import re
import sys
from html import escape
from typing import Any

from moe_teach.judging.outcome import Outcome, State

# Mid-tone colours with a contrast of at least 3:1 on white and on JupyterLab's dark grey.
_LOOKS: dict[State, tuple[str, str]] = {
    "passed": ("✓", "#1a9850"),
    "wrong": ("✗", "#d55e00"),
    "raised": ("!", "#d55e00"),
    "not attempted": ("○", "#808080"),
    "course problem": ("⚙", "#8a6fd1"),
}
_PLAIN_SIGNS = {"✓": "+", "✗": "x", "○": "o", "⚙": "*", "·": ".", "×": "x", "–": "-", "…": "..."}
_STAGE_ICONS = {"passed": "✓", "failed": "✗", "not reached": "·"}
MONOSPACE = "font-family: var(--jp-code-font-family, ui-monospace, monospace); font-size: 0.92em;"
_CARD = (
    "border-left: 4px solid {colour}; border-radius: 3px; padding: 8px 14px; margin: 4px 0; "
    "max-width: {width}; background: rgba(128, 128, 128, 0.09); color: inherit; "
    "font-family: var(--jp-content-font-family, system-ui, sans-serif); line-height: 1.45;"
)
_NOT_YOURS = (
    "This is a fault of the course, not of your code, and it costs you nothing. "
    "Please report it with the line below; the chapter goes on without it."
)


class Score(float):
    """Points earned, between 0 and the maximum, together with the outcome that explains them."""

    outcome: Outcome

    def __new__(cls, outcome: Outcome) -> "Score":
        score = super().__new__(cls, min(max(outcome.earned, 0), outcome.points))
        score.outcome = outcome
        return score

    @property
    def state(self) -> State:
        """One of passed, wrong, raised, not attempted, course problem."""
        return self.outcome.state

    def __repr__(self) -> str:
        if os.environ.get("NBGRADER_EXECUTION"):
            return float.__repr__(self)
        return fit_to_print(as_text(self.outcome))

    __str__ = __repr__

    def __reduce__(self) -> Any:
        return (Score, (self.outcome,))

    def _repr_html_(self) -> str:
        return as_html(self.outcome)

    def _repr_markdown_(self) -> str:
        return as_markdown(self.outcome)


def headline(outcome: Outcome) -> str:
    """One line: what was checked, what came out, the points."""
    line = f"{outcome.item_id} {outcome.title}".strip() + f": {outcome.state}"
    is_question = ".q" in outcome.item_id
    if is_question or outcome.state in ("not attempted", "course problem"):
        return line
    return f"{line} ({outcome.earned:g} of {outcome.points:g} points)"


def as_text(outcome: Outcome) -> str:
    """The outcome as plain text, the same on every run."""
    icon = _LOOKS[outcome.state][0]
    lines = [f"{icon} {headline(outcome)}"]
    if _shows_stages(outcome):
        lines.append("  " + stage_line(outcome))
    lines += ["  " + line for text in _paragraphs(outcome) for line in text.splitlines()]
    for title, text in _blocks(outcome):
        body = text.splitlines() or [""]
        lines += [f"  {title}:", *("    " + line for line in body)]
    return "\n".join(lines)


def as_html(outcome: Outcome) -> str:
    """The outcome as one static, escaped card."""
    icon, colour = _LOOKS[outcome.state]
    parts = [heading(colour, icon, headline(outcome))]
    if _shows_stages(outcome):
        parts.append(paragraph(stage_line(outcome)))
    parts += [paragraph(text) for text in _paragraphs(outcome)]
    parts += [block(title, text) for title, text in _blocks(outcome)]
    return card(colour, headline(outcome), *parts)


def as_markdown(outcome: Outcome) -> str:
    """The outcome as Markdown; what is not the course's own stands in code blocks."""
    icon = _LOOKS[outcome.state][0]
    parts = [f"**{icon} {escape_markdown(headline(outcome))}**"]
    if _shows_stages(outcome):
        parts.append(stage_line(outcome))
    everything = [("", text) for text in _paragraphs(outcome)] + _blocks(outcome)
    for title, text in everything:
        fence = "`" * max(4, _longest_run(text, "`") + 1)
        parts.append(f"{title}\n\n{fence}text\n{text}\n{fence}".strip())
    return "\n\n".join(parts)


def stage_line(outcome: Outcome) -> str:
    """All stages on one line, each with its icon."""
    return "  ".join(f"{_STAGE_ICONS[state]} {name}" for name, state in outcome.stages)


def _shows_stages(outcome: Outcome) -> bool:
    return bool(outcome.stages) and outcome.state in ("passed", "wrong", "raised")


def _paragraphs(outcome: Outcome) -> list[str]:
    if outcome.state == "course problem":
        return [_NOT_YOURS]
    said = (
        ("", outcome.message),
        ("Likely cause: ", outcome.cause),
        ("To mend it: ", outcome.cure),
        ("", outcome.next_step),
    )
    return [label + text for label, text in said if text]


def _blocks(outcome: Outcome) -> list[tuple[str, str]]:
    if outcome.state == "course problem":
        return [("To report", outcome.message)]
    example = "\n".join(f"{name} = {value}" for name, value in outcome.example)
    blocks = [
        ("Smallest failing input", example),
        ("Expected", outcome.expected),
        ("Got" if ".q" not in outcome.item_id else "Your answer", outcome.got),
        ("Where they part", outcome.difference),
        ("In your code", outcome.trace),
        ("Your code printed", outcome.printed),
    ]
    return [(title, text) for title, text in blocks if text]


def _longest_run(text: str, character: str) -> int:
    return max(map(len, re.findall(f"{character}+", text)), default=0)


def fit_to_print(text: str) -> str:
    """Spell what the terminal or the file that Python prints to cannot hold in plain letters."""
    coding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(coding)
    except LookupError:  # whoever took the place of stdout invented it
        return text
    except UnicodeEncodeError:
        for sign, plain in _PLAIN_SIGNS.items():
            text = text.replace(sign, plain)
        return text.encode(coding, "replace").decode(coding)
    return text


def escape_markdown(text: str) -> str:
    """Escape HTML and emphasis outside of `code`, where Markdown shows every character as it is."""
    pieces = re.split(r"(?<!`)(`[^`\n]+`)(?!`)", text)
    marked = [re.sub(r"([\\*_\[\]`])", r"\\\1", escape(p, quote=False)) for p in pieces[::2]]
    return "".join(p for pair in zip(marked, [*pieces[1::2], ""], strict=True) for p in pair)


def card(colour: str, label: str, *parts: str, width: str = "50em") -> str:
    """Wrap `parts` (HTML) in a bordered card; `label` names it for screen readers."""
    inner = "".join(parts)
    style = _CARD.format(colour=colour, width=width)
    return f'<div role="group" aria-label="{escape(label)}" style="{style}">{inner}</div>'


def heading(colour: str, icon: str, text: str) -> str:
    """Write a card's first line: a coloured icon and bold words."""
    mark = f'<span aria-hidden="true" style="color: {colour}; font-weight: 700;">{icon}</span>'
    return f'<div style="font-weight: 600;">{mark} {escape(text)}</div>'


def paragraph(text: str) -> str:
    """Write escaped text; line breaks and `code` in backticks survive."""
    return f'<div style="margin-top: 6px; white-space: pre-wrap;">{inline(text)}</div>'


def block(title: str, text: str) -> str:
    """Write a titled block of escaped monospaced text."""
    pre = (
        f'<pre style="{MONOSPACE} margin: 2px 0 0; padding: 4px 8px; overflow-x: auto; '
        "background: rgba(128, 128, 128, 0.12); color: inherit; white-space: pre-wrap; "
        'word-break: normal; overflow-wrap: anywhere;">'
    )
    return f'<div style="margin-top: 6px;">{escape(title)}{pre}{escape(text)}</pre></div>'


def inline(text: str) -> str:
    """Escape text; `code` between backticks becomes monospaced, *words* between stars slanted."""
    pieces = escape(text).split("`")
    if len(pieces) % 2 == 0:  # an odd backtick is just a character
        return "`".join(pieces)
    pieces[::2] = [re.sub(r"(?<!\w)\*(\w[\w -]*)\*(?!\w)", r"<em>\1</em>", p) for p in pieces[::2]]
    code = f'<code style="{MONOSPACE} color: inherit; background: rgba(128, 128, 128, 0.15);">'
    return "".join(f"{code}{p}</code>" if i % 2 else p for i, p in enumerate(pieces))


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Write a plain table of escaped cells."""
    cell = 'style="text-align: left; padding: 2px 12px 2px 0; color: inherit;"'
    head = "".join(f'<th scope="col" {cell}>{escape(name)}</th>' for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td {cell}>{escape(value)}</td>" for value in row) + "</tr>"
        for row in rows
    )
    style = (
        "border-collapse: collapse; background: transparent; margin-top: 6px; "
        "color: inherit; font: inherit;"
    )
    return f'<table style="{style}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
