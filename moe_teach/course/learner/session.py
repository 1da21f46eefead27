"""The start of a session: the one line every notebook prints first, and the two sizes of work."""

import importlib.util
import platform
import sys
from typing import TypeVar

from moe_teach.surroundings import version_of, wants_short_work
from moe_teach.text_table import counted

T = TypeVar("T")


def setup() -> None:
    """Make this notebook ready and print one line: versions, threads, device, widgets, triton.

    May be called any number of times, in any folder. Without a GPU it makes Triton interpret.
    """
    _allow_widgets_on_colab()
    print(" | ".join(_facts()))
    if wants_short_work():
        print(
            "Short runs (MOE_TEACH_FAST=1): the texts describe the full run, not what you see here."
        )


def by_mode(*, full: T, fast: T) -> T:
    """Choose a size: `fast` where MOE_TEACH_FAST=1 shortens the course, `full` otherwise."""
    return fast if wants_short_work() else full


def has_live_widgets() -> bool:
    """Tell whether a kernel and the widget libraries are there to bring widgets to life."""
    installed = all(importlib.util.find_spec(name) for name in ("anywidget", "ipywidgets"))
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return bool(installed and getattr(shell, "kernel", None))


def _facts() -> list[str]:
    import torch

    from moe_teach.ops.triton_mode import choose_mode

    kernels = choose_mode()  # before anything in the notebook imports Triton
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    threads = torch.get_num_threads()
    return [
        f"moe_teach {version_of('moe-teach', 'from a folder')}",
        f"Python {platform.python_version()}",
        f"torch {torch.__version__}",
        counted(threads, "thread"),
        device,
        f"widgets {'ready' if has_live_widgets() else 'as still pictures'}",
        f"triton {kernels}",
    ]


def _allow_widgets_on_colab() -> None:
    if "google.colab" in sys.modules:
        from google.colab import output

        output.enable_custom_widget_manager()
