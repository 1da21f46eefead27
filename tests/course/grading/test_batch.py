"""Batches: the same gradebook whatever the order, the number of processes, and the kills."""

import io
import json
import multiprocessing
import random
from dataclasses import replace

import pytest
import torch

from moe_teach.course.grading import batch as batches
from moe_teach.course.grading import crew
from moe_teach.course.grading.batch import Bar, grade, regrade
from moe_teach.course.grading.book import book_of
from moe_teach.course.grading.collect import UNREADABLE
from moe_teach.course.grading.exports import tables
from moe_teach.course.grading.gradebook import rebuild, set_points
from moe_teach.course.grading.journal import Journal, JournalError
from moe_teach.course.grading.record import Submission
from tests.course.grading.hand_ins import as_bytes, cell_of, handed_out, submission
from tests.course.grading.judges import CheapJudge, hand_in

IDS = ("0.1", "0.2", "0.3", "0.4", "0.5")


def numbered(student: str, number: int = 0, *words: str) -> Submission:
    """Answer so that the judge is done with two of three."""
    return hand_in(student, f"variant {number}", *words, "RIGHT" if number % 3 else "")


@pytest.fixture(scope="module")
def class_of_200() -> list[Submission]:
    odd = [
        hand_in("empty", content=b""),
        hand_in("cut", content=as_bytes(handed_out("00_start_here"))[:900]),
        replace(hand_in("link", content=b""), flags=(UNREADABLE + "a link was handed in.",)),
        hand_in(
            "essay",
            content=as_bytes({"cells": [{"cell_type": "code", "source": "x"}]}),
            name="x.ipynb",
        ),
        numbered("starter"),
    ]
    made = [numbered(f"student {i:03}", i, "SLOW" if i % 10 == 0 else "") for i in range(194)]
    twin = replace(made[3], student="twin")
    return [*made, twin, *odd]


def standing(journal: Journal) -> str:
    """Give all that a gradebook says, but for what the clock says."""
    book = book_of(journal.entries())
    rebuild(journal)
    clock = ("seconds", "peak_mb", "at")
    people = [
        (
            p.hand_ins,
            p.notices,
            [{k: v for k, v in g.result.items() if k not in clock} for g in p.grades.values()],
        )
        for p in book.people.values()
    ]
    return json.dumps([people, tables.plain(book)], sort_keys=True)


@pytest.fixture(scope="module")
def undisturbed(class_of_200, tmp_path_factory):
    journal = Journal(tmp_path_factory.mktemp("undisturbed"))
    grade(class_of_200, journal, CheapJudge(), jobs=1)
    return standing(journal)


def test_a_batch_leaves_nobody_out_and_depends_neither_on_order_nor_on_processes(
    class_of_200, undisturbed, tmp_path
):
    shuffled = random.Random(1).sample(class_of_200, len(class_of_200))
    told = grade(shuffled, Journal(tmp_path), CheapJudge(), jobs=2)
    assert (told.n_submissions, told.n_before, told.faults) == (200, 0, [])
    unread = [line.partition(",")[0] for line in sorted(told.problems)]
    assert unread == ["cut", "empty", "essay", "link"]
    people = book_of(Journal(tmp_path).entries()).people
    assert set(people) == {one.student for one in class_of_200}
    assert people["empty"].total is None
    assert any("same file" in notice for notice in people["twin"].notices)
    assert standing(Journal(tmp_path)) == undisturbed


def size(journal: Journal) -> int:
    return journal.file.stat().st_size if journal.file.exists() else 0


def test_a_grader_that_is_killed_again_and_again_ends_with_the_same_book(
    class_of_200, undisturbed, tmp_path
):
    draw = random.Random()  # another moment each time; the end is the same
    journal = Journal(tmp_path)
    context = multiprocessing.get_context("fork")
    for _ in range(5):
        process = context.Process(
            target=grade, args=(class_of_200, journal, CheapJudge()), kwargs={"jobs": 2}
        )
        process.start()
        enough = size(journal) + draw.randrange(50_000, 150_000)
        while process.is_alive() and size(journal) < enough:
            process.join(0.01)
        process.kill()
        process.join()
        with journal.file.open("ab") as stream:  # a line that was being written
            stream.write(b'{"kind": "graded", "stud')
    told = grade(class_of_200, journal, CheapJudge(), jobs=2)
    assert told.n_before > 0
    assert standing(journal) == undisturbed


def test_what_the_journal_knows_is_not_judged_again(tmp_path):
    made = [numbered("anna", 1), numbered("bo", 2)]
    journal = Journal(tmp_path)
    grade(made[:1], journal, CheapJudge())
    told = grade(made, journal, CheapJudge())
    assert (told.n_before, told.n_judged) == (1, 5)
    length = journal.file.stat().st_size
    assert grade(made, journal, CheapJudge()).n_judged == 0
    assert journal.file.stat().st_size == length


def test_an_answer_that_ends_the_graders_process_costs_nobody_else_anything(tmp_path):
    made = [
        numbered("anna", 1),
        numbered("bo", 1, "DEADLY"),
        numbered("cy", 1, "FAULTY"),
        numbered("di", 2),
    ]
    told = grade(made, Journal(tmp_path), CheapJudge(), jobs=2)
    book = book_of(Journal(tmp_path).entries())
    assert book.people["anna"].total == book.people["di"].total == 1
    assert (book.people["bo"].total, book.people["cy"].total) == (None, None)
    assert "status 9" in " ".join(told.faults)
    assert "a fault of ours" in " ".join(told.faults)
    # What was the grader's fault is tried again, and nothing else is.
    assert grade(made, Journal(tmp_path), CheapJudge()).n_before == 2


def test_a_judge_that_never_ends_is_ended_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(crew, "PATIENCE", 1.0)
    told = grade(
        [hand_in("bo", "STUCK"), hand_in("anna", "RIGHT")], Journal(tmp_path), CheapJudge()
    )
    assert [line for line in told.faults if "not done with it after 1 seconds" in line]
    assert book_of(Journal(tmp_path).entries()).people["anna"].total == 1


def test_the_judge_of_a_process_is_closed(tmp_path):
    grade([numbered("anna")], Journal(tmp_path), CheapJudge(log=tmp_path / "closed"))
    assert (tmp_path / "closed").exists()


@pytest.fixture
def two_students(tmp_path):
    journal = Journal(tmp_path / "book")
    grade([numbered("anna", 3), numbered("bo", 1)], journal, CheapJudge())
    return journal


def points(journal: Journal, student: str) -> dict[str, float | None]:
    return {e: g.points for e, g in book_of(journal.entries()).people[student].grades.items()}


def test_regrading_one_exercise_touches_no_other_and_keeps_what_was_given_by_hand(two_students):
    set_points(two_students, "anna", "0.2", 0.5, by="the teacher", because="a good idea")
    told = regrade(two_students, CheapJudge(mended=["0.1", "0.2", "0.3"]), only=["0.2"])
    assert (told.n_submissions, told.n_judged) == (2, 2)
    assert points(two_students, "anna") == {"0.1": 0, "0.2": 0.5, "0.3": 0, "0.4": 0, "0.5": 0}
    anna = book_of(two_students.entries()).people["anna"].grades["0.2"]
    assert (anna.status, anna.result["status"]) == ("by hand", "passed")
    set_points(two_students, "anna", "0.2", None, by="the teacher", because="no need")
    assert points(two_students, "anna")["0.2"] == 1


def test_regrading_what_has_changed_looks_at_the_checks(two_students, monkeypatch):
    assert regrade(two_students, CheapJudge(), changed=True).n_judged == 0
    as_it_is = batches.fingerprint
    monkeypatch.setattr(batches, "fingerprint", lambda e: "other" if e == "0.3" else as_it_is(e))
    told = regrade(two_students, CheapJudge(mended=["0.1", "0.3"]), changed=True)
    assert told.n_judged == 2
    assert points(two_students, "anna")["0.3"] == 1
    assert points(two_students, "anna")["0.1"] == 0
    assert regrade(two_students, CheapJudge(), changed=True).n_judged == 0


def test_regrading_everything_judges_everything_again(two_students):
    assert regrade(two_students, CheapJudge(mended=IDS)).n_judged == 10
    anna = book_of(two_students.entries()).people["anna"]
    assert {grade.points == grade.max_points for grade in anna.grades.values()} == {True}


def test_an_unknown_exercise_cannot_be_regraded(two_students):
    with pytest.raises(LookupError, match="There is no"):
        regrade(two_students, CheapJudge(), only=["0.99"])


def test_a_copy_that_was_changed_is_not_graded_as_the_students(two_students):
    file = next((two_students.folder / "handed_in").iterdir())
    file.write_bytes(b"{}")
    with pytest.raises(JournalError, match="gone or was changed"):
        regrade(two_students, CheapJudge())


def test_a_later_hand_in_of_a_chapter_takes_the_place_of_an_earlier_one(two_students):
    grade([numbered("anna", 1)], two_students, CheapJudge())
    assert points(two_students, "anna")["0.1"] == 1
    assert points(two_students, "bo")["0.1"] == 1
    grade([numbered("anna", 3), numbered("bo", 1)], two_students, CheapJudge())
    assert points(two_students, "anna")["0.1"] == 0


def test_of_two_files_of_one_chapter_the_best_answer_counts_and_a_look_is_asked_for(tmp_path):
    made = [
        numbered("anna", 1),
        numbered("anna", 3),
        hand_in("anna", content=b"[]", name="x.ipynb"),
    ]
    grade(made, Journal(tmp_path), CheapJudge())
    anna = book_of(Journal(tmp_path).entries()).people["anna"]
    assert anna.grades["0.1"].points == 1
    assert "2 files of chapter 00" in " ".join(anna.notices)
    assert anna.total is None  # the file that nobody could read may hold more


def test_an_ambiguous_answer_is_ungraded_and_is_not_judged_again_for_it(tmp_path):
    notebook = handed_out("00_start_here")
    cell = cell_of(notebook, "0.1")
    cell["metadata"] = {}
    source = "".join(cell["source"]).replace("raise NotImplementedError", "return 1")
    cell["source"] = source.replace("route_by_rule", "one")
    twin = {
        **cell,
        "source": source.replace("route_by_rule", "other").replace("return 1", "return 2"),
    }
    notebook["cells"].append(twin)
    made = [submission(notebook, "00_start_here.ipynb")]
    told = grade(made, Journal(tmp_path), CheapJudge())
    anna = book_of(Journal(tmp_path).entries()).people["anna"]
    assert (anna.grades["0.1"].status, anna.grades["0.1"].points) == ("ungraded", None)
    assert (told.faults, anna.total) == ([], None)
    assert grade(made, Journal(tmp_path), CheapJudge()).n_before == 1


def test_two_graders_do_not_write_into_one_journal(tmp_path):
    journal = Journal(tmp_path)
    with (
        journal.opened(),
        pytest.raises(JournalError, match="Another grader"),
        Journal(tmp_path).opened(),
    ):
        pass


@pytest.mark.parametrize("line", [b"{}\n", b"nonsense\n", b'["kind"]\n'])
def test_a_damaged_line_in_the_middle_is_named_and_nothing_is_thrown_away(two_students, line):
    content = two_students.file.read_bytes()
    two_students.file.write_bytes(line + content)
    with pytest.raises(JournalError, match="Line 1 "):
        list(two_students.entries())
    assert two_students.file.read_bytes() == line + content


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_bar_is_for_terminals(is_terminal):
    stream = io.StringIO()
    stream.isatty = lambda: is_terminal
    bar = Bar(2, stream)
    bar.step()
    bar.step()
    bar.close()
    assert ("2 of 2" in stream.getvalue()) == is_terminal
    assert bool(stream.getvalue()) == is_terminal


class TorchJudge(CheapJudge):
    """Multiplies with torch before it judges, large enough for several threads."""

    def judge(self, answers, only):
        torch.ones(400, 400) @ torch.ones(400, 400)
        return super().judge(answers, only)


def test_a_grader_that_used_threads_before_does_not_wait_for_ever(tmp_path):
    torch.set_num_threads(2)
    try:
        torch.ones(400, 400) @ torch.ones(400, 400)
        told = grade([hand_in("anna", "RIGHT")], Journal(tmp_path), TorchJudge())
    finally:
        torch.set_num_threads(1)
    assert told.faults == [] and told.n_judged == 5
