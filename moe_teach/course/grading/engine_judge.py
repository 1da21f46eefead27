"""The judge of a batch: the engine, with a fork server that serves one submission after another."""

from collections.abc import Sequence
from pathlib import Path

from moe_teach.course.grading.host import Host
from moe_teach.course.grading.inside import INSIDE
from moe_teach.course.grading.judge import judge
from moe_teach.course.grading.probes import BadProbe, load_probes, marks_of
from moe_teach.course.grading.record import Answers, Graded
from moe_teach.course.grading.worker import confine

_MANY = 3  # submissions: from the third on, a server that loads ahead has paid for itself


class EngineJudge:
    """Judges submissions in workers; `seed` draws other inputs for everybody.

    Raises:
        BadProbe: in a sentence, if a folder of probes cannot be used.
    """

    def __init__(
        self, seed: int = 0, seconds: float | None = None, probes: Path | None = None
    ) -> None:
        self._seed, self._seconds = seed, seconds
        self._host: Host | None = None
        self._n_judged = 0
        self._probes = load_probes(probes) if probes else {}
        self._marks = marks_of(probes, self._probes) if probes else {}
        beside = sorted(set(self._probes) & set(INSIDE))
        if beside:
            raise BadProbe(
                f"{probes} has probes for {', '.join(beside)}, which is judged beside the answer, "
                "where a probe could be read: take them out."
            )

    def mark(self, exercise: str) -> str:
        """Give what changes with the probes of an exercise."""
        return self._marks.get(exercise, "")

    def judge(self, answers: Answers, only: Sequence[str]) -> list[Graded]:
        """Judge one submission; a server that is of no more use is replaced for the next one."""
        self._n_judged += 1
        if self._n_judged == _MANY:
            self.close()
        if self._host is None:
            # It raises `NoServer`, which the batch tells as a fault of ours.
            self._host = Host(for_many=self._n_judged >= _MANY)
        about = {"seed": self._seed, "seconds": self._seconds, "only": only, "probes": self._probes}
        results = judge(answers, host=self._host, **about)
        if any(result.status == "ungraded" for result in results):
            self.close()
        return results

    def close(self) -> None:
        """End the server."""
        if self._host is not None:
            host, self._host = self._host, None
            host.close()


def demand_walls(n_students: int, is_trusted: bool) -> None:
    """Refuse to run several people's code where the system has no walls for it.

    Raises:
        ValueError: in a sentence, unless they are trusted.
    """
    if n_students > 1 and confine.tier() < 2 and not is_trusted:
        raise ValueError(
            f"This machine cannot wall in the code of {n_students} people (tier {confine.tier()}): "
            "it could read and change files of this account, this gradebook among them. Grade on "
            "Linux 5.13 or later, or say --trust-submissions if you know who wrote it."
        )
