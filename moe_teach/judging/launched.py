"""What a check may demand of a launch, beyond the values that it wrote."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from moe_teach.judging.exercise import WrongAnswer, require
from moe_teach.judging.reasons import Why


@dataclass(frozen=True, eq=False)
class Run:
    """One launch of a kernel: what it was given, what it wrote, and what the watcher saw.

    `given` holds the inputs as they were before the launch; `outputs` the written tensors by
    their names without `_ptr`; `seen` is the watcher's record.
    """

    given: dict[str, Any]
    outputs: dict[str, Tensor]
    seen: Any

    def demand_no_races(self, cause: str, cure: str = "", *, within: Why | None = None) -> None:
        """Reject the kernel if two programs meet at one element in an order nobody settles.

        `within` takes the place of cause and cure where it is two lanes of *one* program that
        meet. Without a cure the watcher's stands.
        """
        for race in self.seen.races():
            is_within = within is not None and len(set(race.programs)) == 1
            why = within if is_within and within is not None else Why(cause, cure)
            cure = why.cure or race.told.cure
            raise WrongAnswer(race.told.symptom, cause=why.cause, cure=cure, example=self.given)

    def demand_no_atomics(self, cause: str, cure: str = "") -> None:
        """Reject the kernel if it uses an atomic operation."""
        for access in self.seen.accesses:
            if access.kind == "atomic":
                said = f"The kernel changes `{access.buffer}` with an atomic operation."
                raise WrongAnswer(said, cause=cause, cure=cure, example=self.given)

    def demand_not_read_early(self, name: str) -> None:
        """Reject the kernel if it builds on what stood in its output before the launch."""
        written: set[int] = set()
        for access in self.seen.accesses:
            elements = access.elements.tolist() if access.buffer == name else []
            early = [i for i in elements if i not in written and access.kind == "load"]
            require(
                not early,
                f"The kernel loads {_listed(early)} of `{name}` before anybody has stored it.",
                cause="An output comes to you full of old numbers.",
                cure="Add up in a variable, and store once.",
                example=self.given,
            )
            written.update(elements if access.kind != "load" else ())

    def demand_written(
        self, name: str, cause: str, cure: str = "", *, needed: Tensor | None = None
    ) -> None:
        """Reject the kernel if it leaves an element of `name` out.

        `needed` marks the elements that must be written, in the tensor's shape; none means all.
        """
        missing = [int(i) for i in self.seen.unwritten(name)]
        if needed is not None:
            missing = [i for i in missing if bool(needed.reshape(-1)[i])]
        what = f"{_listed(missing)} of `{name}`."
        if len(missing) == self.outputs[name].numel():
            what, cause = f"anything to `{name}`.", f"Is there a `tl.store` for it? {cause}"
        require(
            not missing,
            f"Nobody stores {what}",
            cause=cause,
            cure=cure,
            got=self.outputs[name],
            example=self.given,
        )

    def demand_full_precision(self) -> None:
        """Reject the kernel if a GPU would round its products more than float32 does."""
        self._demand_none(self.seen.narrow_dots)

    def demand_wide_offsets(self) -> None:
        """Reject the kernel if an integer had wrapped around when an address was made of it.

        A launch at the size where that happens comes before this, with tensors made by `vast`; most
        of such addresses lie outside, so that the launch itself has rejected them already.
        """
        self._demand_none(self.seen.wrapped)

    def _demand_none(self, notes: Iterable[Any]) -> None:
        for note in notes:
            told = note.told
            raise WrongAnswer(told.symptom, cause=told.cause, cure=told.cure, example=self.given)


def _listed(missing: list[int]) -> str:
    shown = ", ".join(map(str, missing[:3]))
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return f"element{'s' if len(missing) > 1 else ''} {shown}{more}"
