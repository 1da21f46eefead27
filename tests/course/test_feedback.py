"""A score is a number to graders and an escaped, deterministic card to people."""

import pickle
import re
from html.parser import HTMLParser

import pytest

from moe_teach.course.learner.feedback import Score, as_html
from moe_teach.course.learner.highlight import python_html
from moe_teach.course.learner.notes import Note
from moe_teach.judging.engine import run_exercise
from moe_teach.judging.outcome import Outcome

EVIL = "<script>alert(1)</script> & `</pre>` ```"
STATES = ("passed", "wrong", "raised", "not attempted", "course problem")


def outcome(state="wrong", **changes):
    facts = {
        "item_id": "9.1",
        "title": "Twice",
        "state": state,
        "points": 2,
        "earned": 2 if state == "passed" else 0,
        "message": "Because.",
        "stages": (("shape", "passed"), ("values", "failed")),
    }
    return Outcome(**(facts | changes))


class Balance(HTMLParser):
    """Collects the tags of a page and insists that each is closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen = [], set()
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("id", "src")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("state", STATES)
def test_a_score_is_a_number_between_zero_and_the_maximum(state):
    score = Score(outcome(state))
    assert isinstance(score, float)
    assert score == (2.0 if state == "passed" else 0.0)
    assert score.state == state


@pytest.mark.parametrize("state", STATES)
def test_every_state_speaks_by_word_and_icon(state):
    score = Score(outcome(state))
    for shown in (repr(score), score._repr_html_(), score._repr_markdown_()):
        assert state in shown
    icons = {repr(Score(outcome(s)))[0] for s in STATES}
    assert len(icons) == len(STATES)


def test_graders_read_a_plain_number(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    score = Score(outcome("passed"))
    assert repr(score) == str(score) == "2.0"


@pytest.mark.parametrize(
    "field", ["message", "expected", "got", "difference", "trace", "printed", "title", "next_step"]
)
def test_learner_text_is_escaped_everywhere(field):
    page = Score(outcome(**{field: EVIL}))._repr_html_()
    assert "<script>" not in page
    assert Balance(page).seen <= {"div", "span", "pre", "code"}


def test_the_names_and_values_of_examples_are_escaped():
    assert "<script>" not in Score(outcome(example=((EVIL, EVIL),)))._repr_html_()


def test_markdown_keeps_learner_text_inside_its_fence():
    shown = Score(outcome(got="````\n# not a heading\n````"))._repr_markdown_()
    assert "`````text\n````\n# not a heading\n````\n`````" in shown


@pytest.mark.parametrize(
    "text",
    [
        EVIL,
        "<img src=x>",
        "``<img src=x>`",
        "`` ` <img src=x>",
        "\\`<img src=x>`",
        "*a* _b_ [c](d)",
    ],
    ids=range(6),
)
def test_markdown_shows_a_title_letter_by_letter(text):
    render = pytest.importorskip("mistune").create_markdown(escape=False)
    for shown in (
        Score(outcome(title=text))._repr_markdown_().splitlines()[0],
        Note(text, text)._repr_markdown_(),
    ):
        tags = set(re.findall(r"<(\w+)", render(shown)))
        assert tags <= {"p", "strong", "code"}


@pytest.mark.parametrize("coding", ["ascii", "latin-1", "cp1252", "cp437", "utf-8", "none-such"])
@pytest.mark.parametrize("state", STATES)
def test_a_poor_terminal_gets_plain_letters(state, coding, monkeypatch):
    class Terminal:
        encoding = coding

    note = Note("Größe: ✓", "1–2 × 3")
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", Terminal())
        shown = repr(Score(outcome(state, got="ß✓"))) + repr(note)
    assert state in shown
    if coding != "none-such":
        shown.encode(coding)
    if coding in ("utf-8", "none-such"):
        assert "✓" in shown


def test_cause_and_cure_are_shown_behind_the_symptom():
    shown = repr(Score(outcome(cause="A factor.", cure="Multiply.")))
    assert shown.index("Because.") < shown.index("A factor.") < shown.index("Multiply.")
    assert "Likely cause: A factor." in shown and "To mend it: Multiply." in shown


def test_starred_words_are_slanted_and_products_and_code_stay_as_they_are():
    html = as_html(outcome(message="The *last* one: 2 * 3 * 4, f(*a, *b) and `x *y* z`."))
    assert "The <em>last</em> one: 2 * 3 * 4, f(*a, *b) and" in html
    assert "x *y* z" in html


def test_the_same_outcome_is_always_shown_in_the_same_way(double, learner):
    code = "def double(x):\n    return object()"
    shown = []
    for _ in range(2):
        score = Score(run_exercise(double, learner(code), reference=lambda _: lambda x: 2 * x))
        shown.append(repr(score) + score._repr_html_() + score._repr_markdown_())
    assert shown[0] == shown[1]
    assert not re.search(r"0x[0-9a-f]{6}", shown[0])


def test_cards_follow_the_theme_and_have_a_fallback():
    page = Score(outcome())._repr_html_()
    assert "color: inherit" in page
    for variable in re.findall(r"var\(([^)]*)\)", page):
        assert "," in variable, f"{variable} has no fallback"


def test_a_course_problem_blames_nobody_and_shows_what_to_report():
    shown = repr(Score(outcome("course problem", message="KeyError: 'x'")))
    assert "not of your code" in shown
    assert "KeyError" in shown


def test_scores_survive_pickling():
    score = pickle.loads(pickle.dumps(Score(outcome("passed"))))
    assert score == 2.0
    assert score.state == "passed"


def test_notes_are_escaped_too():
    note = Note(EVIL, EVIL, code=f"x = '{EVIL}'", header=(EVIL,), rows=((EVIL,),))
    page = note._repr_html_()
    assert "<script>" not in page
    Balance(page)


def test_highlighting_keeps_every_character():
    source = "def f(x: int) -> str:\n    # <b>\n    return f'{x}' if x < 2 else \"&\"\n"
    text = re.sub(r"<[^>]*>", "", python_html(source))
    import html

    assert html.unescape(text).strip() == source.strip()
