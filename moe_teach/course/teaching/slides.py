"""Takes the slides of a talk out of a lesson: what it claims, asks, shows, controls and concludes.

Nothing is written for a talk alone. A slide says what its lesson's cells say, and shows the output
that is stored with them, so a talk is as true as the lesson.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from moe_teach.course import registry
from moe_teach.judging.questions import Question

Kind = Literal["claim", "question", "figure", "control", "doubts", "takeaway"]
_HEADING = re.compile(r"^#{1,3} +(.+)$", re.M)
_ASKED = re.compile(r'^check\("(\d+\.q\d+)"', re.M)
_SENTENCE = re.compile(r"(?<=[.?!])(\*\*)?\s+(?=[A-Z`*])")
SEEN = "**What to see.**"
DOUBTS = "what could be wrong"
ENDS = ("take with you", "became of the claims", "what became of them", "how the exercises work")
MOST_LINES = 8  # of printed output on one slide


@dataclass(frozen=True)
class Slide:
    """One slide: a heading, words in Markdown, and what stands beside them.

    `picture` is a PNG in base64 with its `alt`; `printed` is what a cell printed; `answer` is told
    after the room has voted.
    """

    kind: Kind
    heading: str
    words: str = ""
    picture: str = ""
    alt: str = ""
    printed: str = ""
    answer: str = ""


@dataclass(frozen=True)
class _Shown:
    """An output that a slide can show."""

    picture: str = ""
    alt: str = ""
    printed: str = ""


def slides_of(lesson: Path) -> list[Slide]:
    """Give the slides of one stored lesson, in the order of its cells."""
    cells = json.loads(lesson.read_text(encoding="utf-8"))["cells"]
    seen_is_said = any(SEEN in _text(cell) for cell in cells if cell["cell_type"] == "markdown")
    slides, heading, shown = [_claim(_text(cells[0]))], "", _Shown()
    for number, cell in enumerate(cells[1:], start=1):
        text = _text(cell)
        if cell["cell_type"] == "code":
            slides += [_question(found) for found in _ASKED.findall(text)]
            here = _shown(cell)
            if here.picture and not seen_is_said:
                slides.append(_figure(heading, "", here))
            shown = here if here.picture or (here.printed and not shown.picture) else shown
            continue
        if SEEN in text:
            slides.append(_figure(heading, _paragraph_after(text, SEEN), shown))
            shown = _Shown()
        for title, words in _sections(text):
            heading = title
            slides += _told(title, words, cells[number + 1 :])
    return slides


def _claim(text: str) -> Slide:
    """Read the title and the sentence in bold of a lesson's first cell."""
    title, claim = (
        _HEADING.findall(text)[0],
        re.search(r"^\*?\*?Claim.*?(?=\n\n|\Z)", text, re.M | re.S),
    )
    return Slide("claim", title, _without_links(claim[0]) if claim else "")


def _question(item_id: str) -> Slide:
    question = registry.find(item_id)
    assert isinstance(question, Question)  # the pattern asks for a q
    choices = "\n".join(f"- **{letter})** {text}" for letter, text in question.choices.items())
    right = question.answer if question.choices else f"{question.answer:g}"
    return Slide(
        "question",
        f"What do you think? ({item_id})",
        f"{question.prompt}\n\n{choices}",
        answer=f"**{right}**. {question.because}",
    )


def _figure(heading: str, words: str, shown: _Shown) -> Slide:
    return Slide("figure", heading, _without_links(words), shown.picture, shown.alt, shown.printed)


def _told(title: str, words: str, onward: list[dict[str, Any]]) -> Iterator[Slide]:
    """Give the slide of a section that every lesson has: its control, its doubts, its end."""
    name = title.lower()
    if "control" in name:
        printed = next(
            (out.printed for out in map(_shown, _until_heading(onward)) if out.printed), ""
        )
        yield Slide("control", title, _without_links(words), printed=printed)
    elif DOUBTS in name:
        yield Slide("doubts", title, _without_links(_first_sentences(words)))
    elif any(end in name for end in ENDS):
        yield Slide("takeaway", title, _without_links(_list_or_table(words)))


def _until_heading(cells: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for cell in cells:
        if cell["cell_type"] == "markdown" and _HEADING.search(_text(cell)):
            return
        yield cell


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Cut a Markdown cell at its headings."""
    found = list(_HEADING.finditer(text))
    for at, heading in enumerate(found):
        end = found[at + 1].start() if at + 1 < len(found) else len(text)
        yield heading[1].strip(), text[heading.end() : end].strip()


def _shown(cell: dict[str, Any]) -> _Shown:
    """Take the picture out of a cell's outputs, or the last lines it printed."""
    printed = ""
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if "image/png" in data:
            alt = "".join(data.get("text/plain", "")).strip("'\"")
            return _Shown(picture="".join(data["image/png"]).replace("\n", ""), alt=alt)
        if output["output_type"] == "stream":
            printed += "".join(output["text"])
    return _Shown(printed="\n".join(printed.strip().splitlines()[-MOST_LINES:]))


def _list_or_table(words: str) -> str:
    """Keep the paragraph that is a list or a table, or else the first one."""
    paragraphs = words.split("\n\n")
    return next((p for p in paragraphs if p.startswith(("- ", "|"))), paragraphs[0])


def _first_sentences(words: str) -> str:
    """Keep of each point of a list its first sentence; a slide is no page."""
    points = re.findall(r"^- .*?(?=^- |\Z)", _list_or_table(words), re.M | re.S)
    return "\n".join(_one_sentence(" ".join(point.split())) for point in points)


def _one_sentence(point: str) -> str:
    cut = _SENTENCE.search(point)
    return point[: cut.end()].strip() if cut else point


def _paragraph_after(text: str, mark: str) -> str:
    return text.split(mark, 1)[1].split("\n\n")[0].strip()


def _without_links(words: str) -> str:
    """Keep the words of links: a deck lies in another folder than the pages they lead to."""
    return re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", words)


def _text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])
