"""The gradebook and its exports: a zero is a decision, a blank is none, and nothing is lost."""

import csv
import io
import json
import sqlite3
from datetime import UTC, datetime
from unittest.mock import Mock

import pytest

from moe_teach.course.grading import batch, gradebook
from moe_teach.course.grading.batch import grade, regrade
from moe_teach.course.grading.book import book_of
from moe_teach.course.grading.exports import documents, tables
from moe_teach.course.grading.exports.changes import last_changes
from moe_teach.course.grading.exports.writing import FORMS, UngradedLeft, export, file_name
from moe_teach.course.grading.journal import Journal
from tests.course.grading.judges import CheapJudge, hand_in

EVIL = '=HYPERLINK("http://x", "y") [7]'


@pytest.fixture
def journal(tmp_path):
    made = [hand_in("Anna Berg [12]", "RIGHT"), hand_in("bo", "x"), hand_in(EVIL, "RIGHT y")]
    journal = Journal(tmp_path / "book")
    grade(made, journal, CheapJudge())
    return journal


@pytest.fixture
def with_unread(journal):
    grade([hand_in("cy", content=b"")], journal, CheapJudge())
    return journal


def book(journal):
    return book_of(journal.entries())


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def worksheet(journal):
    entries = list(journal.entries())
    return rows(tables.moodle(book_of(entries), 0, last_changes(entries)))


@pytest.fixture
def clock(monkeypatch):
    """Set the hour of a day to come."""

    def set_hour(hour):
        moment = datetime(2999, 1, 1, hour, tzinfo=UTC)
        for module in (batch, gradebook):
            monkeypatch.setattr(module, "datetime", Mock(now=lambda _: moment))
        return moment.isoformat(timespec="seconds")

    return set_hour


def ask(journal, question):
    base = sqlite3.connect(journal.folder / "gradebook.sqlite")
    try:
        return base.execute(question).fetchall()
    finally:
        base.close()


def test_the_file_of_the_gradebook_can_be_lost_and_made_again(journal):
    gradebook.set_points(journal, "bo", "0.1", 0.5, by="me", because="half of it")
    gradebook.rebuild(journal)
    everything = "select * from grades order by student, exercise"
    before = ask(journal, everything)
    (journal.folder / "gradebook.sqlite").write_bytes(b"damaged")
    gradebook.rebuild(journal)
    assert ask(journal, everything) == before
    found = ask(
        journal,
        "select points, automatic_points, because from grades "
        "where student = 'bo' and exercise = '0.1'",
    )
    assert found == [(0.5, 0.0, "half of it")]
    kinds = ask(journal, "select kind, count(*) from history group by kind order by kind")
    assert kinds == [("graded", 15), ("override", 1)]


def test_points_by_hand_outlive_a_new_hand_in_and_ask_for_a_look(journal):
    gradebook.set_points(journal, "bo", "0.1", 1, by="me", because="oral")
    grade([hand_in("bo", "other")], journal, CheapJudge())
    bo = book(journal).people["bo"]
    assert bo.grades["0.1"].points == 1
    assert "earlier hand-in" in " ".join(bo.notices)


@pytest.mark.parametrize("points", [-1, 1.5, float("nan"), float("inf")])
def test_points_that_cannot_be_had_are_refused(journal, points):
    before = journal.file.read_bytes()
    with pytest.raises(ValueError, match="has 0 to 1 points"):
        gradebook.set_points(journal, "bo", "0.1", points, by="me", because="x")
    assert journal.file.read_bytes() == before


def test_points_by_hand_need_a_reason_a_student_and_an_exercise(journal):
    with pytest.raises(ValueError, match="Say why"):
        gradebook.set_points(journal, "bo", "0.1", 1, by="me", because=" ")
    with pytest.raises(LookupError, match="Do you mean 'bo'"):
        gradebook.set_points(journal, "boo", "0.1", 1, by="me", because="x")
    with pytest.raises(LookupError, match="has no exercise"):
        gradebook.set_points(journal, "bo", "3.1", 1, by="me", because="x")


def test_a_student_is_found_without_the_number(journal):
    assert gradebook.find_person(book(journal), "anna berg").student == "Anna Berg [12]"


@pytest.mark.parametrize("typed", ["anna", "berg", "BERG anna", "ber", "12", "Änna", "Anna Borg"])
def test_a_part_of_a_name_is_answered_with_who_may_be_meant(journal, typed):
    with pytest.raises(LookupError, match=r"Do you mean 'Anna Berg \[12\]'\?$"):
        gradebook.find_person(book(journal), typed)


def test_a_name_that_nobody_is_like_is_answered_with_who_is_there(journal):
    for typed in ("zzz", "", "?"):
        with pytest.raises(LookupError, match=r"There are: '=HYPER.*, 'Anna Berg \[12\]', 'bo'\.$"):
            gradebook.find_person(book(journal), typed)


def test_a_long_message_ends_with_a_sign_that_it_goes_on(journal):
    line = next(e for e in journal.entries() if e["kind"] == "graded" and e["student"] == "bo")
    with journal.opened() as writer:
        writer.add({**line, "message": "word " * 40})
    page = gradebook.page_of(book(journal).people["bo"])
    assert "word…\n" in page
    assert max(map(len, page.splitlines())) < 140


def test_a_page_shows_points_stages_files_and_what_needs_a_look(with_unread):
    page = gradebook.page_of(book(with_unread).people["bo"])
    assert "bo: 0 of 6 points" in page
    assert "normalisation" in page
    page = gradebook.page_of(book(with_unread).people["cy"])
    assert "cy: open of" in page
    assert "The file is empty." in page


def test_the_plain_table_guards_formulas_and_leaves_blank_what_is_undecided(with_unread):
    table = rows(tables.plain(book(with_unread)))
    by_name = {row["student"]: row for row in table}
    assert list(table[0]) == [
        "student",
        "0.1",
        "0.2",
        "0.3",
        "0.4",
        "0.5",
        "total",
        "of",
        "status",
        "needs_attention",
    ]
    assert by_name["Anna Berg [12]"]["0.1"] == "1"
    assert by_name["bo"]["0.1"] == by_name["bo"]["total"] == "0"
    assert by_name["cy"]["0.1"] == by_name["cy"]["total"] == ""
    assert by_name["cy"]["status"] == "ungraded"
    assert "The file is empty." in by_name["cy"]["needs_attention"]
    assert f"'{EVIL}" in by_name


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@x", "\t=1", "\r=1", "  =1", "\n=1"])
def test_what_begins_as_a_formula_gets_a_quote(cell):
    assert tables.guarded(cell) == f"'{cell}"
    assert tables.guarded(f"a{cell}") == f"a{cell}"


def test_canvas_gets_one_assignment_a_chapter_with_its_own_numbers(with_unread):
    first, *table = rows(tables.canvas(book(with_unread)))
    column = next(name for name in first if name.startswith("Chapter 00"))
    assert (first["Student"].strip(), first[column]) == ("Points Possible", "6")
    by_name = {row["Student"]: row for row in table}
    assert (by_name["Anna Berg"]["ID"], by_name["Anna Berg"][column]) == ("12", "1")
    assert by_name["cy"][column] == ""


def test_moodle_gets_a_worksheet_with_feedback(with_unread):
    by_name = {row["Full name"]: row for row in worksheet(with_unread)}
    anna = by_name["Anna Berg"]
    assert (anna["Identifier"], anna["Grade"], anna["Maximum grade"]) == (
        "Participant 12",
        "1",
        "6",
    )
    comments = by_name["bo"]["Feedback comments"].split("<br>")
    assert comments[0] == "0.1: 0 of 1. The gates do not sum to &lt;b&gt;one&lt;/b&gt;."
    assert by_name["cy"]["Grade"] == ""


def test_moodle_gets_the_columns_without_which_it_refuses_a_worksheet(with_unread):
    columns = set(worksheet(with_unread)[0])
    assert {"Identifier", "Grade", "Last modified (grade)", "Feedback comments"} <= columns


def test_moodle_learns_when_a_grade_came_to_be_what_it_is(journal, clock):
    def told(student):
        return {row["Full name"]: row["Last modified (grade)"] for row in worksheet(journal)}[
            student
        ]

    def by_hand(points, because="x"):
        return gradebook.set_points(journal, "bo", "0.2", points, by="me", because=because)

    ends = [e["at"] for e in journal.entries() if e["kind"] == "graded" and e["student"] == "bo"]
    assert told("bo") == max(ends)
    given = clock(1)
    by_hand(1.0)
    assert told("bo") == given
    assert told("Anna Berg") == max(ends)
    taken_back = clock(2)
    by_hand(None)
    assert told("bo") == taken_back
    clock(3)
    regrade(journal, CheapJudge())
    assert told("bo") == taken_back  # the same result: what was changed in Moodle since stays
    judged_otherwise = clock(4)
    regrade(journal, CheapJudge(mended=["0.3"]))
    assert told("bo") == judged_otherwise
    clock(5)
    by_hand(1.0, because="the first reason")
    explained = clock(6)
    by_hand(1.0, because="a better one")
    assert told("bo") == explained


def test_moodle_learns_when_an_earlier_file_counts_again(journal, clock):
    def told():
        (row,) = [row for row in worksheet(journal) if row["Full name"] == "bo"]
        return row["Grade"], row["Last modified (grade)"]

    second = clock(1)
    grade([hand_in("bo", "RIGHT")], journal, CheapJudge())
    assert told() == ("1", second)
    once_more = clock(2)
    grade([hand_in("bo", "x")], journal, CheapJudge())
    assert told() == ("0", once_more)
    at_last = clock(3)
    grade([hand_in("bo", "RIGHT")], journal, CheapJudge())
    assert told() == ("1", at_last)


def test_gradescope_and_exercism_get_no_score_for_what_is_undecided(with_unread):
    people = book(with_unread).people
    anna, cy = documents.gradescope(people["Anna Berg [12]"]), documents.gradescope(people["cy"])
    assert (anna["score"], anna["tests"][0]["score"], anna["tests"][0]["status"]) == (
        1,
        1,
        "passed",
    )
    assert "score" not in cy
    assert not any("score" in test for test in cy["tests"])
    assert "The file is empty." in cy["output"]
    anna, cy = documents.exercism(people["Anna Berg [12]"]), documents.exercism(people["cy"])
    assert (anna["version"], anna["status"], cy["status"]) == (2, "fail", "error")
    assert anna["tests"][0] == {"name": "Exercise 0.1", "status": "pass"}


def test_what_is_undecided_stops_every_export_that_does_not_allow_it(with_unread, tmp_path):
    for form in FORMS:
        with pytest.raises(UngradedLeft, match="The file is empty"):
            export(book(with_unread), form, tmp_path / form)
        assert not (tmp_path / form).exists()
        files = export(book(with_unread), form, tmp_path / form, allow_ungraded=True)
        assert all(file.is_file() for file in files)
    everything = json.loads((tmp_path / "json").read_text())
    assert (everything["format"], everything["version"]) == ("moe-teach-gradebook", 1)
    assert [s["total"] for s in everything["students"]][-1] is None


def test_a_decided_book_is_exported_and_one_that_was_decided_by_hand_too(with_unread, tmp_path):
    for exercise in book(with_unread).people["cy"].grades:
        gradebook.set_points(with_unread, "cy", exercise, 0, by="me", because="never handed in")
    export(book(with_unread), "csv", tmp_path / "grades.csv")
    table = rows((tmp_path / "grades.csv").read_text("utf-8-sig"))
    assert next(row for row in table if row["student"] == "cy")["total"] == "0"


def test_files_of_students_differ_on_every_system():
    names = ["Anna", "anna", "ÅÄÖ", "🦊", "../x", "con", "a" * 300]
    files = [file_name(name) for name in names]
    assert len({file.lower() for file in files}) == len(names)
    assert all(
        file.isascii() and "/" not in file and "." not in file and len(file) < 60 for file in files
    )


def test_how_an_answer_was_judged_is_no_alarm_and_what_was_changed_is(journal):
    line = next(e for e in journal.entries() if e["kind"] == "graded" and e["student"] == "bo")
    flags = ["given earlier parts: 0.3", "Its check cell was edited."]
    with journal.opened() as writer:
        writer.add({**line, "flags": flags})
    assert book(journal).people["bo"].notices == [f"{line['exercise']}: {flags[1]}"]
