"""Watch what interpreted Triton kernels do to memory, and stop them before they harm it.

    with watch(x=x, token_idx=token_idx, rows=rows) as seen:
        gather_kernel[grid](x, token_idx, rows, ...)

    seen.owner("rows")       # which program stored each element
    seen.readers("x")        # how many programs read each element
    seen.unwritten("rows")   # what nobody stored
    seen.races()             # what a GPU would leave to chance

A program that reaches outside the named tensors raises `KernelFault`, a sentence with the likely
cause, before memory is touched.
"""

from moe_teach.analysis.kernel_watch.fault import KernelFault
from moe_teach.analysis.kernel_watch.records import Access, Launch, Race
from moe_teach.analysis.kernel_watch.seen import Seen
from moe_teach.analysis.kernel_watch.watching import watch

__all__ = ["Access", "KernelFault", "Launch", "Race", "Seen", "watch"]
