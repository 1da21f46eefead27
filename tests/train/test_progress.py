"""The line about training: live for people, repeatable for files, silent in a hurry."""

import io
import sys

import pytest

from moe_teach.train import progress
from moe_teach.train.progress import (
    LogProgress,
    NotebookProgress,
    TerminalProgress,
    progress_for,
)
from moe_teach.train.record import StepRecord


def record(step: int, speed: float = 1234.0) -> StepRecord:
    return StepRecord(
        step=step,
        task_loss=2.5,
        load_balance_loss=1.0,
        z_loss=0.0,
        lr=0.1,
        grad_norm=1.0,
        max_violation=(0.25, 0.5),
        loads=((0.5, 0.5),) * 2,
        tokens_per_second=speed,
    )


@pytest.fixture(autouse=True)
def at_full_length(monkeypatch):
    monkeypatch.delenv("MOE_TEACH_FAST", raising=False)


def test_a_log_gets_ten_lines_that_do_not_depend_on_the_clock():
    texts = []
    for speed in (10.0, 99_999.0):
        stream = io.StringIO()
        line = LogProgress(200, stream)
        for step in range(200):
            line.show(record(step, speed))
        line.close(200)
        texts.append(stream.getvalue())
    assert texts[0] == texts[1]
    assert texts[0].splitlines()[0] == "step 20 of 200, loss 2.500, imbalance 0.50"
    assert len(texts[0].splitlines()) == 10


def test_a_short_run_does_not_repeat_lines():
    stream = io.StringIO()
    line = LogProgress(3, stream)
    for step in range(3):
        line.show(record(step))
    assert len(stream.getvalue().splitlines()) == 3


def test_a_terminal_gets_one_line_with_the_speed_and_a_lasting_end():
    stream = io.StringIO()
    line = TerminalProgress(8, stream)
    line.show(record(0))
    line.show(record(1))  # a moment later: not shown
    line.close(2)
    first, end = stream.getvalue().split("\r")[1:]
    assert "1,234 tokens/s" in first
    assert end.startswith("Trained 2 of 8 steps.")


def test_a_terminal_says_how_long_the_rest_will_take(monkeypatch):
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    stream = io.StringIO()
    line = TerminalProgress(106, stream)
    for step in range(6):
        line.show(record(step))
    shown = stream.getvalue().split("\r")
    assert "left" not in shown[5]
    assert shown[6].startswith("step 6 of 106, loss 2.500, imbalance 0.50, 1,234 tokens/s, 5 min")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (89.0, "89 s"), (95.0, "2 min"), (3e3, "50 min"), (11_100.0, "3 h 05 min")],
)
def test_spans_of_time_are_said_as_people_would(seconds, said):
    assert progress.duration(seconds) == said


@pytest.mark.parametrize("kind", [LogProgress, TerminalProgress])
def test_a_run_that_goes_on_says_where(kind):
    stream = io.StringIO()
    kind(8, stream).begin(0)
    assert stream.getvalue() == ""
    kind(8, stream).begin(3)
    kind(8, stream).begin(8)
    assert stream.getvalue() == "Going on after step 3 of 8.\nAll 8 steps were done before.\n"


def test_a_notebook_gets_one_display_that_ends_in_repeatable_words(monkeypatch):
    shown = []

    class Handle:
        def update(self, bundle, raw):
            assert raw
            shown.append(bundle)

    def display(bundle, raw, display_id):
        assert raw and display_id
        shown.append(bundle)
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    line = NotebookProgress(8)
    line.show(record(0))
    line.close(8)
    assert [set(bundle) for bundle in shown] == [{"text/html", "text/plain"}] * 3
    assert "tokens/s" in shown[1]["text/plain"]
    assert shown[-1]["text/plain"] == "Trained 8 of 8 steps."
    assert 'value="8" max="8"' in shown[-1]["text/html"]


def test_the_line_fits_the_place(monkeypatch):
    assert type(progress_for(5, True, True)) is LogProgress
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert type(progress_for(5, True, True)) is TerminalProgress
    assert type(progress_for(5, False, True)) is progress.Progress
    assert type(progress_for(5, True, False)) is progress.Progress
    monkeypatch.setenv("MOE_TEACH_FAST", "1")
    assert type(progress_for(5, True, True)) is progress.Progress
