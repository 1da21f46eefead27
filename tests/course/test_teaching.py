"""A talk says what its lesson says, and the minutes of a plan are sums."""

import json
import re
from pathlib import Path

import pytest

from moe_teach.cli import main
from moe_teach.course import registry
from moe_teach.course.teaching.deck import deck_of, page
from moe_teach.course.teaching.minutes import filled, of, table
from moe_teach.course.teaching.slides import Slide, slides_of

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_every_lesson_gives_a_talk_out_of_its_own_words(lesson: Path) -> None:
    slides = slides_of(lesson)
    kinds = [slide.kind for slide in slides]
    said = plain("".join("".join(c["source"]) for c in json.loads(lesson.read_text())["cells"]))

    assert kinds[0] == "claim"
    assert "Claim" in slides[0].words
    assert {"claim", "question", "figure", "doubts"} <= set(kinds)
    assert all(slide.picture or slide.printed for slide in slides if slide.kind == "figure")
    assert all(slide.alt for slide in slides if slide.picture)
    for slide in slides:
        if slide.kind not in ("question", "doubts"):
            assert plain(slide.words) in said
        assert slide.words or slide.picture or slide.printed, slide.heading


def plain(words: str) -> str:
    """Take links and line ends away, as a slide does."""
    return re.sub(r"\s+", "", re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", words))


def notebook(folder: Path, *cells: tuple[str, str], printed: str = "") -> Path:
    outputs = [{"output_type": "stream", "name": "stdout", "text": printed}]
    written = [
        {"cell_type": kind, "source": text, **({"outputs": outputs} if kind == "code" else {})}
        for kind, text in cells
    ]
    target = folder / "99_sample.ipynb"
    target.write_text(json.dumps({"cells": written}))
    return target


def test_a_control_shows_what_it_printed_and_no_later_cell_does(tmp_path: Path) -> None:
    lesson = notebook(
        tmp_path,
        ("markdown", "# T\n\n**Claim: x.**"),
        ("markdown", "## A control that must fail\n\nWatch."),
        ("code", "1 / 0"),
        ("markdown", "## Another\n\n- **One.** More.\n- Two (arXiv 1.2). Three."),
        printed="\n".join(f"line {n}" for n in range(20)),
    )

    (control,) = (slide for slide in slides_of(lesson) if slide.kind == "control")

    assert control.words == "Watch."
    assert control.printed.splitlines() == [f"line {n}" for n in range(12, 20)]


def test_of_a_doubt_the_first_sentence_is_told(tmp_path: Path) -> None:
    doubts = "## What could be wrong\n\n- **One.** More.\n- It is 1.5 of\n  two. Three.\n- Four"
    lesson = notebook(tmp_path, ("markdown", "# T\n\n**Claim: x.**"), ("markdown", doubts))

    assert slides_of(lesson)[-1].words == "- **One.**\n- It is 1.5 of two.\n- Four"


def test_a_deck_needs_no_network_and_hides_the_answers() -> None:
    text = deck_of(ROOT, 3)
    outside = re.sub(r"<details>.*?</details>", "", text, flags=re.S)

    assert not re.search(r"""(?:src|href)=["'](?!data:)|@import|url\(""", text)
    assert "<script>" in text
    for question in registry.room(3).QUESTIONS:
        assert question.because[:40] not in outside
    assert all(exercise.id in text for exercise in registry.room(3).EXERCISES)


def test_what_a_slide_says_cannot_become_markup() -> None:
    text = page([Slide("claim", "<b>", "<script>alert(1)</script>", printed="</pre><i>")])

    assert "<script>alert" not in text
    assert "<i>" not in text
    assert "<h1><b>" not in text


def test_a_chapter_that_is_not_there_is_refused_in_a_sentence() -> None:
    with pytest.raises(LookupError, match="There is no chapter 77"):
        deck_of(ROOT, 77)


def test_minutes_are_sums_of_cards_and_of_lengths() -> None:
    cards = registry.find_exercise("3.1").minutes + registry.find_exercise("4.2").minutes

    assert of(ROOT, ["3.1", "4.2"]) == cards
    assert of(ROOT, ["03", "3.1", "4.2"]) == cards + of(ROOT, ["03"])
    assert of(ROOT, ["talk 03"]) == 2 * len(slides_of(ROOT / "notebooks/03_router.ipynb"))
    assert 20 <= of(ROOT, ["03"]) <= 90
    with pytest.raises(LookupError, match="There is no lesson 03b"):
        of(ROOT, ["03b"])


def test_a_plan_is_filled_in_and_other_tables_stay_as_they_are() -> None:
    before = "| a | b |\n|---|---|\n| 03 | x |\n\n| in class | in class, min |\n|---|---|\n"
    minutes = of(ROOT, ["03", "3.1"])

    after = filled(ROOT, before + "| lesson 03, then 3.1 | 999 |\n")

    assert after == before + f"| lesson 03, then 3.1 | {minutes} |\n"
    assert filled(ROOT, after) == after


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("| 03 |", "has 1 cells and its header 2"),
        ("| 77 | |", "There is no lesson 77"),
        ("| 3.99 | |", "There is no '3.99'"),
    ],
)
def test_a_row_that_cannot_be_added_up_is_refused_in_a_sentence(row: str, why: str) -> None:
    with pytest.raises(LookupError, match=why):
        filled(ROOT, f"| what | what, min |\n|---|---|\n{row}\n")


def test_a_plan_that_cannot_be_read_is_a_usage_error(tmp_path: Path, capsys) -> None:
    (tmp_path / "picture.png").write_bytes(b"\xff\xfe\x00")
    for plan in (tmp_path, tmp_path / "missing.md", tmp_path / "picture.png"):
        assert main(["minutes", str(plan)]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"moe-teach: {plan} cannot be read (")
        assert said.endswith("). Name a plan of yours, in Markdown.\n")


@pytest.mark.parametrize("between", ["", "\n", "| old |\n"], ids=["empty", "a line", "a table"])
def test_the_table_of_chapters_is_put_between_its_marks(between: str) -> None:
    after = filled(ROOT, f"before\n<!-- minutes -->\n{between}<!-- end -->\nafter\n")

    assert after == f"before\n<!-- minutes -->\n{table(ROOT)}\n<!-- end -->\nafter\n"


def test_the_first_lesson_promises_the_minutes_that_are_planned_for_it() -> None:
    source = (ROOT / "notebooks/00_start_here.py").read_text()
    said = re.findall(r"takes about (\d+) minutes", source)

    assert said == [str(of(ROOT, ["00"]))]


def test_a_rest_is_no_lesson() -> None:
    plan = "| what | what, min |\n|---|---|\n| 10 minutes of rest, 3.1 | {} |\n"
    assert filled(ROOT, plan.format("")) == plan.format(of(ROOT, ["3.1"]))


def test_the_minutes_of_the_teachers_guide_are_those_of_the_course() -> None:
    guide = (ROOT / "docs/teaching.md").read_text()

    assert table(ROOT) in guide, "run: moe-teach minutes docs/teaching.md"
    assert filled(ROOT, guide) == guide, "run: moe-teach minutes docs/teaching.md"


@pytest.mark.parametrize("page", ["teaching", "jupyterhub"])
def test_every_verb_that_a_guide_names_exists(page: str) -> None:
    named = re.findall(r"(?:`|\$ )moe-teach ([a-z]+)", (ROOT / f"docs/{page}.md").read_text())

    assert named
    for verb in sorted(set(named)):
        with pytest.raises(SystemExit) as ended:
            main([verb, "--help"])
        assert ended.value.code == 0, verb
