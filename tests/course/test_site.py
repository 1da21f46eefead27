"""What the site is made of: pages have their places, links and alternative texts hold."""

import base64
import json
import re
from pathlib import Path

import pytest
from mdit_py_plugins.anchors.index import slugify

from moe_teach.course.authoring.site import outputs
from moe_teach.course.authoring.site.docstrings import as_rst, readable_signature
from moe_teach.course.authoring.site.files import site_files, write
from moe_teach.course.authoring.site.glossary import glossary_page
from moe_teach.course.authoring.site.links import Links
from moe_teach.course.authoring.site.plan import read_page, text_of
from moe_teach.widgets.granularity import Granularity
from moe_teach.widgets.router_playground import RouterPlayground

ROOT = Path(__file__).parents[2]
URL = "https://github.com/moe-teach/moe_teach"
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return site_files(ROOT)


@pytest.fixture(scope="module")
def texts(files: dict[str, bytes]) -> dict[str, str]:
    """The Markdown of every page, by path."""

    def text(path: str, content: bytes) -> str:
        if path.endswith(".md"):
            return content.decode()
        cells = json.loads(content)["cells"]
        return "\n\n".join(text_of(cell) for cell in cells if cell["cell_type"] == "markdown")

    return {
        path: text(path, content)
        for path, content in files.items()
        if path.endswith((".md", ".ipynb"))
    }


def test_every_page_stands_in_the_navigation_once(texts: dict[str, str]) -> None:
    placed = []
    for page, text in texts.items():
        for tree in re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            targets = re.findall(r"<(.+)>$", tree, re.MULTILINE)
            placed += [t[1:] if t[0] == "/" else str(Path(page).parent / t) for t in targets]

    assert sorted(placed) == sorted({p.rpartition(".")[0] for p in texts} - {"index"})


def test_every_link_leads_to_a_page_or_to_a_file_of_the_repository(texts: dict[str, str]) -> None:
    broken = []
    for page, text in texts.items():
        for link in LINK.findall(CODE.sub("", text)):
            target, _, anchor = link.partition("#")
            if in_repository := re.fullmatch(rf"{URL}/(?:blob|tree)/main/(.+)", target):
                if not (ROOT / in_repository[1]).exists():
                    broken.append((page, link))
            elif not target.startswith("http"):
                place = str((ROOT / page).parent.joinpath(target).resolve().relative_to(ROOT))
                there = texts.get(place if target else page)
                if there is None or (anchor and anchor not in map(slugify, HEADING.findall(there))):
                    broken.append((page, link))

    assert broken == []


def test_every_term_is_an_entry_and_most_lead_to_the_section_that_explains_them(
    texts: dict[str, str],
) -> None:
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs/terms.md").read_text(), re.MULTILINE)
    terms = [row.replace("`", "") for row in rows if row not in ("word", "concept", "---")]
    entries = re.findall(r"^(\S.*)\n  (.*(?:\n  .+)*)", texts["docs/terms.md"], re.MULTILINE)
    told = {term: said for term, said in entries if said.startswith("**")}

    assert sorted(told) == sorted(terms)
    assert sum("*taught in [" in said for said in told.values()) > 0.75 * len(terms)
    assert "](../notebooks/04_dispatch.ipynb#six-words)" in told["capacity"]
    assert "](../notebooks/06_load_balancing.ipynb#how-uneven-is-uneven)" in told["load"]
    assert "notebooks" not in told["open task"], "no lesson explains it"


@pytest.mark.parametrize(
    ("term", "heading", "word", "complaint"),
    [
        ("load", "How uneven was uneven?", "load", "no such section"),
        ("load", "How uneven is uneven?", "zebra", "no 'zebra' in that section"),
        ("a loads", "How uneven is uneven?", "load", "docs/terms.md does not list"),
    ],
    ids=["another heading", "another text", "another term"],
)
def test_a_way_to_a_section_that_explains_nothing_is_refused(term, heading, word, complaint):
    lesson = read_page(ROOT / "notebooks/06_load_balancing.ipynb")
    taught = {lesson.stem: {term: [heading, word]}}

    with pytest.raises(ValueError, match=complaint):
        glossary_page("| word | means |\n| --- | --- |\n| load | a share |\n", [lesson], taught)


def test_a_page_keeps_every_alternative_text(files: dict[str, bytes]) -> None:
    stored = json.loads((ROOT / "notebooks/03_router.ipynb").read_text())
    alts = [
        output["metadata"]["image/png"]["alt"]
        for cell in stored["cells"]
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]
    shown = [
        text_of(output["data"]["text/html"])
        for cell in json.loads(files["notebooks/03_router.ipynb"])["cells"]
        for output in cell.get("outputs", ())
        if "<img src" in text_of(output.get("data", {}).get("text/html", ""))
    ]

    assert len(alts) == len(shown) > 2
    assert all(outputs.escape(alt) in html for alt, html in zip(alts, shown, strict=True))
    for html in shown:
        assert "_static/" + re.search(r'_static/([^"]+)', html)[1] in files


def test_a_page_holds_no_program_no_picture_and_no_badge(files: dict[str, bytes]) -> None:
    for path, content in files.items():
        if path.endswith(".ipynb"):
            for foreign in (b"twinModel", b"image/png", b"badge.svg"):
                assert foreign not in content, path


def test_a_figure_without_an_alternative_text_is_refused() -> None:
    with pytest.raises(ValueError, match="no alternative text"):
        outputs.figure({"image/png": base64.b64encode(b"any").decode()}, {}, "_static")


def test_a_twin_keeps_its_state_and_shares_its_program() -> None:
    one, other = RouterPlayground(top_k=1), RouterPlayground(top_k=3)
    shown = [outputs.twin(widget.html(), "_static") for widget in (one, other)]

    assert shown[0].files == shown[1].files
    [(name, program)] = shown[0].files.items()
    assert f'src="_static/{name}"' in shown[0].html
    assert json.dumps(str(one._css)) in program.decode()
    for widget, piece in zip((one, other), shown, strict=True):
        state = re.search(r'<script type="application/json">(.*?)</script>', piece.html)[1]
        assert json.loads(state)["state"]["top_k"] == widget.top_k
        assert widget.words() in piece.html
        assert str(widget._esm)[:40] not in piece.html


def test_no_state_can_end_its_script_element() -> None:
    html = Granularity().html().replace('"state": {', '"state": {"x": "\\u003c/script>", ')

    assert outputs.twin(html, "_static").html.count("</script>") == 2


def test_a_twin_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="Run the lesson again"):
        outputs.twin('<div class="moe-twin"><p>old</p></div>', "_static")


def test_links_go_to_the_site_where_it_has_the_page_and_to_the_repository_elsewhere() -> None:
    links = Links(["results/README.md", "notebooks/03_router.ipynb"], URL)
    text = "[a](../notebooks/03_router.ipynb#ties) [b](../solutions/x.ipynb) [c](https://e.org)"

    assert links.mend(text, "results/README.md") == (
        f"[a](../notebooks/03_router.ipynb#ties) [b]({URL}/blob/main/solutions/x.ipynb) "
        "[c](https://e.org)"
    )
    assert links.mend("`f[grid](x)`", "docs/terms.md") == "`f[grid](x)`"
    assert links.mend("[f](../moe_teach/nn/)", "results/README.md").endswith(
        "/tree/main/moe_teach/nn)"
    )


@pytest.mark.parametrize(
    ("docstring", "shown"),
    [
        ("", ""),
        ("Mixes `x`s by |g|.", "Mixes ``x``\\ s by \\|g\\|."),
        ("Over `a\nb` lines.", "Over ``a\nb`` lines."),
        ("So:\n\n    x = 1\n\nThen.", "So:\n\n.. code-block:: python\n\n    x = 1\n\nThen."),
        ("So:\n\n    a | b", "So:\n\n.. code-block:: python\n\n    a | b\n"),
        ("So:\n\n      +--+\n     e\n", "So:\n\n.. code-block:: text\n\n      +--+\n     e\n"),
        ("Args:\n    x: one.\n\n    more of it.", "Args:\n    x: one.\n\n    more of it."),
    ],
    ids=[
        "nothing",
        "signs",
        "a span over lines",
        "code",
        "signs in code",
        "a drawing",
        "a section",
    ],
)
def test_a_docstring_is_shown_as_it_is_meant(docstring: str, shown: str) -> None:
    assert "\n".join(as_rst(docstring.split("\n"))) == shown


@pytest.mark.parametrize(
    ("signature", "shown"),
    [
        ("(files: dict = <factory>, n: int = 1)", "(files: dict = ..., n: int = 1)"),
        ("(x=<function Piece.<lambda>>, y=(<object object>, 2))", "(x=..., y=(..., 2))"),
        ("(end: str = '<eos>')", "(end: str = '<eos>')"),
    ],
)
def test_a_default_without_a_name_is_three_dots(signature: str, shown: str) -> None:
    assert readable_signature(signature) == shown


def test_writing_again_changes_nothing_and_strangers_go(tmp_path: Path) -> None:
    (tmp_path / "old.md").write_text("a page that no longer is")

    assert write(ROOT, tmp_path) > 100
    assert not (tmp_path / "old.md").exists()
    assert write(ROOT, tmp_path) == 0
