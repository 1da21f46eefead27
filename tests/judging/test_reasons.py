"""A known mistake is named where its value came out, and nowhere else."""

from moe_teach.judging.reasons import Why, likely

SLIPS = ((1.0, Why("Forgot to add.", "Add.")), (4.0, Why("Doubled.")))


def test_the_first_mistake_that_gives_the_value_is_named():
    assert likely(1.0, 2.0, SLIPS) == {"cause": "Forgot to add.", "cure": "Add."}
    assert likely(4.0, 2.0, SLIPS) == {"cause": "Doubled.", "cure": ""}


def test_an_unknown_value_gets_the_general_reason():
    assert likely(7.0, 2.0, SLIPS) == {"cause": "", "cure": ""}
    assert likely(7.0, 2.0, SLIPS, Why("Look again."))["cause"] == "Look again."


def test_a_mistake_that_is_right_here_explains_nothing():
    assert likely(4.0, 4.0, SLIPS) == {"cause": "", "cure": ""}
