"""The score a check returns: a number to graders, a card to people.

`Score` is a float, so that nbgrader reads the points from the last expression of a cell. In a
notebook it shows the outcome as static HTML, elsewhere as Markdown or text.
"""

import os
from typing import Any

from moe_teach.course.learner import html
from moe_teach.judging.outcome import Outcome, State

# Mid-tone colours with a contrast of at least 3:1 on white and on JupyterLab's dark grey.
_LOOKS: dict[State, tuple[str, str]] = {
    "passed": ("✓", "#1a9850"),
    "wrong": ("✗", "#d55e00"),
    "raised": ("!", "#d55e00"),
    "not attempted": ("○", "#808080"),
    "course problem": ("⚙", "#8a6fd1"),
}
_STAGE_ICONS = {"passed": "✓", "failed": "✗", "not reached": "·"}
_NOT_YOURS = (
    "This is a fault of the course, not of your code, and it costs you nothing. "
    "Please report it with the line below; the chapter goes on without it."
)


class Score(float):
    """Points earned, between 0 and the maximum, together with the outcome that explains them."""

    outcome: Outcome

    def __new__(cls, outcome: Outcome) -> "Score":
        value = min(max(outcome.earned, 0), outcome.points)
        score = super().__new__(cls, value)
        score.outcome = outcome
        return score

    @property
    def state(self) -> State:
        """One of passed, wrong, raised, not attempted, course problem."""
        return self.outcome.state

    def __repr__(self) -> str:
        if os.environ.get("NBGRADER_EXECUTION"):
            return float.__repr__(self)
        return as_text(self.outcome)

    __str__ = __repr__

    def __reduce__(self) -> Any:
        return (Score, (self.outcome,))

    def _repr_html_(self) -> str | None:
        return None if os.environ.get("NBGRADER_EXECUTION") else as_html(self.outcome)

    def _repr_markdown_(self) -> str | None:
        return None if os.environ.get("NBGRADER_EXECUTION") else as_markdown(self.outcome)


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
    parts = [html.heading(colour, icon, headline(outcome))]
    if _shows_stages(outcome):
        parts.append(html.paragraph(stage_line(outcome)))
    parts += [html.paragraph(text) for text in _paragraphs(outcome)]
    parts += [html.block(title, text) for title, text in _blocks(outcome)]
    return html.card(colour, headline(outcome), *parts)


def as_markdown(outcome: Outcome) -> str:
    """The outcome as Markdown; what is not the course's own stands in code blocks."""
    icon = _LOOKS[outcome.state][0]
    parts = [f"**{icon} {headline(outcome)}**"]
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
    return [text for text in (outcome.message, outcome.next_step) if text]


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
    longest = run = 0
    for each in text:
        run = run + 1 if each == character else 0
        longest = max(longest, run)
    return longest
