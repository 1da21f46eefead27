"""Gradients are compared by value, whatever the results look like."""

import pytest
import torch

from moe_teach.judging.exercise import WrongAnswer
from moe_teach.judging.gradients import require_gradients


def product(x, w):
    return x * w


def given(n_tokens: int = 3):
    return {"x": torch.randn(n_tokens, 2), "w": torch.randn(n_tokens, 2)}


def complaint(answer, expected=product, inputs=None, **options) -> str:
    with pytest.raises(WrongAnswer) as caught:
        require_gradients(answer, expected, inputs or given(), **options)
    return caught.value.message


@pytest.mark.parametrize("n_tokens", [0, 1, 3])
def test_another_way_to_the_same_numbers_is_accepted(n_tokens):
    require_gradients(lambda x, w: (w.double() * x.double()).float(), product, given(n_tokens))


def test_a_result_without_a_graph_is_told_so():
    assert "carries no gradient" in complaint(lambda x, w: (x * w).detach())


def test_an_input_that_is_cut_off_is_named():
    assert "not connected with `w`" in complaint(lambda x, w: x * w.detach())


def test_nan_that_was_thrown_away_too_late_is_explained():
    def cleaned(x, w):
        return torch.where(x.isnan(), 0.0, x) * w

    inputs = given()
    inputs["x"][0, 0] = torch.nan

    told = complaint(lambda x, w: torch.where(x.isnan(), 0.0, x * w), cleaned, inputs)

    assert "gradient of `w` is another one: it has entries that are infinite or NaN" in told


def test_a_gradient_of_another_size_is_seen_although_the_numbers_are_right():
    assert "gradient of `x` is another one" in complaint(lambda x, w: x * w + x - x.detach())


def test_a_gradient_that_reaches_the_wrong_entry_is_seen():
    shifted = "gradient of `x` is another one"
    assert shifted in complaint(
        lambda x, w: (x * w).detach() + (x - x.detach()).roll(1, 0) * w,
    )


def test_results_and_arguments_in_containers_are_followed():
    inputs = {"parts": [torch.randn(2), torch.randn(2)], "top_k": 2, "ids": torch.tensor([1, 0])}

    def both(parts, top_k, ids):
        return {"sum": parts[0] + parts[1]}, ids

    require_gradients(both, both, inputs)
    cut = complaint(lambda p, k, i: ({"sum": p[0] + p[1].detach()}, i), both, inputs)
    assert "not connected with `parts[1]`" in cut


def test_an_input_that_rightly_has_no_gradient_may_have_none_or_zero():
    def only_x(x, w):
        return x + 0 * w.detach()

    require_gradients(only_x, only_x, given())
    require_gradients(lambda x, w: x + 0 * w, only_x, given())


def test_a_gradient_where_none_belongs_is_turned_away():
    def only_x(x, w):
        return x * w.detach()

    assert "A gradient of `w` comes through" in complaint(product, only_x)


def test_inputs_of_the_notebook_stay_as_they_were_and_its_gradient_mode_does_not_matter():
    inputs = given()
    with torch.no_grad():
        require_gradients(product, product, inputs)
    assert not any(value.requires_grad for value in inputs.values())


def test_transposed_inputs_stay_transposed():
    inputs = {"x": torch.randn(2, 3).T, "w": torch.randn(3, 2)}
    strides = []
    require_gradients(lambda x, w: (strides.append(x.stride()), x * w)[1], product, inputs)
    assert strides == [(1, 3)]
