"""Exercise 4.8 shows the layer that it judges, and its suspects are what they are called."""

import re
from pathlib import Path

import pytest
import torch
from torch.nn.functional import one_hot

from moe_teach.chapters.ch04_dispatch.layers_on_trial import BROKEN, RIGHT, SHOWN

SOLUTIONS = Path(__file__).parents[3] / "solutions" / "04_dispatch.py"


def given(n_tokens, n_experts, dtype=torch.float32):
    random = torch.Generator().manual_seed(n_tokens)
    x = torch.randn(n_tokens, 3, generator=random).to(dtype)
    ids = torch.rand(n_tokens, n_experts, generator=random).argsort(dim=1)[:, :2]
    experts = [lambda rows, e=e: torch.sin(rows + e) for e in range(n_experts)]
    return x, torch.rand(n_tokens, 2, generator=random), ids, experts


def by_definition(x, gates, ids, experts):
    answers = torch.stack([expert(x).double() for expert in experts], dim=1)
    return (gates[..., None] * answers[torch.arange(len(x))[:, None], ids]).sum(dim=1)


@pytest.mark.parametrize("suspect", RIGHT, ids=lambda suspect: suspect.layer.__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n_tokens", [1, 300])
def test_a_right_layer_keeps_the_contract(suspect, dtype, n_tokens) -> None:
    x, *rest = given(n_tokens, 5, dtype)
    before = x.clone()
    y = suspect.layer(x, *rest)

    slack = 1e-5 if dtype == torch.float32 else 0.04
    assert y.dtype == dtype and torch.equal(x, before)
    torch.testing.assert_close(y.double(), by_definition(x, *rest), atol=slack, rtol=0)


def test_the_layer_that_is_shown_is_the_one_that_is_judged() -> None:
    text = SOLUTIONS.read_text(encoding="utf-8")
    source = re.search(r"def somebodys_layer\(.*?\n(?=\n\n# %%)", text, re.S)
    names = {"torch": torch, "Tensor": torch.Tensor, "Callable": type(print)}
    names["F"] = type("F", (), {"one_hot": staticmethod(one_hot)})
    exec("from collections.abc import Callable\n" + source.group(), names)

    for n_tokens, dtype in ((64, torch.float32), (2000, torch.bfloat16)):
        shown, judged = names["somebodys_layer"], SHOWN.layer
        assert torch.equal(shown(*given(n_tokens, 5, dtype)), judged(*given(n_tokens, 5, dtype)))


def test_the_layer_that_is_shown_loses_rows_in_bfloat16_alone() -> None:
    for dtype, is_right in ((torch.float32, True), (torch.bfloat16, False)):
        x, *rest = given(2000, 5, dtype)
        gap = (SHOWN.layer(x, *rest).double() - by_definition(x, *rest)).abs().max()
        assert bool(gap < 0.05) == is_right


def test_no_two_broken_layers_are_broken_alike() -> None:
    words = [suspect.does for suspect in (*BROKEN, SHOWN)]
    assert len(set(words)) == len(words)
