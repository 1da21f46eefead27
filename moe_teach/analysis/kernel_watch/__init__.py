"""Watch what interpreted Triton kernels do to memory, and stop them before they harm it.

    with watch(x=x, token_idx=token_idx, rows=rows) as seen:
        gather_kernel[grid](x, token_idx, rows, ...)

    seen.owner("rows")       # which program stored each element
    seen.readers("x")        # how many programs read each element
    seen.unwritten("rows")   # what nobody stored
    seen.races()             # what a GPU would leave to chance
    seen.open_loads          # lanes switched off without a word about what they hold then
    seen.wrapped             # offsets that outgrew their integer type
    seen.narrow_dots         # products that a GPU rounds more than float32 would

A program that reaches outside the named tensors raises `KernelFault`, before memory is touched.
Whatever is found has its words in three steps, `told.symptom`, `told.cause` and `told.cure`, and
all of them in a row as its text.

A pointer may reach the tensor that it was handed to the kernel as, and no other, even where the
next tensor's memory follows. Where watched tensors share memory (`w` and `w[0]`), that is the one
with the address, shape and strides of the argument; else the smallest that covers the argument;
else those that overlap with it, an element belonging to the smallest that has it. A pointer of
unknown origin (loaded from memory) may reach all of them.
"""

from moe_teach.analysis.kernel_watch.fault import KernelFault
from moe_teach.analysis.kernel_watch.records import Access, Launch, NarrowDot, OpenLoad, Race, Wrap
from moe_teach.analysis.kernel_watch.seen import Seen
from moe_teach.analysis.kernel_watch.told import Told
from moe_teach.analysis.kernel_watch.vast import vast
from moe_teach.analysis.kernel_watch.watching import watch

__all__ = [
    "Access",
    "KernelFault",
    "Launch",
    "NarrowDot",
    "OpenLoad",
    "Race",
    "Seen",
    "Told",
    "Wrap",
    "vast",
    "watch",
]
