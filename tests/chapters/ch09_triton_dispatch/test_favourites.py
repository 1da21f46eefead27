"""The kernels of exercise 9.6 are all right on its example; its text shows the first of them."""

from pathlib import Path

import pytest

pytest.importorskip("triton")

import torch

from moe_teach.chapters.ch09_triton_dispatch.favourites import BROKEN, RIGHT, SHOWN, built

SOURCES = [broken.source for group in BROKEN.values() for broken in group] + list(RIGHT.values())


@pytest.mark.parametrize("source", SOURCES)
def test_every_kernel_is_right_on_the_example_of_the_text(source) -> None:
    logits = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    ids = torch.full((8,), -7, dtype=torch.int32)
    built(source)[(1,)](logits, ids, 8, 4, 4, BLOCK_T=8, EXPERTS=4)

    assert torch.equal(ids.long(), logits.argmax(dim=1))


def test_no_two_kernels_are_the_same() -> None:
    assert len(set(SOURCES)) == len(SOURCES) == 8 + 4


def test_the_text_shows_the_first_broken_kernel() -> None:
    text = Path(__file__).parents[3] / "solutions" / "09_triton_dispatch.py"
    shown = text.read_text(encoding="utf-8").replace("  # fmt: skip", "")

    assert SHOWN in shown
