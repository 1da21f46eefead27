"""Things the verbs show that are not a score: a hint, a solution, a progress table, a source."""

from dataclasses import dataclass

from moe_teach.course.learner import feedback
from moe_teach.course.learner.highlight import python_html
from moe_teach.text_table import aligned

_COLOUR = "#0072b2"


@dataclass(frozen=True)
class Note:
    """A titled text with an optional piece of Python and an optional table."""

    title: str
    text: str = ""
    code: str = ""
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    icon: str = "i"

    def __repr__(self) -> str:
        parts = [self.title, self.text, self.code]
        if self.rows:
            parts.append(aligned(self.header, self.rows))
        return feedback.fit_to_print("\n\n".join(part for part in parts if part))

    def _repr_html_(self) -> str:
        parts = [feedback.heading(_COLOUR, self.icon, self.title)]
        if self.text:
            parts.append(feedback.paragraph(self.text))
        if self.code:
            parts.append(python_html(self.code))
        if self.rows:
            parts.append(feedback.table(self.header, list(self.rows)))
        width = "64em" if self.code else "50em"  # the lines of the library fit in, unbroken
        return feedback.card(_COLOUR, self.title, *parts, width=width)

    def _repr_markdown_(self) -> str:
        fence = "`" * 4
        parts = [
            f"**{feedback.escape_markdown(self.title)}**",
            feedback.escape_markdown(self.text),
        ]
        if self.code:
            parts.append(f"{fence}python\n{self.code}\n{fence}")
        if self.rows:
            parts.append(f"{fence}text\n{aligned(self.header, self.rows)}\n{fence}")
        return "\n\n".join(part for part in parts if part)
