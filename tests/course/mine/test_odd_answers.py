"""Answers as people write them: each is carried over and does the same, or is refused in a line."""

import re
from pathlib import Path

import pytest

from moe_teach.course.learner.mine import writing

HERE = Path(__file__).parent


def cases(name):
    """Read answers from a file: each begins with its name after ===; # %% parts its cells."""
    blocks = (HERE / name).read_text(encoding="utf-8").split("=== ")[1:]
    pairs = (block.partition("\n")[::2] for block in blocks)
    return {kind: text.rstrip("\n") for kind, text in pairs}


def cells_of(text):
    return text.split("\n# %%\n")


CARRIED, REFUSED = cases("carried.txt"), cases("refused.txt")


def load(text, tmp_path):
    file = tmp_path / "part.py"
    file.write_text(text, encoding="utf-8")
    namespace = {"__name__": "part", "__file__": str(file)}
    exec(compile(text, str(file), "exec", dont_inherit=True), namespace)
    return namespace


def asked(function):
    try:
        return repr([function(3), function(3)])
    except TypeError as problem:
        return repr(problem)


@pytest.fixture(autouse=True)
def undo_changes(monkeypatch):
    import math

    monkeypatch.setattr(math, "floor", math.floor)


@pytest.mark.parametrize("kind", CARRIED)
def test_what_was_written_does_the_same_as_a_module(kind, notebook, tmp_path):
    session = notebook(*cells_of(CARRIED[kind]))
    answer = session.namespace["f"]
    text, called = writing.body_of("9.1", "f", answer, session)
    part = load(text, tmp_path)[called]
    assert asked(part) == asked(answer), text


@pytest.mark.parametrize("kind", REFUSED)
def test_what_lives_in_the_session_only_is_refused_in_a_line(kind, notebook):
    says, _, text = REFUSED[kind].removeprefix("says: ").partition("\n")
    session = notebook(*cells_of(text))
    answer = session.namespace["f"] or session.namespace["L"][0]
    with pytest.raises(writing.Refused, match=re.escape(says)) as refusal:
        writing.body_of("9.1", "f", answer, session)
    assert str(refusal.value).endswith(".")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "given", ["make(2)", "lambda x: 2 * x", "functools.partial(times, 2)", "box.go"]
)
def test_an_answer_written_into_the_call_is_found_there(given, notebook, tmp_path):
    session = notebook(
        "import functools\nhanded = []\ndef check(item_id, answer):\n    handed.append(answer)",
        "def times(k, x):\n    return k * x\ndef make(k):\n    return lambda x: times(k, x)",
        "class Box:\n    def go(self, x):\n        return 2 * x\nbox = Box()",
        f'check("9.1", {given})',
    )
    answer = session.namespace["handed"][0]
    text, called = writing.body_of("9.1", "f", answer, session)
    assert load(text, tmp_path)[called](3) == 6


def test_an_answer_that_uses_another_of_the_exercises_name_keeps_its_own(notebook, tmp_path):
    session = notebook("def f(x):\n    return x", "def better(x):\n    return 2 * f(x)")
    text, called = writing.body_of("9.1", "f", session.namespace["better"], session)
    assert called == "better"
    assert load(text, tmp_path)[called](3) == 6


def test_what_two_places_call_by_one_name_is_refused(notebook, tmp_path, monkeypatch):
    (tmp_path / "helpers_of_two.py").write_text("K = 2\ndef twice(x):\n    return K * x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    session = notebook(
        "from helpers_of_two import twice", "K = 5", "def f(x):\n    return K * twice(x)"
    )
    with pytest.raises(writing.Refused, match="`K` means one thing in the notebook and another"):
        writing.body_of("9.1", "f", session.namespace["f"], session)


def test_a_changed_constant_stands_as_it_is_today_with_the_words_of_its_cell(notebook):
    session = notebook(
        "WIDTH = 4 * 2  # two heads", "K = 3", "K += 1", "def f(x):\n    return K * WIDTH"
    )
    text, _ = writing.body_of("9.1", "f", session.namespace["f"], session)
    assert text.startswith("WIDTH = 4 * 2  # two heads\nK = 4\n")


@pytest.mark.parametrize("value", [3, {"a": [1.5, None], "b": (True,)}, "naïve", {2, 1}])
def test_an_answer_may_be_a_plain_value(value, notebook, tmp_path):
    session = notebook(f"f = {value!r}")
    text, called = writing.body_of("9.1", "f", session.namespace["f"], session)
    assert load(text, tmp_path)[called] == value


def test_a_counter_begins_where_the_notebook_began(notebook, tmp_path):
    cell = "def f(x):\n    global n\n    n += x\n    seen[x] = n\n    return len(seen), n"
    session = notebook("n = 0", "seen = {}", cell, "f(1), f(2)")
    text, _ = writing.body_of("9.1", "f", session.namespace["f"], session)
    assert load(text, tmp_path)["f"](5) == (1, 5)
