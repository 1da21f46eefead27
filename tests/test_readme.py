"""Every sentence of the front door that a machine can check is true."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "RESULTS.md"]
CHAPTERS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.py"))


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text())
    missing = [x for x in links if not x.startswith("http") and not (ROOT / x).exists()]

    assert missing == []


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
