"""What a page says of chapters that do not exist yet, it says as a plan."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXISTING = {path.name[:2] for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.py")}
PAGES = (
    ROOT / "README.md",
    *(ROOT / "notebooks").glob("*.py"),
    *(ROOT / "solutions").glob("*.py"),
    *(ROOT / "moe_teach" / "chapters").rglob("*.py"),
    *(ROOT / "moe_teach" / "widgets").glob("*.py"),
)
NUMBERS = r"\d\d(?:(?:,| and| or| to|, and)\s+\d\d)*"
CHAPTERS = re.compile(rf"\b[Cc]hapters?\s+({NUMBERS})\b")
EXERCISES = re.compile(r"\b[Ee]xercises?\s+(\d\d?)\.\d")
LINKS = re.compile(r"\b(\d\d)_[a-z]\w*\.(?:ipynb|py|html)\b")


def sentences(text: str) -> list[str]:
    """Split into sentences, whatever comment signs, quotes and line ends stand in between."""
    text = re.sub(r'"\s*\n\s*[rf]?"', "", text)  # pieces of one string
    text = re.sub(r"\n#? *(?=\S)", " ", re.sub(r"\n#?\s*\n", ".\n", text))
    return re.split(r"(?<=[.!?])\s+", text)


def unplanned(text: str) -> list[str]:
    """Give the sentences that name a missing chapter and do not say that it is planned."""
    found = []
    for sentence in sentences(text):
        named = {
            number for group in CHAPTERS.findall(sentence) for number in re.findall(r"\d\d", group)
        }
        named |= {number.zfill(2) for number in EXERCISES.findall(sentence)}
        named |= set(LINKS.findall(sentence))
        if named - EXISTING and "planned" not in sentence:
            found.append(sentence.strip())
    return found


def test_chapters_that_do_not_exist_are_called_planned() -> None:
    found = {str(page.relative_to(ROOT)): unplanned(page.read_text()) for page in PAGES}
    assert {page: promises for page, promises in found.items() if promises} == {}


@pytest.mark.parametrize(
    "text",
    [
        "# not a fact; chapter 99 measures it.",
        "# More of this in\n# chapter 99.",
        '"It waits (chapter "\n        "99), and so on."',
        "Chapters 01 and 99 are about that bill.",
        "Do exercise 99.1 first.",
        "[the next one](notebooks/99_later.ipynb)",
        "The planned part is here. Chapter 99 shows it.",
    ],
)
def test_a_promise_without_the_word_is_found(text: str) -> None:
    assert len(unplanned(text)) == 1


@pytest.mark.parametrize(
    "text",
    ["The planned chapter 99 measures it.", "See chapter 01.", "# planned: chapters 98 and\n# 99"],
)
def test_a_plan_and_an_existing_chapter_may_be_named(text: str) -> None:
    assert unplanned(text) == []
