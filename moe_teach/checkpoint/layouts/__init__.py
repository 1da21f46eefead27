"""Published layouts: tables that say how a released architecture writes its checkpoints.

`LAYOUTS` holds them from the plainest to the richest; where several fit a model, export takes the
first.
"""

from moe_teach.checkpoint.layouts.ernie4_5_moe import ERNIE4_5_MOE
from moe_teach.checkpoint.layouts.glm4_moe import GLM4_MOE
from moe_teach.checkpoint.layouts.layout import Key, Layout, Rope, Rule
from moe_teach.checkpoint.layouts.mixtral import MIXTRAL
from moe_teach.checkpoint.layouts.olmoe import OLMOE
from moe_teach.checkpoint.layouts.qwen3_moe import QWEN3_MOE
from moe_teach.config import refuse

LAYOUTS = (MIXTRAL, QWEN3_MOE, OLMOE, GLM4_MOE, ERNIE4_5_MOE)

__all__ = ["LAYOUTS", "Key", "Layout", "Rope", "Rule", "layout_named"]


def layout_named(name: str) -> Layout:
    """Return a layout by its `model_type`.

    Raises:
        ValueError: it is none that the course knows.
    """
    known = {layout.name: layout for layout in LAYOUTS}
    refuse(
        name not in known,
        f"There is no layout {name!r} here; there are {', '.join(known)}.",
    )
    return known[name]
