"""The same source always builds the same notebooks, fit for nbgrader and free of solutions."""

import json
import re
from pathlib import Path

import pytest

from moe_teach.course import materials, registry
from moe_teach.course.authoring import build as builder
from moe_teach.course.authoring.sources import SourceError, read
from moe_teach.judging.exercise import Exercise

LESSON = """\
# %% [markdown]
# # 09 A test
#
# A claim.

# %% tags=["nbval-check-output"]
x = 1
x

# %%
y = 2
"""

PRACTICE = '''\
# %% [markdown]
# # 09 A test: exercises

# %%
import math

# %% [markdown]
# ## Exercise 9.1: Twice
#
# Double a number.


# %%
def double(x: float) -> float:
    """Double x."""
    ### BEGIN SOLUTION
    secret_of_the_solution = x + x
    return secret_of_the_solution
    ### END SOLUTION


# %%
check("9.1", double)
'''


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, double: Exercise) -> Path:
    """A small repository with one chapter."""
    for shelf in ("notebooks", "solutions", "exercises"):
        (tmp_path / shelf).mkdir()
    (tmp_path / "notebooks" / "09_a_test.py").write_text(LESSON)
    (tmp_path / "solutions" / "09_a_test.py").write_text(PRACTICE)
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\n[project.urls]\nRepository = "https://github.com/who/what"\n'
    )
    monkeypatch.setattr(registry, "find_exercise", {"9.1": double}.__getitem__)
    return tmp_path


def notebook(clone: Path, shelf: str) -> dict:
    return json.loads(builder.build(clone)[clone / shelf / "09_a_test.ipynb"])


def source(cell: dict) -> str:
    return "".join(cell["source"])


def cell_with(nb: dict, text: str) -> dict:
    return next(cell for cell in nb["cells"] if text in source(cell))


def test_a_chapter_builds_three_notebooks(clone):
    paths = [str(path.relative_to(clone)) for path in builder.build(clone)]
    assert paths == [
        f"{shelf}/09_a_test.ipynb" for shelf in ("notebooks", "exercises", "solutions")
    ]


def test_two_builds_are_equal_byte_for_byte(clone):
    assert builder.build(clone) == builder.build(clone)


def test_one_edit_changes_one_cell(clone):
    before = notebook(clone, "notebooks")["cells"]
    path = clone / "notebooks" / "09_a_test.py"
    path.write_text(LESSON.replace("y = 2", "y = 3"))
    after = notebook(clone, "notebooks")["cells"]
    changed = [new["id"] for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 1


def test_equal_cells_get_different_ids(clone):
    path = clone / "notebooks" / "09_a_test.py"
    path.write_text(LESSON + "\n# %%\ny = 2\n\n# %%\ny = 2\n")
    ids = [cell["id"] for cell in notebook(clone, "notebooks")["cells"]]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", i) for i in ids)


def test_a_rebuild_keeps_the_outputs_of_unchanged_cells_only(clone):
    path = clone / "notebooks" / "09_a_test.ipynb"
    nb = notebook(clone, "notebooks")
    stream = {"name": "stdout", "output_type": "stream", "text": ["hello\n"]}
    for cell in nb["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [stream], 1
    path.write_text(json.dumps(nb))
    (clone / "notebooks" / "09_a_test.py").write_text(LESSON.replace("y = 2", "y = 3"))
    rebuilt = notebook(clone, "notebooks")
    assert cell_with(rebuilt, "x = 1")["outputs"] == [stream]
    assert cell_with(rebuilt, "y = 3")["outputs"] == []


def test_a_rebuild_keeps_the_seal_of_the_last_run(clone):
    path = clone / "notebooks" / "09_a_test.ipynb"
    nb = notebook(clone, "notebooks")
    nb["metadata"]["moe_teach"] = {"run": {"version": "1", "stamp": "abc"}}
    path.write_text(json.dumps(nb))
    assert notebook(clone, "notebooks")["metadata"] == nb["metadata"]


def test_tags_reach_the_notebook(clone):
    cell = cell_with(notebook(clone, "notebooks"), "x = 1")
    assert cell["metadata"] == {"tags": ["nbval-check-output"]}


def test_badges_and_set_up_use_the_projects_url(clone):
    nb = notebook(clone, "exercises")
    first = source(nb["cells"][0])
    assert first.startswith("# 09 A test: exercises\n\n[![Open in Colab]")
    assert "colab.research.google.com/github/who/what/blob/main/exercises/09_a_test.ipynb" in first
    assert "mybinder.org/v2/gh/who/what/HEAD?labpath=exercises%2F09_a_test.ipynb" in first
    assert "git+https://github.com/who/what" in source(nb["cells"][1])
    assert nb["cells"][1]["metadata"] == {"moe_teach": {"role": "setup"}}


def test_navigation_leads_to_existing_notebooks(clone):
    built = builder.build(clone)
    for path, text in built.items():
        last = source(json.loads(text)["cells"][-1])
        links = re.findall(r"\]\((\.\.[^)]*)\)", last)
        assert links
        assert all((path.parent / link).resolve() in built for link in links)


def test_the_solution_stays_out_of_the_exercise_and_in_the_solution(clone):
    exercise = json.dumps(notebook(clone, "exercises"))
    assert "secret_of_the_solution" not in exercise
    assert "BEGIN SOLUTION" not in exercise
    assert "secret_of_the_solution" in json.dumps(notebook(clone, "solutions"))
    stub = source(cell_with(notebook(clone, "exercises"), "def double"))
    assert stub.endswith('    """Double x."""\n    raise NotImplementedError')


@pytest.mark.parametrize("shelf", ["exercises", "solutions"])
@pytest.mark.parametrize(
    ("imports", "left"),
    [
        ("import math\n\nfrom moe_teach.course import check", ["import math"]),
        ("from moe_teach.course import check", []),
        ("from moe_teach.course import check, mine", ["from moe_teach.course import check, mine"]),
    ],
)
def test_what_the_set_up_has_imported_is_not_imported_again(clone, shelf, imports, left):
    text = PRACTICE.replace("import math", imports)
    (clone / "solutions" / "09_a_test.py").write_text(text)
    cells = notebook(clone, shelf)["cells"]
    assert "import check" in source(cells[1]) and "setup()" in source(cells[1])
    plain = [c for c in cells[2:] if c["cell_type"] == "code" and not c["metadata"]]
    assert [source(cell) for cell in plain] == left


def test_the_card_stands_under_the_heading(clone):
    heading = source(cell_with(notebook(clone, "exercises"), "## Exercise 9.1"))
    lines = heading.splitlines()
    assert lines[2] == "*Difficulty ●●○○○ · importance ●●●○○ · about 10 minutes · 2 points*"
    assert lines[-1] == "Double a number."


@pytest.mark.parametrize("shelf", ["exercises", "solutions"])
def test_solution_and_check_cells_carry_nbgraders_metadata(clone, shelf):
    nb = notebook(clone, shelf)
    shared = {"schema_version": 3, "task": False}
    assert cell_with(nb, "def double")["metadata"]["nbgrader"] == {
        "grade": False,
        "grade_id": "solution-9-1",
        "locked": False,
        "solution": True,
        **shared,
    }
    assert cell_with(nb, 'check("9.1"')["metadata"]["nbgrader"] == {
        "grade": True,
        "grade_id": "check-9-1",
        "locked": True,
        "points": 2,
        "solution": False,
        **shared,
    }


def test_our_own_metadata_stand_under_our_own_key(clone, double):
    nb = notebook(clone, "exercises")
    mine = cell_with(nb, "def double")["metadata"]["moe_teach"]
    assert mine["exercise"] == "9.1"
    assert mine["version"] == double.version
    assert re.fullmatch("[0-9a-f]{8}", mine["starter"])


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (("    ### END SOLUTION\n", ""), "needs its"),
        (('check("9.1", double)', "pass"), "no check cell after it"),
        (('check("9.1", double)', 'check("9.1", triple)'), "defined nowhere"),
        (('check("9.1", double)', 'x = check("9.1", double)'), "stands alone"),
        (("# # 09 A test", "# 09 A test"), "begin with"),
    ],
)
def test_a_source_that_breaks_a_rule_is_refused_in_a_sentence(clone, edit, words):
    path = clone / "solutions" / "09_a_test.py"
    path.write_text(PRACTICE.replace(*edit))
    with pytest.raises(SourceError, match=words):
        read(path)


def test_notebooks_without_a_source_are_found(clone):
    stray = clone / "exercises" / "10_stray.ipynb"
    stray.write_text("{}")
    assert builder.unwanted(clone, builder.build(clone)) == [stray]


def test_a_region_inside_a_method_keeps_its_indent():
    code = "class A:\n    def f(self):\n        ### BEGIN SOLUTION\n        return 1\n"
    code += "        ### END SOLUTION\n\n    def g(self):\n        return 2"
    stub = "class A:\n    def f(self):\n        raise NotImplementedError\n\n"
    assert materials.starter_of(code) == stub + "    def g(self):\n        return 2"
    assert "###" not in materials.without_markers(code)


def test_a_cell_to_play_with_is_shown_to_the_reader_and_run_by_nobody_else(clone: Path) -> None:
    play = '\n\n# %% tags=["play"]\nprint(double(1) / 0)\n'
    (clone / "solutions" / "09_a_test.py").write_text(PRACTICE + play)
    built = builder.build(clone)
    for shelf in ("exercises", "solutions"):
        last = json.loads(built[clone / shelf / "09_a_test.ipynb"])["cells"][-2]
        assert last["source"] == ["print(double(1) / 0)"]
        assert last["metadata"] == {"moe_teach": {"role": "play"}}

    cells = [
        (c.role, c.item_id, c.source) for c in read(clone / "solutions" / "09_a_test.py").cells
    ]
    assert "double" in materials.build_namespace([c for c in cells if c[0] in ("solution", "play")])


def test_a_second_page_of_a_chapter_shares_its_exercises(clone: Path) -> None:
    text = LESSON.replace("# # 09 A test", "# # 09b More of it")
    (clone / "notebooks" / "09b_more.py").write_text(text)
    built = builder.build(clone, (9,))
    assert clone / "notebooks" / "09b_more.ipynb" in built
    assert not any(path.match("exercises/09b*") for path in built)
    onward = json.loads(built[clone / "notebooks" / "09b_more.ipynb"])["cells"][-1]["source"]
    assert "../exercises/09_a_test.ipynb" in "".join(onward)
    first = json.loads(built[clone / "notebooks" / "09_a_test.ipynb"])["cells"][-1]["source"]
    assert "[09b More of it](../notebooks/09b_more.ipynb) →" in "".join(first)


def test_a_page_with_another_letter_than_a_second_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "09a_test.py"
    path.write_text(LESSON)
    with pytest.raises(SourceError, match="called NN_slug"):
        read(path)
