"""Numeric questions answer the mistake behind a number, and no number has two of them."""

import pytest

from moe_teach.course import registry
from moe_teach.judging.questions import Question, run_question

QUESTIONS = [
    item
    for chapter in registry.chapters()
    for item in registry.load(chapter).values()
    if isinstance(item, Question) and item.misconceptions
]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.id)
def test_each_number_of_a_misconception_gets_its_own_sentence(question: Question) -> None:
    for number, sentence in question.misconceptions.items():
        outcome = run_question(question, number)
        assert (outcome.state, outcome.message) == ("wrong", sentence)


def test_the_numbers_that_learners_gave_are_known() -> None:
    given = {"3.q2": 1, "4.q2": 2048, "4.q3": 0, "5.q2": 1280, "6.q2": 2.6, "7.q2": 35960}
    known = {question.id: question.misconceptions for question in QUESTIONS}
    assert all(number in known[name] for name, number in (given | {"10.q1": 512}).items())
