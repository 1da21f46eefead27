"""The word `mine`: yours where you have one, else the course's, and honest about which."""

import pytest

from moe_teach.course import check, mine, registry
from moe_teach.course.learner.mine import parts

RIGHT = """
def route_by_rule(tokens):
    return [0 if t.isdigit() else 2 if any(c.isalnum() for c in t) else 1 for t in tokens]
"""


def have_part(text, item_id="0.1"):
    file = parts.file_of(registry.find_exercise(item_id))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_without_a_part_it_is_the_courses_and_says_so_once(capsys):
    assert check("0.1", mine("0.1")).state == "passed"
    mine("0.1")
    said = capsys.readouterr().out
    assert said == 'mine("0.1") is the course\'s own route_by_rule: you have none yet.\n'


def test_a_part_is_yours_and_nothing_is_said(capsys):
    file = have_part(RIGHT)
    assert mine("0.1").__code__.co_filename == str(file)
    assert mine("0.1") is mine("0.1")
    assert capsys.readouterr().out == ""


def test_an_edited_part_is_read_again():
    have_part(RIGHT)
    before = mine("0.1")
    have_part(RIGHT + "\nCOLOUR = 'blue'\n")
    assert mine("0.1").__globals__["COLOUR"] == "blue"
    assert mine("0.1") is not before


@pytest.mark.parametrize("text", ["def route_by_rule(:", "1 / 0", "other = 1", "raise SystemExit"])
def test_a_part_that_cannot_be_loaded_gives_way_and_says_why(text, capsys):
    have_part(text)
    assert check("0.1", mine("0.1")).state == "passed"
    assert "yours does not work today: it " in capsys.readouterr().out


@pytest.mark.parametrize("item_id", ["77.1", "0.99", "0.q1"])
def test_an_unknown_id_is_an_error_in_a_sentence(item_id):
    with pytest.raises(LookupError, match=r"\.$"):
        mine(item_id)
