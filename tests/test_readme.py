"""Every sentence of the front door that a machine can check is true."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
TERMS = (ROOT / "docs/terms.md").read_text()
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pages in ("*", "docs/*", "results/*")
    for path in ROOT.glob(f"{pages}.md")
)
CHAPTERS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.py"))


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text())
    folder = (ROOT / page).parent
    missing = [x for x in links if not x.startswith("http") and not (folder / x).exists()]

    assert missing == []


def heading_anchors(page: Path) -> set[str]:
    """Name what GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_into_a_page_meets_a_heading(page: str) -> None:
    links = re.findall(r"\]\(([\w/.]*\.md)#([^)]+)\)", (ROOT / page).read_text())
    folder = (ROOT / page).parent

    assert [x for x in links if x[1] not in heading_anchors(folder / x[0])] == []


def test_every_page_of_results_is_on_the_front_page_of_verdicts() -> None:
    front = (ROOT / "results/README.md").read_text()

    assert [p.name for p in (ROOT / "results").glob("*.md") if f"({p.name}" not in front] == [
        "README.md"
    ]


def test_every_verdict_says_below_the_table_when_where_and_how_it_came_about() -> None:
    front = (ROOT / "results/README.md").read_text()
    # Two columns: with the commands in a third, nobody could read the verdicts.
    rows = re.findall(r"^\| \[([^]]+)\]\([^)]+\) \| [^|]+ \|$", front, re.MULTILINE)
    told = re.findall(r"^- \*\*(.+?)\*\*: \d{4}-\d\d-\d\d[,;] .+$", front, re.MULTILINE)

    assert len(rows) == front.count("\n| [") > 30
    assert told == rows


def test_the_terms_of_the_table_are_names_of_the_library() -> None:
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \|.*\|$", TERMS.partition("## The table")[2], re.M)
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    library = "\n".join(path.read_text() for path in (ROOT / "moe_teach").rglob("*.py"))

    assert len(names) > 40
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", library)] == []


def test_a_citation_names_the_version_there_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == project["version"]


@pytest.mark.parametrize("page", PAGES)
def test_every_make_verb_that_is_named_exists(page: str) -> None:
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|    )make ([a-z-]+)", (ROOT / page).read_text()))

    assert named <= verbs


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_map_leads_to_every_lesson_and_its_exercises(chapter: str) -> None:
    row = next(line for line in README.splitlines() if line.startswith(f"| {chapter[:2]} |"))
    exercises = (ROOT / f"exercises/{chapter}.ipynb").read_text()
    count = len(set(re.findall(r'check\(\\"(\d+\.\d+)\\"', exercises)))

    assert f"(notebooks/{chapter}.ipynb)" in row
    assert f"[{count}](exercises/{chapter}.ipynb)" in row


def test_the_example_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)

    exec(example, {})

    assert capsys.readouterr().out.count("[") == 11, "ten tokens with two experts each"


def test_every_room_of_the_library_is_on_the_map() -> None:
    rooms = {p.name for p in (ROOT / "moe_teach").iterdir() if p.is_dir() and p.name[0] != "_"}

    assert [room for room in rooms if f"{room}/" not in README] == []
