"""The page a class meets first: what there is to do, how to open it, how to hand it in."""

from moe_teach.course import registry
from moe_teach.course.authoring import pages
from moe_teach.judging.exercise import Exercise

_PAGE = """\
# {title}

{table}

## Open it

{opening}On your own machine, with Python 3.11 to 3.13, in the folder of this page:

    python -m pip install "moe-teach[lab,kernels] @ git+{url}"
    jupyter lab

## Work

Write your answers where a cell says `raise NotImplementedError`, run the cell, then the check
below it. It answers at once and as often as you like; `hint("{first}")` helps. The same checks
decide about your points, and your teacher may look at further cases.

## Hand in

Save the notebook. Then, in the folder of this page, type

    moe-teach pack {numbers}

and hand in the file it names. It says so if a notebook was not saved. If your teacher wants the
notebooks themselves, leave their names as they are. The same file brings your work to another
machine: `moe-teach unpack FILE`.
"""


def students_page(title: str, slugs: list[str], url: str, repository: str, given: set[str]) -> str:
    """Write the page of a hand-out."""
    home = f"https://github.com/{repository}" if repository else url
    rows = [_row(slug, home, given) for slug in slugs]
    table = "\n".join(
        ("| exercises | minutes | points | open |", "| --- | --- | --- | --- |", *rows)
    )
    opening = "In the browser: the buttons in the table; nothing has to be installed. " * bool(rows)
    first = _exercises(slugs[0])[0].id
    numbers = " ".join(slug[:2] for slug in slugs)
    return _PAGE.format(
        title=title, table=table, opening=opening, url=url, first=first, numbers=numbers
    )


def _row(slug: str, home: str, given: set[str]) -> str:
    exercises = _exercises(slug)
    minutes, points = sum(e.minutes for e in exercises), sum(e.points for e in exercises)
    lesson = f"notebooks/{slug}.ipynb"
    words = f"[{slug[:2]} {slug[3:].replace('_', ' ')}](exercises/{slug}.ipynb)"
    if lesson in given:
        words += f" ([lesson]({lesson}))"
    return f"| {words} | {minutes} | {points:g} | {pages.badges(home, 'exercises', slug)} |"


def _exercises(slug: str) -> list[Exercise]:
    items = registry.load(int(slug[:2])).values()
    return [item for item in items if isinstance(item, Exercise)]
