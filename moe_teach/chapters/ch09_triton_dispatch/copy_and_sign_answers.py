"""Exercise 9.1: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch09_triton_dispatch.answer_parts import changed, kernel
from moe_teach.chapters.ch09_triton_dispatch.copy_and_sign import EXERCISE

COPY = """\
@triton.jit
def kernel(x_ptr, out_ptr, owner_ptr, n, BLOCK: tl.constexpr):
    program = tl.program_id(0)
    at = program * BLOCK + tl.arange(0, BLOCK)
    numbers = tl.load(x_ptr + at, mask=at < n)
    tl.store(out_ptr + at, numbers, mask=at < n)
    tl.store(owner_ptr + at, program, mask=at < n)
"""


@EXERCISE.wrong(stage="memory", says="A mask is missing")
@kernel
def loads_without_a_mask():
    return changed(COPY, ("x_ptr + at, mask=at < n", "x_ptr + at"))


@EXERCISE.wrong(stage="memory", says="stores to element")
@kernel
def stores_without_a_mask():
    return changed(COPY, ("numbers, mask=at < n", "numbers"))


@EXERCISE.wrong(stage="memory", says="owner")
@kernel
def signs_without_a_mask():
    return changed(COPY, ("program, mask=at < n", "program"))


@EXERCISE.wrong(stage="memory", says="the limit of the mask is too high")
@kernel
def lets_one_too_many_in():
    return changed(COPY, ("at < n", "at <= n"))


@EXERCISE.wrong(stage="everybody once", says="places of its own")
@kernel
def forgets_who_it_is():
    return changed(COPY, ("program * BLOCK + ", ""))


@EXERCISE.wrong(stage="everybody once", says="limit may be too low")
@kernel
def stops_one_too_early():
    return changed(COPY, ("at < n", "at < n - 1"))


@EXERCISE.wrong(stage="everybody once", says="anything to `owner`")
@kernel
def forgets_to_sign():
    return changed(COPY, ("tl.store(owner_ptr + at, program, mask=at < n)", "pass"))


@EXERCISE.wrong(stage="copies", says="not a copy")
@kernel
def copies_its_own_number():
    return changed(COPY, ("at, numbers, mask", "at, program, mask"))


@EXERCISE.wrong(stage="owners", says="*neighbours*")
@kernel
def deals_the_numbers_out():
    strided = "program + tl.arange(0, BLOCK) * tl.num_programs(0)"
    return changed(COPY, ("program * BLOCK + tl.arange(0, BLOCK)", strided))


@EXERCISE.wrong(stage="owners", says="counts from 0")
@kernel
def counts_programs_from_one():
    return changed(COPY, ("at, program, mask", "at, program + 1, mask"))


@EXERCISE.right
@kernel
def one_number_after_the_other():
    return """\
@triton.jit
def kernel(x_ptr, out_ptr, owner_ptr, n, BLOCK: tl.constexpr):
    first = tl.program_id(0) * BLOCK
    for at in range(first, tl.minimum(first + BLOCK, n)):
        tl.store(out_ptr + at, tl.load(x_ptr + at))
        tl.store(owner_ptr + at, at // BLOCK)
"""


@EXERCISE.right
@kernel
def by_clamping_the_places():
    return changed(
        COPY,
        ("tl.arange(0, BLOCK)", "tl.arange(0, BLOCK)\n    at = tl.minimum(at, n - 1)"),
        (", mask=at < n", ""),
    )
