"""Chapter 14, exercise 14.5: find what is wrong in somebody's cache, from its log."""

from functools import cache
from typing import Any

from moe_teach.chapters.ch14_memory.cache_logs import FAULTS, first_fault, log_of
from moe_teach.judging.exercise import Exercise, require
from moe_teach.judging.reasons import Why

EXERCISE = Exercise(
    id="14.5",
    name="first_broken_rule",
    title="Find what is wrong: Somebody's cache",
    points=3,
    difficulty=3,
    importance=4,
    minutes=20,
    limit=20,
    hints=(
        "Play the log back. What must you remember to judge the next event? Who is in memory, and "
        "of each whether its bytes have arrived; and of the present request who was there when it "
        "came, and who has not worked yet.",
        "One dictionary: memory[expert] = True once it is ready. At an `ask` keep two sets: "
        "`there`, those that are ready now, and `waiting`, all that were asked for; `work` takes "
        "an expert out of `waiting`. Apply an event first, then judge it, except `evict` and the "
        "counts, where it does not matter.",
        "for i, (verb, what) in enumerate(log): ask: waiting = set(what); there = {e for e in what "
        "if memory.get(e)}; hit or miss: broken if (verb == 'hit') != (what in there); evict: "
        "broken if what in waiting, memory.pop(what); read: memory[what] = False, broken if the "
        "sizes of all in memory exceed the budget; ready: memory[what] = True; work: broken unless "
        "memory.get(what), waiting.discard(what).",
    ),
    explanation="None of these caches gives an error. The one that counts early shows a hit rate "
    "that its users never feel. The one that counts experts keeps its promise as long as all are "
    "of one size, and meets the kernel's out-of-memory killer on the day the hot ones are stored "
    "in eight bits and the cold ones in four. The one that evicts what is in use reads the same "
    "bytes twice, or computes on freed memory. And an expert that works half-loaded gives numbers "
    "that look like numbers. A log and four rules find them all: keep such a check in your tests.",
)

LOGS_A_SEED = 6
_log = cache(log_of)


def _cases(fault: str, seed: int) -> list[dict[str, Any]]:
    """Give logs of caches with one mistake."""
    found = []
    for i in range(LOGS_A_SEED):
        log, sizes, budget_bytes = _log(fault, LOGS_A_SEED * seed + i, n_steps=8)
        found.append({"log": list(log), "sizes": dict(sizes), "budget_bytes": budget_bytes})
    return found


def _form(got: Any, given: dict[str, Any]) -> Any:
    is_pair = isinstance(got, tuple) and len(got) == 2 and type(got[0]) is int
    require(
        got == "healthy" or (is_pair and isinstance(got[1], str)),
        'The answer is "healthy", or a tuple of the number of an event and a rule.',
        got=got,
        example=_shown(given, 6),
    )
    return got


def _shown(given: dict[str, Any], until: int) -> dict[str, Any]:
    """Give the end of the log up to an event; the whole one would fill the page."""
    first = max(0, until - 9)
    return {"events": {i: given["log"][i] for i in range(first, until + 1)},
            "budget_bytes": given["budget_bytes"]}  # fmt: skip


_SLIPS = {
    "reading": Why("An expert whose read had only begun was taken for one that was there.",
                   "It is there once `ready` has come."),
    "misses": Why("Only hits were checked. A miss is wrong, too, where the expert was ready.",
                  "`(verb == 'hit') != (what in there)`."),
    "now": Why("A count was compared with who is there when it is written down. By then an expert "
               "may have been read that was not there when its layer asked.",
               "Keep at each `ask` who is ready then."),
    "asks": Why("Experts of an earlier `ask` were taken for being in use. It is over when the next "
                "one comes, whether all have worked or not.", "At `ask`, `waiting = set(what)`."),
    "ready bytes": Why("An expert that is being read needs its place from the beginning.",
                       "Add up all that were read and not evicted, ready or not."),
    "mean": Why("Experts were counted, and this budget is one of bytes.",
                "Add up `sizes[expert]`."),
    "began": Why("An expert worked of which a part was still missing, and that went unnoticed.",
                 "`work` needs a `ready` since its last `read`."),
    "for ever": Why("An expert that has worked may go, also while others of its request still "
                    "wait.", "`work` ends its being in use."),
}  # fmt: skip
_ELSE = Why(
    "Something is remembered longer or shorter than it holds.",
    "An eviction ends `ready`; the next `ask` ends the request before it.",
)


def _demand_found(answer: Any, fault: str, seed: int, said: str) -> None:
    for given in _cases(fault, seed):
        right = first_fault(**given) or "healthy"
        got = _form(answer(**given), given)
        if got == right:
            continue
        names = (n for n in _SLIPS if got == (first_fault(**given, slip=n) or "healthy") != right)
        late = got != "healthy" and right != "healthy" and got[0] > right[0]
        otherwise = _ELSE
        if late:
            otherwise = Why("A later event was named than the first.", "Return at once.")
        at = right[0] if right != "healthy" else got[0] if got != "healthy" else 0
        require(
            False,
            said,
            **_SLIPS.get(next(names, ""), otherwise)._asdict(),
            expected=right,
            got=got,
            example=_shown(given, min(at, len(given["log"]) - 1)),
        )


@EXERCISE.stage("a cache that is right")
def _log_healthy(answer: Any, seed: int) -> None:
    _demand_found(answer, "", seed, "This log breaks no rule, and one is reported.")


@EXERCISE.stage("room")
def _log_room(answer: Any, seed: int) -> None:
    _demand_found(answer, FAULTS[3], seed, "This cache's memory is fuller than its budget.")


@EXERCISE.stage("in use")
def _log_in_use(answer: Any, seed: int) -> None:
    _demand_found(answer, FAULTS[2], seed, "This cache throws out experts that are still to work.")


@EXERCISE.stage("half-loaded")
def _log_half(answer: Any, seed: int) -> None:
    _demand_found(answer, FAULTS[4], seed, "In this cache experts work before all is there.")


@EXERCISE.stage("count")
def _log_count(answer: Any, seed: int) -> None:
    _demand_found(answer, FAULTS[0], seed, "This cache counts hits that were none.")
    _demand_found(answer, FAULTS[1], seed, "This cache counts misses that were none.")
