"""The pictures of the machine say which program is where, and what a line of a kernel moves."""

import pytest

from moe_teach.chapters.ch09_triton_dispatch.machine import SMS, gpu, journey
from moe_teach.plots.style import MAX_BYTES, to_png


def _words(drawing) -> list[str]:
    return [text.get_text() for text in drawing.axes[0].texts]


@pytest.mark.parametrize("n_programs", [1, 4, SMS])
def test_every_program_has_a_multiprocessor_of_its_own(n_programs) -> None:
    drawing = gpu(n_programs)
    placed = [text for text in drawing.axes[0].texts if text.get_text().isdigit()]

    assert [int(text.get_text()) for text in placed] != []
    assert sorted(int(text.get_text()) for text in placed) == list(range(n_programs))
    assert len({text.get_position() for text in placed}) == n_programs


def test_more_programs_than_multiprocessors_are_refused() -> None:
    with pytest.raises(ValueError, match="1 to 132"):
        gpu(SMS + 1)


def test_the_numbers_of_the_machine_are_those_of_the_data_sheet() -> None:
    said = " ".join(_words(gpu(4)))

    for number in ("132 SMs", "50 MB", "80 GB", "3.35 TB/s", "64 KB", "256 KB", "227 KB"):
        assert number in said


def test_a_journey_counts_what_the_mask_leaves_on() -> None:
    drawing = journey([24, 25], [2, 2], block=8, n_experts=5, e=2)

    assert _words(drawing).count("2") == 2 + 2 + 3  # from HBM, in registers, and their number
    assert _words(drawing).count("5") == 6  # lanes that are off hold `other`
    assert "6 idle lanes hold 5" in drawing.get_gid() and "one number, 2," in drawing.get_gid()


def test_pictures_of_the_machine_stay_within_their_budget() -> None:
    assert len(to_png(gpu(SMS))) <= MAX_BYTES
    assert len(to_png(journey(range(8), [0] * 8, block=8, n_experts=3, e=1))) <= MAX_BYTES
