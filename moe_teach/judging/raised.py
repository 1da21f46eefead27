"""Says what an error in a learner's code most likely comes from.

Torch and Triton speak to those who know them; the sentences here speak of what was written.
"""

import re
import traceback
from pathlib import Path

from moe_teach.judging import folding
from moe_teach.judging.elsewhere import told_of
from moe_teach.judging.guard import TookTooLong


def words(error: BaseException, name: str, limit: float | int) -> tuple[str, str, str]:
    """Say what an error that `name` raised is, its likely cause, and what to do.

    The last two are empty where nothing is known.
    """
    for kind, (symptom, cause, cure) in _OF_PYTHON.items():
        if isinstance(error, kind):
            return symptom.format(name=name, limit=limit), cause, cure
    symptom = f"{name} raised {plainly(error)}"
    if meant := folding.near_name(error):
        return symptom, "There is no such name.", f"Did you mean `{meant}`?"
    cause, _, cure = likely_cause(error).partition(". ")
    return symptom, f"{cause}." if cure else cause, cure


def outside(error: BaseException, name: str, limit: float | int) -> tuple[str, str, str]:
    """Say what an error is that came outside of `name`, where the course's own answer has none."""
    if isinstance(error, TookTooLong):
        return (
            f"{name} comes back, and this stage asks it so often that {limit:g} seconds were not "
            "enough for all of it.",
            "Each call is slow, in the answer itself or in a part that it was given.",
            "Time one call. Is there a loop over tokens where one operation serves them all? If "
            "the machine has other work to do, check again later.",
        )
    return (
        f"The check could not use what {name} gave it ({plainly(error)}).",
        "It is of another kind or shape than the check goes on with.",
        "Compare kind and shape with the contract in the docstring.",
    )


def of_the_course(error: BaseException, stage: str, item: str, limit: float | int) -> str:
    """Say what an error is that the course's own answer has as well."""
    if isinstance(error, TookTooLong):
        return (
            f"Not even the course's own answer is through the stage {stage!r} of {item} within "
            f"{limit:g} seconds: this machine has other work to do. Check again later."
        )
    return f"{plainly(error)} (stage {stage!r} of exercise {item})"


def plainly(error: BaseException) -> str:
    """Give an error's kind and its own text, cut where it becomes long."""
    try:
        text = str.__str__(str(error)).strip()
    except Exception:  # a learner's exception may have a broken __str__
        text = ""
    return f"{type(error).__name__}: {text[:600]}" if text else type(error).__name__


def likely_cause(error: BaseException) -> str:
    """Give the sentence for an error of torch or Triton that is known here, else nothing."""
    said = plainly(error)
    known = _OF_TRITON + _OF_TORCH if _is_in_a_kernel(error) else _OF_TORCH
    return next((cause for pattern, cause in known if re.search(pattern, said)), "")


def _is_in_a_kernel(error: BaseException) -> bool:
    if told := told_of(error):
        return told.in_kernel
    frames = traceback.walk_tb(error.__traceback__)
    return any("triton" in Path(frame.f_code.co_filename).parts for frame, _line in frames)


_OF_PYTHON: dict[type[BaseException], tuple[str, str, str]] = {
    TookTooLong: (
        "{name} did not come back within {limit:g} seconds and was stopped.",
        "Is there a loop that never ends?",
        "Print the condition of each loop, and look for what should make it false.",
    ),
    RecursionError: (
        "{name} calls itself without end (RecursionError).",
        "No call comes to a case that it answers without another call.",
        "Answer the smallest case first, and make each call smaller than the one before.",
    ),
    SystemExit: (
        "{name} tried to end Python (SystemExit).",
        "`exit()`, `quit()` and `sys.exit()` end more than a function.",
        "Return a value instead.",
    ),
    KeyboardInterrupt: ("{name} was interrupted before it returned (KeyboardInterrupt).", "", ""),
    MemoryError: (
        "{name} asked for more memory than there is (MemoryError).",
        "A tensor has an axis too many, or one of a wrong size.",
        "Write the shape of every tensor beside the line that makes it.",
    ),
}
# What an error's kind and text must contain, and then what it most likely comes from (the first
# sentence) and what to do (the rest).
_OF_TORCH: tuple[tuple[str, str], ...] = (
    (
        r"shapes cannot be multiplied|size mismatch, got input|Expected size for first two",
        "In a matrix product the last axis of the left one and the last but one of the right one "
        "have the same size. Is a transpose (`.mT`) missing, or one too many?",
    ),
    (
        r"einsum\(\): subscript",
        "One letter of the einsum stands for axes of two sizes. Write the shape of each tensor "
        "beside its letters.",
    ),
    (
        r"must match the size of tensor b",
        "Broadcasting lines shapes up from the right. An axis of size 1 (`x[:, None]` or "
        "keepdim=True) says which one is meant.",
    ),
    (
        r"same dtype, but got|Index put requires|same scalar type|self\.dtype to be equal",
        "Two dtypes meet where torch converts nothing by itself. Bring one to the other's, for "
        "example with `.to(x.dtype)`.",
    ),
    (
        r"leaf Variable that requires grad is being used in an in-place",
        "A tensor that gradients are taken of cannot be changed in place. Make a new one "
        "(`a = a + b`), or change a `clone()`.",
    ),
    (
        r"index -?\d+ is out of bounds for dimension",
        "An index must be smaller than the size of its axis. Is it the index of another axis, or "
        "does it count from 1?",
    ),
    (
        r"Dimension out of range",
        "The tensor has fewer axes than `dim` asks for. Was an axis lost before, by a `sum` or by "
        "an index?",
    ),
    (
        r"is not on the expected device|on the same device",
        "Two tensors live on different devices. Make new ones where the input is: device=x.device.",
    ),
    (
        r"floating point (?:and complex )?dtype can require gradients",
        "Counts and indices have no gradients. Is this the right tensor, or is `.float()` missing "
        "where it was made?",
    ),
    (
        r"could not infer output dtype|not implemented for '(?:Long|Int|Bool)'",
        "This is defined for floats, and the tensor holds integers. `.float()` converts it.",
    ),
    (
        r"indices must be long|dtype int32/int64 for index|index tensor of type LongTensor",
        "What selects must be integers of 64 bits, or a mask: `.long()` converts. A division gives "
        "floats, even of whole numbers; `//` does not.",
    ),
    (
        r"too many indices for tensor",
        "More indices than axes. A tensor of uint8 or bool counts as a mask: `.long()` ends that.",
    ),
    (
        r"shape of the mask",
        "A mask selects along the first axes, so its shape must be theirs. For columns, write "
        "`x[:, mask]`.",
    ),
    (
        r"Boolean value of Tensor with more than one value",
        "`if`, `and`, `or` and `not` want a single truth value, and this tensor has many. Use `&`, "
        "`|`, `~`, or reduce it with `.any()` or `.all()`.",
    ),
    (
        r"(?:arg)?sort\(\) (?:received an invalid|takes from)",
        "Torch has a form of `sort` and `argsort` that begins with `stable`, so the order of bare "
        "arguments misleads it. Name them: dim=-1, descending=True, stable=True.",
    ),
    (
        r"selected index k out of range",
        "topk asks for more entries than the axis has. Which axis has the experts?",
    ),
    (
        r"view size is not compatible|is invalid for input of size",
        "`view` keeps the number of entries and their order in memory. After a transpose use "
        "`reshape`; if the numbers do not fit, an axis was forgotten.",
    ),
    (
        r"does not require grad and does not have a grad_fn",
        "No gradient leads back from here. Is there a detach(), an item(), a no_grad(), or a "
        "comparison in between?",
    ),
    (
        r"backward through the graph a second time",
        "The first `backward` gave its graph back. Add up both losses first, or compute the second "
        "one anew.",
    ),
    (
        r"torch\.return_types\.|concatenate tuple",
        "topk, sort and max(dim=...) return two things, the values and the indices. Take them "
        "apart: values, ids = ...",
    ),
    (
        r"before Module\.__init__\(\) call",
        "`super().__init__()` must be the first line of `__init__`.",
    ),
)
_OF_TRITON: tuple[tuple[str, str], ...] = (
    (
        r"arange's range must be a power of 2",
        "Blocks of a kernel have a power of two lanes. Take the next one, and mask what is too "
        "much.",
    ),
    (
        r"arange's arguments must be of type tl\.constexpr|Shape element \d+ must have type",
        "The shape of a block is fixed before the kernel runs: it must come from a `tl.constexpr` "
        "parameter, not from a number given at launch or loaded.",
    ),
    (
        r"has no attribute 'to'$",
        "This is a plain Python number, as a `tl.constexpr` is, and in the interpreter the counter "
        "of a loop too. Only tensors have `.to`; tl.cast(number, tl.int64) takes both.",
    ),
    (
        r"must have equal reduction dimensions|input shapes? should have M >= ",
        "`tl.dot` multiplies (M, K) by (K, N), and on a GPU no side may be below 16. Is a "
        "`tl.trans` missing, or a block too small?",
    ),
    (
        r"Both operands must be same dtype",
        "`tl.dot` takes two blocks of one dtype. Convert the narrower one with `.to(...)`.",
    ),
    (
        r"Cannot make_shape_compatible",
        "Blocks broadcast like tensors: `a[:, None]` and `b[None, :]` span a tile, and two sizes "
        "on one axis do not meet.",
    ),
    (
        r"if pointer argument is not a block",
        "The address is a single one and the value a block. Add the lanes' offsets to the pointer.",
    ),
    (
        r"`other` cannot be provided without `mask`",
        "`other` is what switched-off lanes hold, so it needs a `mask` that switches some off.",
    ),
    (
        r"'tensor' object does not support item assignment|'int' object is not iterable",
        "A block of a kernel cannot be indexed lane by lane. `tl.where` chooses among lanes, "
        "`tl.load` reads from addresses, and `x[:, None]` is the only index there is.",
    ),
)
