"""Exercises 10.6 and 10.7: the reader's own kernels in the place of stand-ins, under a watch."""

from collections.abc import Callable, Mapping
from typing import Any

from moe_teach.chapters.ch10_triton_experts.stand_in_kernels import stand_ins
from moe_teach.judging.exercise import Words, WrongAnswer, require


def demand_own_kernels(
    launches: Callable[..., Any],
    of_exercise: Mapping[str, str],
    is_right: Callable[[Any], bool],
    expected: Any,
) -> None:
    """Put the reader's kernels in one by one and then all of them; nothing may change.

    `launches` takes kernels by name and gives a result that `is_right` knows; a kernel that is not
    handed over is the reader's own, that of the exercise in `of_exercise`.
    """
    from moe_teach.analysis.kernel_watch import KernelFault, watch

    for name, item in (*of_exercise.items(), ("", "")):
        parts = {} if not name else stand_ins(other for other in of_exercise if other != name)
        who = f"With your own `{name}`, the answer to {item}, in it" if name else "With all of them"
        seen = got = None
        said = ""
        try:
            with watch(adopt=True) as seen:
                got = launches(**parts)
        except WrongAnswer:
            raise
        except KernelFault as fault:
            said = str(fault)
        except Exception as error:
            said = f"It raises {type(error).__name__}: {error}"
        require(
            got is not None and is_right(got),
            f"Your launches are right. {who} the result is not. {said}".rstrip(),
            cause="The kernel changed since its check passed, or the launch hands it a size that "
            "the formulas forgave.",
            cure=f'check("{item}", mine("{item}")) looks at it alone.',
            expected=expected,
            got=got if got is not None else Words("an error"),
        )
        for race in seen.races():
            raise WrongAnswer(f"{who}: {race.sentence}")
