"""A page is sealed by a run; whatever is mixed in afterwards breaks the seal."""

import copy
import json
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from moe_teach.course.authoring.build import stored_run, write
from moe_teach.course.authoring.execute import execute
from moe_teach.course.authoring.seal import broken_seal, seal_of, stored_seal
from moe_teach.course.authoring.sources import Cell


def page(*printed: str) -> dict:
    """A page whose code cells printed these lines, sealed as after a run."""
    cells = [v4.new_markdown_cell("# A page")]
    for number, line in enumerate(printed):
        output = v4.new_output("stream", name="stdout", text=line)
        cells.append(v4.new_code_cell(f"show({number})", outputs=[output], execution_count=number))
    notebook = json.loads(nbformat.writes(v4.new_notebook(cells=cells)))
    notebook["metadata"]["moe_teach"] = {"run": seal_of(notebook)}
    return notebook


def test_a_page_as_it_was_run_holds() -> None:
    assert broken_seal(page("one\ntwo\n", "three\n")) == ""


def test_text_may_change_and_so_may_the_numbers_of_execution() -> None:
    changed = page("one\n")
    changed["cells"][0]["source"] = ["# Another title\n", "\n", "and text"]
    changed["cells"][1]["execution_count"] = 7
    assert broken_seal(changed) == ""


def test_an_output_of_another_run_breaks_the_seal() -> None:
    mixed, other = page("12 ms\n", "a figure of 12 ms\n"), page("15 ms\n", "a figure of 15 ms\n")
    mixed["cells"][2]["outputs"] = other["cells"][2]["outputs"]
    assert "do not come from the run" in broken_seal(mixed)


def test_edited_code_and_a_lost_output_break_the_seal() -> None:
    edited, emptied = page("one\n"), page("one\n")
    edited["cells"][1]["source"] = "show(8)"
    emptied["cells"][1]["outputs"] = []
    assert broken_seal(edited) and broken_seal(emptied)


def test_the_seal_of_another_version_does_not_hold() -> None:
    old = page("moe_teach 0.0.1\n")
    old["metadata"]["moe_teach"]["run"] = seal_of(old, version="0.0.1")
    assert "run by version 0.0.1" in broken_seal(old)


def test_a_page_that_was_never_run_has_no_seal() -> None:
    fresh = page("one\n")
    del fresh["metadata"]["moe_teach"]
    assert stored_seal(fresh) is None
    assert broken_seal(fresh) == "It was never run as a whole."


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "page.ipynb"
    path.write_text(write([Cell("markdown", "# A page"), Cell("code", "print('a')\nprint('b')")]))
    return path


def test_a_run_seals_the_page_and_a_rebuild_keeps_the_seal(path: Path) -> None:
    text, _ = execute(path)
    path.write_text(text)
    assert broken_seal(json.loads(text)) == ""

    outputs, seal = stored_run(path)
    cells = [Cell("markdown", "# New text"), Cell("code", "print('a')\nprint('b')")]
    rebuilt = json.loads(write(cells, outputs, seal))
    assert broken_seal(rebuilt) == ""

    cells[1] = Cell("code", "print('c')")
    assert broken_seal(json.loads(write(cells, outputs, seal)))


def test_two_runs_that_store_the_same_have_the_same_seal() -> None:
    first = page("one\n")
    assert seal_of(first) == seal_of(copy.deepcopy(first))
