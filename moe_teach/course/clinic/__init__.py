"""The bug clinic of chapter 06: real mistakes of published code as patients to be diagnosed.

    from moe_teach.course import clinic
    clinic.vocabulary()     # the diagnoses
    clinic.show("health")   # the chart of a sound layer
    clinic.show("A")        # the chart of a patient, beside the healthy findings
    clinic.table()          # the main findings of all patients as numbers

`signs.py`, `diagnoses.py` and `ward.py` know the answers; the faults stand in `loss_faults.py` and
`layer_faults.py`. They are worth reading afterwards.
"""

from moe_teach.course.clinic.desk import examined, show, table, vocabulary
from moe_teach.course.clinic.ward import cases

__all__ = ["cases", "examined", "show", "table", "vocabulary"]
