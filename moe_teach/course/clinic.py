"""The front desk of chapter 06's bug clinic: real mistakes of published code as patients.

    from moe_teach.course import clinic
    clinic.vocabulary()     # the diagnoses
    clinic.show("health")   # the chart of a sound layer
    clinic.show("A")        # the chart of a patient, beside the healthy findings
    clinic.compare("ABCD")  # several patients on one sheet, small
    clinic.table()          # the main findings of all patients as numbers

The faults and who knows the answers stand in the chapter's room, `ch06_load_balancing/clinic`:
worth reading afterwards.
"""

from moe_teach.chapters.ch06_load_balancing.clinic.chart import Chart
from moe_teach.chapters.ch06_load_balancing.clinic.diagnoses import DIAGNOSES
from moe_teach.chapters.ch06_load_balancing.clinic.examination import N_STEPS, examine
from moe_teach.chapters.ch06_load_balancing.clinic.faults import FAULTS
from moe_teach.chapters.ch06_load_balancing.clinic.ward import behind, cases
from moe_teach.course.learner.notes import Note
from moe_teach.course.learner.session import by_mode

FEW = 48  # colours of a sheet: they are flat, and a page shows several

__all__ = ["cases", "compare", "examined", "show", "table", "vocabulary"]


def vocabulary() -> Note:
    """List every diagnosis there is; there are more of them than patients."""
    rows = tuple((f"{name!r}", diagnosis.sentence) for name, diagnosis in DIAGNOSES.items())
    return Note("The diagnoses", header=("write", "meaning"), rows=rows)


def examined(case: str, seed: int = 0) -> Chart:
    """Put a patient through the examination and return the findings as a record.

    Besides the patients there are "health", the sound layer, and "practice", one fault to try the
    method on.
    """
    # The training is what costs; shorter, it shows the same.
    return examine(FAULTS[behind(case)], seed, by_mode(full=N_STEPS, fast=40))


def show(case: str, seed: int = 0) -> None:
    """Draw the chart of a patient; another seed means other weights and other tokens."""
    # Imported when first drawn: the checks judge a diagnosis without matplotlib.
    from moe_teach.chapters.ch06_load_balancing.clinic.sheet import chart_sheet
    from moe_teach.plots.style import show_figure

    chart, health = examined(case, seed), examined("health", seed)
    show_figure(chart_sheet(_named(case), chart, health), max_colours=FEW)


def compare(letters: str, seed: int = 0) -> None:
    """Draw several patients on one sheet, a row each, for example `compare("ABCD")`."""
    from moe_teach.chapters.ch06_load_balancing.clinic.sheet import ward_sheet
    from moe_teach.plots.style import show_figure

    charts = {_named(case): examined(case, seed) for case in letters}
    show_figure(ward_sheet(charts, examined("health", seed)), max_colours=FEW)


def _named(case: str) -> str:
    return f"case {case}" if case in cases() else case


def table(seed: int = 0) -> Note:
    """Write the main findings of all patients as numbers, one row each."""
    header = ("case", "busiest", "even k=1, 2, 4", "crowd", "2nd", "task k=1, 2", "logged k=1, 2")
    header += ("arrives", "move", "bias", "twice", "company", "silent")
    rows = [(case, *_row(examined(case, seed))) for case in ("health", *cases())]
    return Note("All findings", header=header, rows=tuple(rows))


def _row(chart: Chart) -> tuple[str, ...]:
    return (
        f"{chart.violation + 1:.1f}",
        ", ".join(f"{value:.1f}" for value in chart.even),
        f"{chart.crowd:.1f}",
        f"{chart.second:.1f}",
        ", ".join(f"{value:.2g}" for value in chart.task_gradient[:2]),
        ", ".join(f"{value:.2g}" for value in chart.own_gradient[:2]),
        f"{chart.arriving[1]:.2g}",
        f"{max(chart.gate_moves):.2f}",
        f"{chart.bias_step[0]:+.4f}",
        f"{chart.other_experts:.0%}",
        f"{max(chart.company):.2f}",
        f"{chart.silent:.2f}",
    )
