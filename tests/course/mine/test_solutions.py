"""Every solution of the course, run as cells of a notebook, can be carried over."""

import importlib.util

import pytest

from moe_teach.course import materials, registry
from moe_teach.course.learner.mine import parts, proving, writing
from moe_teach.judging.exercise import Exercise

has_triton = importlib.util.find_spec("triton") is not None
CHAPTERS = [c for c in registry.chapters() if has_triton or c not in (9, 10)]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_solution_of_a_chapter_becomes_a_module_and_the_quickest_passes(
    chapter, notebook, tmp_path
):
    cells = [text for role, _, text in materials.cells_of(chapter) if role in ("code", "solution")]
    session = notebook(*cells)
    exercises = [e for e in registry.load(chapter).values() if isinstance(e, Exercise)]
    for exercise in exercises:
        answer = session.namespace[exercise.name]
        body, called = writing.body_of(exercise.id, exercise.name, answer, session)
        assert called == exercise.name
        assert "check(" not in body
        text = parts.composed(exercise, body, called)
        (file := tmp_path / parts.file_of(exercise).name).write_text(text, encoding="utf-8")
        assert callable(parts.load(exercise, file))
        if exercise is exercises[0]:
            assert proving.prove(exercise, text) == ""
