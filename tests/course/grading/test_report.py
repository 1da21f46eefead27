"""The pages: figures of the class, words for each student, and nobody's text taken for HTML."""

import re
from html.parser import HTMLParser

import pytest

from moe_teach.course.grading.batch import grade
from moe_teach.course.grading.book import book_of
from moe_teach.course.grading.journal import Journal
from moe_teach.course.grading.report.class_page import class_page
from moe_teach.course.grading.report.feedback_page import feedback_page
from moe_teach.course.grading.report.statistics import item_facts, shares
from tests.course.grading.judges import CheapJudge, hand_in

ATTACK = '<img src=x onerror="alert(1)">'


@pytest.fixture
def book(tmp_path):
    made = [
        hand_in("anna", "RIGHT"),
        hand_in("bo", "x"),
        hand_in(ATTACK, "z"),
        hand_in("cy", content=b""),
    ]
    grade(made, Journal(tmp_path), CheapJudge())
    return book_of(Journal(tmp_path).entries())


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.seen, self.attributes = [], set(), set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def pages(book):
    return [class_page(book, f"Class {ATTACK}"), *map(feedback_page, book.people.values())]


def test_pages_are_whole_and_take_nobodys_text_for_html(book):
    for page in pages(book):
        tags = Tags(page)
        assert tags.open == []
        assert not tags.seen & {"img", "script", "link", "iframe", "b"}
        assert not any(name.startswith("on") for name in tags.attributes)
        assert "default-src 'none'" in page
        assert not re.search(r"(src|href)=[\"'](?!#)", page.replace("&lt;img src=x", ""))


def test_the_class_is_counted_by_exercise_stage_and_cause(book):
    first, second = item_facts(book)[:2]
    assert first.groups == {
        "passed": 1,
        "partly": 0,
        "wrong": 2,
        "broke off": 0,
        "not tried": 0,
        "undecided": 1,
    }
    assert first.success == pytest.approx(1 / 3)
    assert first.stages == [("normalisation", 2)]
    assert first.causes == [("normalisation", "Softmax over `the wrong` axis.", 2)]
    assert second.groups["not tried"] == 3
    assert shares(book) == pytest.approx([0, 0, 1 / 6])


def test_the_report_says_what_a_teacher_asks(book):
    page = class_page(book, "Monday")
    for part in ("Monday", "33 %", "normalisation", "2 of 2", "the wrong", "The file is empty."):
        assert part in page


def test_a_student_reads_the_words_of_the_checks_and_nothing_for_the_teacher(book):
    page = feedback_page(book.people["bo"])
    for part in (
        "not right yet",
        "&lt;b&gt;one&lt;/b&gt;",
        "Softmax over",
        "Use the last axis.",
        "Stage:",
    ):
        assert part in page
    assert "0.1: " not in page.replace("0.1 ", "")
    for grade_ in book.people["bo"].grades.values():
        assert str(grade_.result["seed"]) not in page
    assert "not all graded yet" in feedback_page(book.people["cy"])


def test_a_page_about_nobody_is_a_page():
    assert "Nobody" in class_page(book_of([]), "Empty")
