"""Chapter 10: what an access outside its tensor most likely comes from, kernel by kernel."""

from moe_teach.judging.launching import Causes
from moe_teach.judging.reasons import Why

GATHERED: Causes = {
    ("x", "load"): Why(
        "Rows from `end` on have no token, and columns from D on do not exist.",
        "Mask both when you load from x, with other=0.0.",
    ),
    ("w", "load"): Why(
        "Columns from F on and steps from D on do not exist.",
        "Mask both when you load from w, with other=0.0.",
    ),
    ("token_idx", "load"): Why(
        "Only the rows below `end` have a token.", "Mask the load of `token_idx` with n < end."
    ),
    ("out", "store"): Why(
        "Only rows below `end` and columns below F are yours.", "Store under a mask of both."
    ),
}

DOWN: Causes = {
    ("choice", "load"): Why(
        "Only the rows below `end` are a choice.", "Mask the load of `choice` with n < end."
    ),
    ("gates", "load"): Why("A row past `end` has no gate.", "Load under a mask."),
    ("out", "store"): Why(
        "Rows from `end` on and columns from D on are not yours.", "Store under a mask of both."
    ),
}

GRADIENT: Causes = {
    ("expert_offsets", "load"): Why(
        "There are offsets 0 to E - 1 only: the first expert has none before it, and the last one "
        "none behind it.",
        "The rows of expert e end at expert_offsets[e], and those of expert 0 begin at 0.",
    ),
    ("rows", "load"): Why(
        "Rows from `end` on and columns from D on do not exist.", "Mask both, with other=0.0."
    ),
    ("dout", "load"): Why(
        "Rows from `end` on and columns from F on do not exist.", "Mask both, with other=0.0."
    ),
    ("dw", "store"): Why("Only f below F and d below D exist.", "Store under a mask of both."),
}
