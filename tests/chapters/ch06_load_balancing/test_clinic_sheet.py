"""What a patient's chart says in marks and words."""

from dataclasses import replace

import pytest

from moe_teach.chapters.ch06_load_balancing.clinic.chart import Chart
from moe_teach.chapters.ch06_load_balancing.clinic.panels import ZERO
from moe_teach.chapters.ch06_load_balancing.clinic.sheet import chart_sheet, in_words, ward_sheet
from moe_teach.plots.style import MAX_BYTES, to_png

HEALTHY = Chart(
    loads=((0.25, 0.25, 0.25, 0.25),) * 12,
    even=(1.0, 1.0, 1.0),
    crowd=3.6,
    second=1.9,
    task_gradient=(0.4, 2.0, 3.0),
    own_gradient=(3.0, 2.0, 1.0),
    arriving=(3.0, 2.0, 1.0),
    gate_sums=(0.2, 1.0, 1.0),
    gate_moves=(0.0, 0.0, 0.0),
    bias_step=(-0.0002, 0.0002, 0.0002, 0.0002),
    other_experts=0.0,
    other_output=0.0,
    company=(0.0,) * 16,
    speaking=0.7,
    silent=0.0,
    likeness=0.0,
)
SICK = replace(
    HEALTHY,
    loads=((0.7, 0.1, 0.1, 0.1),) * 12,
    arriving=(0.0, 0.0, 0.0),
    gate_moves=(0.25, 0.14, 0.21),
    company=(0.0,) * 8 + (1.0,) * 8,
)


@pytest.fixture
def sheet():
    return chart_sheet("case X", SICK, HEALTHY)


def test_there_are_eight_numbered_panels_with_labelled_axes(sheet):
    assert [axes.get_title()[0] for axes in sheet.axes] == list("12345678")
    assert all(axes.get_ylabel() for axes in sheet.axes)


def test_the_key_names_the_patient_and_the_healthy_layer(sheet):
    (key,) = sheet.legends

    assert [text.get_text() for text in key.get_texts()] == ["case X", "healthy layer, same seed"]


def test_health_is_marked_by_hollow_diamonds_and_not_by_colour_alone(sheet):
    for axes in sheet.axes[1:]:
        diamonds = [line for line in axes.lines if line.get_marker() == "D"]
        assert diamonds and all(line.get_fillstyle() == "none" for line in diamonds)


def test_a_zero_gradient_is_drawn_on_the_line_of_zero(sheet):
    patient = next(line for line in sheet.axes[2].lines if line.get_marker() == "o")

    assert list(patient.get_ydata())[6:] == [ZERO] * 3
    assert "0" in [label.get_text() for label in sheet.axes[2].get_yticklabels()]


def test_the_load_says_in_words_how_busy_the_busiest_is(sheet):
    assert "busiest at the end: 2.8 x fair share" in sheet.axes[0].get_xlabel()


def test_violation_reads_the_last_ten_steps_only():
    late = replace(HEALTHY, loads=((1.0, 0.0, 0.0, 0.0),) * 5 + HEALTHY.loads)

    assert late.violation == pytest.approx(0)
    assert SICK.violation == pytest.approx(1.8)


def test_the_sheet_is_cheap_enough_to_show_a_dozen(sheet):
    assert len(to_png(sheet, max_colours=96)) < MAX_BYTES / 2
    assert len(to_png(sheet)) <= MAX_BYTES


@pytest.fixture
def ward():
    return ward_sheet({"case X": SICK, "case Y": HEALTHY}, HEALTHY)


def test_a_ward_has_a_row_for_each_patient_and_a_title_for_each_panel(ward):
    titles = [axes.get_title()[:1] for axes in ward.axes]

    assert titles == [*"12345678", *[""] * 8]
    assert [ward.axes[row].get_ylabel() for row in (0, 8)] == ["X", "Y"]


def test_patients_of_a_ward_share_their_scales(ward):
    for above, below in zip(ward.axes[:8], ward.axes[8:], strict=True):
        assert above.get_ylim() == below.get_ylim()


def test_a_ward_writes_numbers_only_where_a_patient_leaves_health(ward):
    gates_of_the_sick, gates_of_the_sound = ward.axes[3], ward.axes[11]

    assert [text.get_text() for text in gates_of_the_sick.texts][:3] == [".25", ".14", ".21"]
    assert not gates_of_the_sound.texts


def test_a_ward_is_light_and_carries_everybodys_findings_in_words(ward):
    assert len(to_png(ward, max_colours=48)) < MAX_BYTES / 3
    assert all(f"Chart of case {name}." in ward.get_gid() for name in "XY")


def test_the_words_tell_all_findings():
    words = in_words("case X", SICK)

    assert words.startswith("Chart of case X.")
    assert all(f" {panel}: " in words for panel in range(1, 9))
    assert "8, the first at place 16" in words
    assert "in a batch: none" in in_words("the healthy layer", HEALTHY)


@pytest.mark.parametrize("size", [(10.4, 4.9), (9.0, 4.4)])
def test_numbers_above_bars_do_not_collide(sheet, size):
    sheet.set_size_inches(*size)
    sheet.draw_without_rendering()
    for axes in sheet.axes[1:]:
        boxes = [t.get_window_extent() for t in axes.texts if t.get_text()]
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[i + 1 :]), axes.get_title()
