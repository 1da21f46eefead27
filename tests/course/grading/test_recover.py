"""Recovering: what editors, mail and people do to a notebook costs nobody an answer."""

import copy
import json

import pytest

from moe_teach.course.grading.recover import recover
from tests.course.grading.hand_ins import as_bytes, cell_of, handed_out, solved, submission

IDS = tuple(f"3.{n}" for n in range(1, 9))


def found(content, name="03_router.ipynb"):
    return recover(submission(content, name))


def answered(answers):
    ids = [cell.exercise for cell in answers.cells if cell.exercise]
    return [item_id for item_id in ids if item_id not in answers.untouched]


def text_of(answers, item_id):
    return next(cell.source for cell in answers.cells if cell.exercise == item_id)


def said(answers, item_id=""):
    return " ".join(answers.flags.get(item_id, ()))


def code(source, metadata=None):
    return {"cell_type": "code", "metadata": metadata or {}, "outputs": [], "source": source}


def test_a_starter_is_untouched_and_a_solution_is_found_without_a_flag():
    assert found(handed_out("03_router")).untouched == IDS
    answers = found(solved())
    assert (answered(answers), answers.missing, answers.untouched) == (list(IDS), (), ())
    assert answers.flags == {}
    assert not any("check(" in cell.source for cell in answers.cells)


@pytest.mark.parametrize(
    "mangle",
    [
        lambda text: "\ufeff".encode() + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-16-be"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\\n", "\\r\\n").encode(),
        lambda text: text.encode() + b"\n\n-- \nsent from my phone",
        lambda text: text.encode() + b"\0\0\0",
        lambda text: text.replace('"python3"', '"julia-1.9"').encode(),
        lambda text: text.replace('"nbformat": 4', '"nbformat": 9').encode(),
        lambda text: text.replace('"metadata": {}', '"metadata": {"x": NaN, "x": 1}').encode(),
        lambda text: text.replace('"outputs": []', '"outputs": [{"text": "caf\xe9"}]').encode(
            "latin-1", "replace"
        ),
    ],
    ids=[
        "mark",
        "utf-16",
        "utf-16-be",
        "crlf",
        "crlf in cells",
        "trailing text",
        "zeros",
        "kernel",
        "nbformat 9",
        "NaN, twice",
        "latin-1",
    ],
)
def test_a_mangled_file_is_mended_and_read_in_full(mangle):
    answers = found(mangle(json.dumps(solved(), indent=1)), "moe (1).ipynb")
    assert (answers.problem, answered(answers)) == ("", list(IDS))


def test_a_notebook_of_format_three_is_read():
    notebook = solved()
    for cell in notebook["cells"]:
        cell["input"] = cell.pop("source")
    old = {"nbformat": 3, "metadata": {}, "worksheets": [{"cells": notebook["cells"]}]}
    answers = found(old)
    assert answered(answers) == list(IDS)
    assert "format 3" in said(answers)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"\0" * 100, "empty"),
        (b"[]", "no cells"),
        (b"{}", "no cells"),
        (b'"text"', "no cells"),
        (b"PK\x03\x04rest", "renamed"),
        (as_bytes(solved())[:3000], "middle"),
        (b"\x89PNG\r\n", "does not begin"),
        (b"[" * 100_000, "deeper"),
        (b'{"cells": "none"}', "no cells"),
        (b'{"cells": [1, null, {"source": 3}]}', "no cells with text"),
        (
            json.dumps(solved(), indent=1)
            .replace(' "cells"', "<<<<<<< HEAD\n\n=======\n>>>>>>> b\n", 1)
            .encode(),
            "merge",
        ),
        (b'{"cells": [{"x": ' + b"9" * 5000 + b"}]}", "JSON breaks off"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(content, word):
    answers = found(content)
    assert word in answers.problem
    assert answers.problem.endswith((".", "again."))
    assert (answers.cells, answers.missing, answers.untouched, answers.chapter) == ((), (), (), 3)


def test_a_notebook_of_nothing_of_ours_is_a_problem_and_not_zeros():
    answers = found({"cells": [code("print(1)")], "nbformat": 4}, "essay.ipynb")
    assert (answers.chapter, answers.missing) == (-1, ())
    assert "no chapter" in answers.problem
    answers = found({"cells": [code("print(1)")], "nbformat": 4})
    assert "No answer to any exercise of chapter 03" in answers.problem


@pytest.mark.parametrize("mark", [None, "everything", [], {"moe_teach": "x", "nbgrader": 3}])
def test_answers_are_found_by_name_when_all_marks_are_lost(mark):
    notebook = solved()
    for cell in notebook["cells"]:
        cell["metadata"] = mark
    answers = found(notebook, "Untitled.ipynb")
    assert (answered(answers), answers.missing) == (list(IDS), ())
    assert all("found by its name" in said(answers, i) for i in IDS)


def test_answers_are_found_by_the_marks_of_nbgrader():
    notebook = solved()
    for cell in notebook["cells"]:
        cell["metadata"].pop("moe_teach", None)
    answers = found(notebook, "x.ipynb")
    assert answered(answers) == list(IDS)
    assert answers.flags == {}


def test_a_renamed_answer_is_found_by_its_mark_by_its_check_or_by_likeness():
    notebook = solved(only=["3.1"])
    cell = cell_of(notebook, "3.1")
    cell["source"] = "".join(cell["source"]).replace("def topk_route", "def my_route")
    for metadata in (cell["metadata"], {}):
        cell["metadata"] = metadata
        answers = found(notebook)
        assert answered(answers) == ["3.1"]
        assert text_of(answers, "3.1").endswith("topk_route = my_route")
        assert "`my_route` was taken" in said(answers, "3.1")


def test_two_answers_that_are_equally_alike_stay_ungraded():
    notebook = solved(only=["3.1"])
    cell = cell_of(notebook, "3.1")
    cell["metadata"] = {}
    source = "".join(cell["source"])
    cell["source"] = source.replace("def topk_route", "def first_try")
    notebook["cells"].append(code(source.replace("def topk_route", "def second_try")))
    answers = found(notebook)
    assert "choose by hand" in answers.unclear["3.1"]
    assert "3.1" not in answers.missing


def test_the_last_of_several_answers_counts_and_a_starter_below_does_not():
    notebook = solved(only=["3.1"])
    place = notebook["cells"].index(cell_of(notebook, "3.1"))
    twin = copy.deepcopy(notebook["cells"][place])
    notebook["cells"].insert(place + 1, twin)
    assert "is there 2 times" in said(found(notebook), "3.1")
    twin["source"] = "def topk_route(logits, top_k, normalize_gates=True):\n    return 2"
    answers = found(notebook)
    assert next(c.source for c in answers.cells if c.exercise == "3.1") == twin["source"]
    assert "written 2 times" in said(answers, "3.1")
    twin["source"] = cell_of(handed_out("03_router"), "3.1")["source"]
    answers = found(notebook)
    assert answered(answers) == ["3.1"]
    assert "NotImplementedError" not in "".join(c.source for c in answers.cells[:2])


def test_an_answer_written_in_a_cell_below_its_starter_counts():
    notebook = handed_out("03_router")
    notebook["cells"].append(code("def topk_route(*_):\n    return 1"))
    answers = found(notebook)
    assert (answered(answers), "3.1" in answers.untouched) == (["3.1"], False)
    assert "no mark" in said(answers, "3.1")


def test_check_cells_are_only_ever_looked_at():
    notebook = solved()
    cell_of(notebook, "3.1", "check")["metadata"]["nbgrader"]["points"] = 50
    cell_of(notebook, "3.2", "check")["source"] = "1 / 0"
    cell_of(notebook, "3.3", "check")["cell_type"] = "markdown"
    notebook["cells"].remove(cell_of(notebook, "3.4", "check"))
    answers = found(notebook)
    assert answered(answers) == list(IDS)
    words = {"3.1": "says 50 points", "3.2": "edited", "3.3": "markdown", "3.4": "gone"}
    assert all(word in said(answers, i) for i, word in words.items())
    assert not any("1 / 0" in cell.source for cell in answers.cells)


def test_an_answer_in_a_cell_that_was_turned_into_markdown_still_counts():
    notebook = solved()
    cell_of(notebook, "3.1")["cell_type"] = "markdown"
    answers = found(notebook)
    assert answered(answers) == list(IDS)
    assert "of kind markdown" in said(answers, "3.1")


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ("%matplotlib inline\nA = 1", "A = 1"),
        ("A = 1\n!pip install x\nif A:\n    %time f()\n    A = 2", "A = 2"),
        ("%%time\nA = 1", "A = 1"),
        ("%%capture out\n%load_ext x\nA = 1", "A = 1"),
        ("files = !ls\nA = 1", "A = 1"),
        ("A = 1\nlen?", "A = 1"),
        ('check("3.1", topk_route); A = 1', "A = 1"),
        ("get_ipython().system('ls')\nA = 1", "A = 1"),
    ],
)
def test_magics_and_verbs_are_taken_out_and_the_python_stays(written, left):
    notebook = solved(only=["3.1"])
    cell = cell_of(notebook, "3.1")
    cell["source"] = "".join(cell["source"]) + "\n    return A\n"
    notebook["cells"].insert(3, code(written))
    texts = [c.source for c in found(notebook).cells]
    assert any(text.strip().endswith(left) for text in texts)
    assert not any("get_ipython" in text or "!" in text for text in texts)


def test_a_magic_in_an_answer_costs_nothing_but_a_flag():
    notebook = solved(only=["3.1"])
    cell = cell_of(notebook, "3.1")
    cell["source"] = "%%time\n" + "".join(cell["source"])
    answers = found(notebook)
    assert answered(answers) == ["3.1"]
    assert text_of(answers, "3.1").startswith("def topk_route")
    assert "Magics" in said(answers)


def test_a_broken_answer_is_handed_on_to_be_judged():
    notebook = solved()
    cell_of(notebook, "3.2")["source"] = "def noisy_topk_route(:\n    return"
    answers = found(notebook)
    assert answered(answers) == list(IDS)


def test_helpers_come_along_and_trials_stay_behind():
    notebook = solved(only=["3.1"])
    cell = cell_of(notebook, "3.1")
    cell["source"] = "def topk_route(*given):\n    return helper(given)"
    more = [
        "SIZE = 3\nBIG = []",
        "BIG.append(1)",
        "def helper(x):\n    return SIZE, BIG, np.ones(1)",
    ]
    trials = ["while True: pass", "input('?')", "print(topk_route(1))", "other = 1 / 0"]
    notebook["cells"][3:3] = [code(text) for text in ["import numpy as np", *more, *trials]]
    texts = [c.source for c in found(notebook).cells]
    joined = "\n".join(texts)
    assert all(
        line in joined for line in ["SIZE = 3", "BIG.append(1)", "def helper", "numpy as np"]
    )
    assert not any(trial in joined for trial in trials)


def test_cells_of_another_chapter_are_named_and_not_graded_here():
    notebook = solved()
    notebook["cells"].append(cell_of(solved("04_dispatch"), "4.3"))
    answers = found(notebook)
    assert (answers.chapter, answered(answers)) == (3, list(IDS))
    assert "cells of 4.3" in said(answers)


def test_a_script_exported_from_a_notebook_is_read():
    cells = solved()["cells"]
    percent = "\n\n".join(
        ("# %% [markdown]\n# " if c["cell_type"] == "markdown" else "# %%\n") + "".join(c["source"])
        for c in cells
        if c["cell_type"] == "code"
    )
    exported = percent.replace("# %%\n", "# In[3]:\n\n\n")
    for text in (percent, exported, percent.replace("# %%\n", "")):
        answers = found(text.encode(), "03_router.py")
        assert answered(answers) == list(IDS)
        assert "script" in said(answers)


def test_halves_of_signs_and_odd_cells_are_no_obstacle():
    notebook = solved()
    cell = cell_of(notebook, "3.1")
    cell["source"] = [*cell["source"], "\n# \ud800 half a sign\n", 3, None]
    notebook["cells"][0] = {"cell_type": 7, "source": None, "metadata": "odd"}
    notebook["cells"][1] |= {"metadata": {"moe_teach": {"role": ["x"], "exercise": 3.1}}}
    answers = found(notebook)
    assert answered(answers) == list(IDS)
    assert all(cell.source.encode() for cell in answers.cells)


def test_five_thousand_cells_are_read():
    notebook = solved()
    notebook["cells"] += [code(f"x{i} = {i}\nprint(x{i})") for i in range(5000)]
    answers = found(notebook)
    assert answered(answers) == list(IDS)
    assert len(answers.cells) < 20


def test_a_starter_of_an_older_course_is_known_by_its_hash_and_said_to_be_old():
    notebook = handed_out("03_router")
    cell = cell_of(notebook, "3.1")
    cell["source"] = "def topk_route(scores):\n    raise NotImplementedError"
    from moe_teach.course.grading.asked import short_hash

    cell["metadata"]["moe_teach"] |= {"starter": short_hash(cell["source"]), "version": 0}
    answers = found(notebook)
    assert answers.untouched == IDS
    assert "version 0" in said(answers, "3.1")


def test_comments_in_a_starter_are_no_answer_and_one_line_of_code_is():
    notebook = handed_out("03_router")
    cell = cell_of(notebook, "3.1")
    starter = "".join(cell["source"])
    cell["source"] = starter.replace("    raise", "    # I do not know.\n\n    raise")
    assert "3.1" in found(notebook).untouched
    cell["source"] = starter.replace("    raise", "    x = 1\n    raise")
    assert answered(found(notebook)) == ["3.1"]


def test_an_answer_that_is_imported_is_flagged():
    notebook = solved(only=[])
    cell_of(notebook, "3.1")["source"] = "from somewhere import topk_route"
    answers = found(notebook)
    assert answered(answers) == ["3.1"]
    assert "imported, not written" in said(answers, "3.1")


def test_a_cell_that_is_nested_without_end_is_a_problem_of_its_file():
    notebook = solved()
    cell_of(notebook, "3.1")["source"] = "def topk_route(x):\n    return " + "-" * 20_000 + "x"
    answers = found(notebook)
    assert "deeper" in answers.problem or "3.1" in answered(answers)


def test_helpers_that_need_each_other_in_a_long_chain_are_all_found():
    notebook = solved(only=["3.1"])
    cell_of(notebook, "3.1")["source"] = "def topk_route(x):\n    return x2000"
    chain = [code(f"x{i} = x{i - 1}") for i in range(1, 2001)]
    notebook["cells"][3:3] = [code("x0 = 1"), *chain]
    texts = {cell.source for cell in found(notebook).cells}
    assert texts >= {"x0 = 1", *(cell["source"] for cell in chain)}


def test_what_the_chapter_gives_stays_even_where_no_answer_reads_it():
    notebook = solved(only=["3.1"])
    cell_of(notebook, "3.1")["source"] = "def topk_route(*_):\n    return 1"
    joined = "\n".join(cell.source for cell in found(notebook).cells)
    assert "from torch.nn.functional import softplus" in joined
