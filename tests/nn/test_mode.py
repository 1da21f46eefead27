"""What is measured is left as it was found, to the last of its parts."""

import pytest
import torch
from torch import nn

from moe_teach.analysis.laws import obeys
from moe_teach.nn.mode import in_evaluation, twin


@pytest.fixture
def partly_frozen():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Identity())).train()
    model[1][0].eval()
    return model


def modes(model):
    return [module.training for module in model.modules()]


def test_all_parts_sleep_meanwhile(partly_frozen):
    with in_evaluation(partly_frozen):
        assert not any(modes(partly_frozen))


def test_each_part_has_its_own_mode_back(partly_frozen):
    before = modes(partly_frozen)
    with in_evaluation(partly_frozen):
        pass
    assert modes(partly_frozen) == before
    assert True in before and False in before


def test_an_error_leaves_nobody_asleep(partly_frozen):
    before = modes(partly_frozen)
    with pytest.raises(KeyError), in_evaluation(partly_frozen):
        raise KeyError
    assert modes(partly_frozen) == before


def test_the_laws_leave_frozen_parts_frozen(partly_frozen):
    before = modes(partly_frozen)
    with torch.no_grad():
        obeys(partly_frozen, d_model=3)
    assert modes(partly_frozen) == before


def test_a_twin_has_the_same_weights_and_modes_of_its_own(partly_frozen):
    model = nn.ModuleDict(
        {"parts": partly_frozen, "norm": nn.BatchNorm1d(3), "map": nn.Linear(3, 3)}
    )
    before = modes(model)
    other = twin(model).eval()
    assert modes(model) == before and not any(modes(other))
    mine, theirs = ([*m.parameters(), *m.buffers()] for m in (model, other))
    assert len(mine) == 7 and all(a is b for a, b in zip(mine, theirs, strict=True))


def test_what_is_tied_stays_tied_in_a_twin():
    model = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    model[1].weight = model[0].weight
    other = twin(model)
    assert other[1].weight is other[0].weight is model[0].weight
