"""Feedback shows a tensor as a reader would write it down, and no more of it than helps."""

import torch

from moe_teach.judging.compare import describe, outlined


def test_a_matrix_is_written_row_by_row():
    assert describe(torch.tensor([[1, 2], [3, 4]])) == "tensor (2, 2) int64\n  [1, 2]\n  [3, 4]"


def test_three_dimensions_are_matrices_under_their_index():
    assert describe(torch.arange(6).reshape(2, 1, 3)) == (
        "tensor (2, 1, 3) int64\n  [0]\n    [0, 1, 2]\n  [1]\n    [3, 4, 5]"
    )


def test_four_dimensions_name_both_leading_indices():
    lines = describe(torch.arange(4).reshape(2, 1, 1, 2)).splitlines()
    assert lines[1::2] == ["  [0, 0]", "  [1, 0]"]


def test_a_large_tensor_of_three_dimensions_is_cut_like_any_other():
    assert describe(torch.zeros(4, 4, 4)) == (
        "tensor (4, 4, 4) float32, beginning [0, 0, 0, 0, 0, 0, ...]"
    )


def test_an_empty_or_transposed_tensor_is_no_special_case():
    assert describe(torch.zeros(2, 0, 3)) == "tensor (2, 0, 3) float32, empty"
    turned = torch.arange(4).reshape(1, 2, 2).transpose(1, 2)
    assert describe(turned) == "tensor (1, 2, 2) int64\n  [0]\n    [0, 2]\n    [1, 3]"


def test_an_outline_keeps_shapes_and_plain_values_and_drops_the_numbers():
    shown = outlined({"x": torch.zeros(3, 5), "top_k": 2})
    assert [describe(value) for value in shown.values()] == ["tensor (3, 5) float32", "2"]
