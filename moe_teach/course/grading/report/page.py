"""The pages of a class: the frame of all pages with the colours of statuses, and people's words."""

from html import escape
from pathlib import Path

from moe_teach.course.learner.feedback import inline
from moe_teach.plots import page as frame


def page(title: str, *parts: str) -> str:
    """Write a whole page; `parts` are HTML."""
    return frame.page(title, *parts, style=Path(__file__).with_suffix(".css").read_text("utf-8"))


def colour_of(group: str) -> str:
    """Name the colour of a group of statuses."""
    return f"var(--{group.replace(' ', '-')})"


def text(words: str) -> str:
    """Write somebody's words: escaped, and kept apart from the text around by their direction."""
    return f"<bdi>{inline(words)}</bdi>"


def paragraph(words: str, label: str = "") -> str:
    """Write words as a paragraph; nothing for none."""
    before = f'<span class="label">{escape(label)}</span> ' if label else ""
    return f"<p>{before}{text(words)}</p>" if words else ""
