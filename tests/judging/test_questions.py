"""Questions are answered with a letter or a number, and only a right answer learns the reason."""

import numpy as np
import pytest
import torch

from moe_teach.judging.questions import Question, run_question

CHOICE = Question(
    id="9.q1",
    prompt="Who decides?",
    choices={"a": "the expert", "b": "the router"},
    answer="b",
    because="Experts never choose.",
    replies={"a": "Nobody asks the expert."},
)
NUMBER = Question(id="9.q2", prompt="How much?", answer=0.276, tolerance=0.01, because="1/3.6.")


def test_an_unanswered_question_shows_itself():
    outcome = run_question(CHOICE, ...)
    assert outcome.state == "not attempted"
    assert "Who decides?" in outcome.message
    assert "b) the router" in outcome.message


@pytest.mark.parametrize("answer", ["b", " B ", "b)", "B."])
def test_the_right_letter_passes_and_is_explained(answer):
    outcome = run_question(CHOICE, answer)
    assert (outcome.state, outcome.message) == ("passed", "Experts never choose.")


def test_a_tempting_choice_gets_its_own_reply():
    assert run_question(CHOICE, "a").message == "Nobody asks the expert."


def test_a_letter_that_is_no_choice_is_told_the_choices():
    assert run_question(CHOICE, "z").message == "Choose one of the letters a, b."


@pytest.mark.parametrize(
    "answer", [0.276, 0.28, 0.266, np.float32(0.276), torch.tensor(0.276), torch.tensor([0.276])]
)
def test_numbers_pass_within_the_tolerance(answer):
    assert run_question(NUMBER, answer).state == "passed"


@pytest.mark.parametrize(("answer", "side"), [(0.3, "high"), (0.1, "low"), (5, "high, and by far")])
def test_a_wrong_number_learns_the_side_but_not_the_answer(answer, side):
    outcome = run_question(NUMBER, answer)
    assert outcome.state == "wrong"
    assert f"Too {side}." in outcome.message
    assert "0.276" not in outcome.message + outcome.expected


@pytest.mark.parametrize("answer", ["0.276", True, None, torch.ones(2), float("nan")])
def test_what_is_no_number_is_refused(answer):
    assert run_question(NUMBER, answer).state == "wrong"


def test_a_question_whose_answer_is_no_choice_cannot_be_written():
    with pytest.raises(ValueError, match="is not a choice"):
        Question(id="9.q3", prompt="?", choices={"a": "x"}, answer="b", because="")


def test_a_number_is_repeated_as_it_was_given():
    assert run_question(NUMBER, 12).got == "12"


def test_a_percentage_is_told_to_come_as_a_share():
    assert "between 0 and 1" in run_question(NUMBER, 27.6).message


def test_a_number_in_quotes_is_told_to_come_without():
    assert "without quotes" in run_question(NUMBER, "12 tokens").message


SLIPS = {0.25: "Four of sixteen is the share of what is stored.", 0.0625: "That is one expert."}


def slipped(**changes):
    facts = {"id": "9.q3", "prompt": "?", "answer": 0.5, "because": "", "misconceptions": SLIPS}
    return Question(**facts | changes)


@pytest.mark.parametrize("number", SLIPS)
def test_a_number_that_only_one_mistake_leads_to_names_it(number):
    assert run_question(slipped(), number).message == SLIPS[number]
    assert run_question(slipped(), number + 0.01).message.startswith("Too low")
    assert run_question(slipped(tolerance=0.02), number + 0.01).message == SLIPS[number]


def test_of_two_mistakes_the_nearer_one_is_named():
    assert run_question(slipped(tolerance=0.2), 0.12).message == SLIPS[0.0625]


def test_a_mistake_that_would_pass_cannot_be_written():
    with pytest.raises(ValueError, match=r"0\.25 is right"):
        slipped(tolerance=0.3)


def test_mistakes_of_a_question_with_letters_are_replies():
    with pytest.raises(ValueError, match="replies"):
        slipped(answer="a", choices={"a": "x", "b": "y"})
