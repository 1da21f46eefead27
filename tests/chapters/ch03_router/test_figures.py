"""What the figures about one router say in words and numbers."""

import numpy as np
import pytest

from moe_teach.chapters.ch03_router.figures import (
    audit_and_entropy,
    audit_label,
    training_by_rule,
    walk_across_a_tie,
)
from moe_teach.plots.style import MAX_BYTES, to_png

KS = (1, 2)
NORMS = {"all experts": [0.12, 0.1], "chosen only": [0.0, 0.11], "renormalised": [2e-8, 0.11]}


@pytest.fixture
def signature():
    temperatures = np.geomspace(0.1, 10, 5)
    return audit_and_entropy(NORMS, KS, temperatures, {"k = 2": [0, 0.2, 0.5, 0.8, 1]})


def test_an_exact_zero_and_rounding_are_named_apart():
    assert audit_label(0.0, 0.1).startswith("0\nexactly")
    assert "rounding" in audit_label(2e-8, 0.1)
    assert audit_label(0.12, 0.12) == "0.12"


def test_every_cell_of_the_audit_carries_its_number(signature):
    texts = [text.get_text() for text in signature.axes[0].texts]

    assert len(texts) == len(NORMS) * len(KS)
    assert sum("exactly" in text for text in texts) == 1
    assert sum("rounding" in text for text in texts) == 1


def test_dead_cells_are_hatched_and_not_only_coloured(signature):
    hatched = [patch for patch in signature.axes[0].patches if patch.get_hatch()]

    assert len(hatched) == 2


def test_living_cells_all_look_alike_because_only_zero_or_not_is_the_claim(signature):
    living = [patch for patch in signature.axes[0].patches if not patch.get_hatch()]

    assert len(living) == 4
    assert len({patch.get_facecolor() for patch in living}) == 1
    assert len(signature.axes) == 2  # no colour bar


def test_an_audit_without_any_gradient_still_draws():
    drawing = audit_and_entropy({"detached": [0.0, 0.0]}, KS, [1, 2], {"k = 2": [0.5, 0.6]})

    assert [text.get_text() for text in drawing.axes[0].texts] == ["0\nexactly"] * 2
    assert len(to_png(drawing)) <= MAX_BYTES


def test_axes_are_labelled(signature):
    walk = walk_across_a_tie([0, 1], {"top-1": [0, 1], "dense": [0, 1]}, [0.2, 0.1])
    training = training_by_rule({"a": [0.1, 0.2, 0.3], "b": [0.4, 0.5, 0.6]})

    assert all(axes.get_ylabel() for axes in walk.axes)
    assert walk.axes[-1].get_xlabel()
    assert training.axes[0].get_ylabel()
    assert signature.axes[0].get_xlabel() and signature.axes[1].get_xlabel()


def test_training_draws_one_mark_per_seed():
    drawing = training_by_rule({"a": [0.1, 0.2, 0.3], "b": [0.4, 0.5, 0.6]})

    assert [len(line.get_xdata()) for line in drawing.axes[0].lines] == [3, 3]
    assert len(to_png(drawing)) <= MAX_BYTES
