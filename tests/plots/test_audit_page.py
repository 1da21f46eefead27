"""The page of an audit: whole, alone, without colour alone, and the same bytes every time."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from moe_teach.analysis.audit.report import AuditReport, Closed, Crowd, LayerView, Turn, Word
from moe_teach.analysis.specialisation.intervals import Interval
from moe_teach.plots.audit_page import audit_page, busiest


def report_of(**changed) -> AuditReport:
    view = LayerView(
        name="layer 0",
        expert_ids=((2, 0), (1, 2), (2, 1)),
        gates=((0.7, 0.3), (0.6, 0.4), (0.5, 0.5)),
        margins=(0.2, 0.001, 0.1),
        load=(0.2, 0.3, 0.5),
        words=((), (Word("<b>", 0.75, 4),), (Word(" ", 1.0, 9),)),
        margin_points=(0.01, 0.05, 0.1, 0.2, 0.4),
        close_calls=0.25,
        choice_bits=1.5,
        token_bits=1.2,
        token_chance=0.4,
    )
    turns = (Turn("a <", "b", "c", "<i>", 1.25),)
    record = AuditReport(
        model="m <script>",
        weights_digest="ab" * 32,
        text="t&t.txt",
        text_digest="cd" * 32,
        n_experts=3,
        top_k=2,
        n_tokens=1234,
        n_windows=10,
        window=123,
        n_left_out=7,
        loss=2.5,
        tokens=("a<", "\n", " b"),
        layers=(view, replace(view, name="layer 1", load=(0.6, 0.3, 0.1))),
        closed=(
            Closed(0, 2, "busiest", 0.5, 0.1, Interval(0.1, 0.05, 0.2, 0.95), 0.33, turns),
            Closed(0, 1, "middling", 0.3, -0.01, Interval(-0.01, -0.05, 0.02, 0.95), 0.05, ()),
            Closed(1, 0, "busiest", 0.6, 0.05, None, 0.2, ()),
        ),
        not_closed="",
        drops=False,
        crowds=(Crowd(None, 0.0, 0.0, 0.0, 0.0), Crowd(1.0, 0.3, 0.2, 0.15, 0.55)),
        flood_word=" ",
    )
    return replace(record, **changed)


class Reader(HTMLParser):
    """Checks that tags close in their order, and collects ids, pictures and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.ids, self.words, self.described = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        if tag == "svg":
            self.described.append(dict(attrs)["aria-label"])
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style",):
            self.words.append(data)


def read(report: AuditReport) -> tuple[Reader, str]:
    reader = Reader()
    reader.feed(audit_page(report))
    assert reader.open == []
    return reader, " ".join(" ".join(reader.words).split())


def test_the_page_is_whole_and_asks_nothing_of_anyone():
    html = audit_page(report_of())
    reader, _ = read(report_of())
    assert len(reader.ids) == len(set(reader.ids))
    assert not re.search(r"<script|https?:|url\(|@import|<link|<img", html)
    assert "default-src 'none'" in html
    assert html == audit_page(report_of())


def test_words_of_the_text_are_never_markup():
    html = audit_page(report_of())
    for raw in ("<script>", "<b></", "<i></span", "a<<"):
        assert raw not in html
    assert "m &lt;script&gt;" in html
    assert "t&amp;t.txt" in html


def test_the_numbers_of_the_record_stand_on_the_page():
    _, words = read(report_of())
    for told in (
        "1,234",
        "number 0 of layer 1: 60.0% of the choices there, 1.8 times an even share",
        "Between 25% and 25% of the choices",
        "number 2 of layer 0 is missed most: without it the loss rises by 0.100",
        "takes 1.50 bits to say",
        "settles 1.20 of them; tokens dealt out at random would seem to settle 0.40, so about 0.80",
        "3 of 4",
        "+0.0500 to +0.2000",
        "−0.0500 to +0.0200",
        "one window only",
        "capacity × 1 30.0% 20.0% 15.0% 55.0%",
        "the last 7 were left out",
        "ab" * 32,
        "cd" * 32,
    ):
        assert told in words, told
    assert busiest(report_of()) == (1, 0, 0.6)


def test_every_token_names_its_expert_in_words():
    html = audit_page(report_of())
    tokens = re.findall(
        r'<span class="t e(\d)( close)?" title="([^"]*)"><b>(.*?)</b><i>(\d)</i>', html
    )
    assert len(tokens) == 6
    for colour, _, told, _, number in tokens:
        assert colour == number
        assert told.startswith(f"expert {number} (")
    assert [bool(close) for _, close, *_ in tokens] == [False, True, False] * 2
    assert [seen for *_, seen, _ in tokens[:3]] == ["a&lt;", "↵", " b"]


def test_every_picture_says_what_it_shows():
    reader, _ = read(report_of())
    assert len(reader.described) == 5
    loads, *_, margins, damage, crowd = reader.described
    assert "expert 2, has 50.0%" in loads
    assert "layer 0: median 0.100" in margins
    assert "layer 0 without its busiest expert +0.100" in damage
    assert "capacity × 1: 15.0% beside other texts, 55.0% in a flood" in crowd


def test_the_verdict_about_neighbours_follows_the_numbers():
    assert "Nothing: this model drops no tokens." in read(report_of())[1]
    crowds = (Crowd(None, 0.1, 0.2, 0.25, 0.5),)
    limited = read(report_of(drops=True, crowds=crowds))[1]
    assert "Nothing:" not in limited
    assert "experts can be full. Other texts beside it changed 25.0%" in limited
    assert "Its neighbours in a batch can change up to 50% of its predictions." in limited
    lucky = read(report_of(drops=True))[1]
    assert "Nothing:" not in lucky
    assert "though experts may be full here" in lucky


def test_a_page_without_some_of_it_is_a_page():
    words = read(report_of(closed=(), not_closed="They stand in a table."))[1]
    assert "This could not be tried. They stand in a table." in words
    everyone = tuple(
        replace(view, margins=(float("inf"),) * 3, margin_points=(float("inf"),) * 5)
        for view in report_of().layers
    )
    assert "nobody was left out" in read(report_of(layers=everyone))[1]
    even = Crowd(None, 0.0, 0.0, 0.0, 0.0)
    flat = replace(report_of().closed[2], rise=0.0)
    assert "No prediction changed" in read(report_of(closed=(flat,), crowds=(even,)))[1]


@pytest.mark.parametrize("n_experts", [1, 64])
def test_one_expert_and_many_have_their_bars(n_experts):
    load = (1 / n_experts,) * n_experts
    view = replace(
        report_of().layers[0],
        load=load,
        words=((),) * n_experts,
        expert_ids=((0,),) * 3,
        gates=((1.0,),) * 3,
    )
    html = audit_page(report_of(n_experts=n_experts, top_k=1, layers=(view,), closed=()))
    assert html.count('<rect class="bar') == n_experts
