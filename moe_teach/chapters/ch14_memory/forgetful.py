"""Chapter 14, exercise 14.2: a policy that remembers uses and forgets them, by halves."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import torch

from moe_teach.chapters.ch14_memory.asking import unwatched
from moe_teach.chapters.ch14_memory.halves import exact_scores, found_by_exact, some_uses
from moe_teach.chapters.ch14_memory.inputs import small_model
from moe_teach.chapters.ch14_memory.side_by_side import found_in_memory
from moe_teach.deploy.store.policies import Key
from moe_teach.judging.elsewhere import in_turn
from moe_teach.judging.exercise import Exercise, Words, WrongAnswer, require
from moe_teach.judging.reasons import Why

EXERCISE = Exercise(
    id="14.2",
    name="Forgetful",
    title="A policy that forgets by halves",
    points=3,
    difficulty=3,
    importance=4,
    minutes=20,
    changes_inputs=True,  # a policy has a memory
    limit=90,  # the first time a model is opened, torch imports for seconds
    hints=(
        "All scores shrink by the same factor from one step to the next, so their *order* changes "
        "only where an expert is used. A score needs to be touched in `use` alone.",
        "Instead of letting the old uses shrink, let the new ones grow: a use in step s adds "
        "2 ** (s / half_life). The order is the same. These numbers do not fit into a float for "
        "long, but their logarithms do.",
        "Keep for each key log2 of its sum. In `use`: now = step / half_life; before = "
        "self.score.get(key, -inf); high = max(now, before); self.score[key] = high + "
        "log2(2 ** (now - high) + 2 ** (before - high)). `worth` is a look into the dictionary.",
    ),
    explanation="A short half-life looks at the last use and little else, which is LRU; an endless "
    "one counts all uses, which is LFU. In between lies what the lesson's users need who change "
    "their subject now and then (the family is LRFU of Lee et al. 2001). Because the policy only "
    "hears of uses and says what an expert is worth, and neither counts bytes nor holds weights, "
    "the same object serves the simulator and the store that reads a disk: what you measure on a "
    "trace is what will run.",
)

ROOMS = (2, 5)  # experts that fit into the memory of the simulator
NEAR = 1e-6  # of the logarithms: closer scores are no clear order


def _fed(answer: Any, half_life: float, uses: Iterable[tuple[Key, int]]) -> Any:
    policy = answer(half_life)
    in_turn([(policy, "use", key, step) for key, step in uses])
    return policy


def _as_example(uses: list[tuple[Key, int]], half_life: float) -> dict[str, Any]:
    return {"half_life": half_life, "uses": [(*key, step) for key, step in uses[:12]]}


def _demand_order(
    policy: Any, uses: list[tuple[Key, int]], half_life: float, said: str, why: Why
) -> None:
    exact = exact_scores(uses, half_life, now=max(step for _, step in uses))
    ranked = sorted(exact, key=exact.__getitem__)
    worths = dict(zip(ranked, in_turn([(policy, "worth", key) for key in ranked]), strict=True))
    for less, more in pairwise(ranked):
        if exact[more] - exact[less] > NEAR:
            require(
                worths[less] < worths[more],
                said,
                **why._asdict(),
                expected=Words(f"expert {tuple(less)} is worth less than {tuple(more)}"),
                got=Words(f"{worths[less]!r} and {worths[more]!r}"),
                example=_as_example(uses, half_life),
            )


@EXERCISE.stage("two methods")
def _policy_form(answer: Any, seed: int) -> None:
    missing = [name for name in ("use", "worth", "per_layer") if not hasattr(answer(8.0), name)]
    require(not missing, f"The policy has no `{', '.join(missing)}`.")
    used, never = Key(0, 1), Key(1, 1)
    for step in (5, 0):
        policy = _fed(answer, 8.0, [(used, step)])
        for _ in range(2):
            require(
                policy.worth(never) < policy.worth(used),
                f"Never used is not worth less than used once, in step {step}.",
                cause="Asking must not fail, and of no uses at all the logarithm is -infinity.",
                cure="`self.score.get(key, -math.inf)`.",
                got=Words(f"{policy.worth(never)!r} and {policy.worth(used)!r}"),
                example=_as_example([(used, step)], 8.0),
            )


_TURNED = Why("Old uses count more than new ones.", "An old use counts 2 ** (-age / half_life).")
_COUNTED = Why("A use counts the same however old it is.", "It counts 2 ** (-age / half_life).")


@EXERCISE.stage("recent uses")
def _policy_recent(answer: Any, seed: int) -> None:
    keys = [Key(0, expert) for expert in range(5)]
    uses = [(key, 3 * i) for i, key in enumerate(keys)]
    said = "Every expert was used once. The one whose use is older is not worth less."
    for half_life in (1.0, 5.0, 1000.0):
        policy = _fed(answer, half_life, uses)
        is_turned = policy.worth(keys[0]) > policy.worth(keys[-1])
        _demand_order(policy, uses, half_life, said, _TURNED if is_turned else _COUNTED)


@EXERCISE.stage("many uses")
def _policy_often(answer: Any, seed: int) -> None:
    often, lately = Key(0, 0), Key(0, 1)
    uses = [(often, step) for step in range(6)] + [(lately, 7)]
    _demand_order(
        _fed(answer, 16.0, uses),
        uses,
        16.0,
        "Six uses a little while ago are worth more than one use now, and here they are not.",
        Why(
            "The old score was replaced by the new use, so that only the last one is left: that "
            "is LRU.",
            "Add the new use to what is left of the old score.",
        ),
    )
    uses = [(often, step) for step in range(6)] + [(lately, 70)]
    _demand_order(
        _fed(answer, 8.0, uses),
        uses,
        8.0,
        "Six uses eight half-lives ago are worth less than one use now, and here they are not.",
        Why("The uses are counted and never shrink: that is LFU.", "Let them halve with time."),
    )


@EXERCISE.stage("half-life")
def _policy_half(answer: Any, seed: int) -> None:
    twice, once = Key(0, 0), Key(0, 1)
    for half_life in (4.0, 10.0):
        # Two uses in the past weigh as much as one now after exactly one half-life.
        for age, said in ((half_life - 1, "less"), (half_life + 1, "more")):
            uses = [(twice, 100), (twice, 100), (once, 100 + int(age))]
            _demand_order(
                _fed(answer, half_life, uses),
                uses,
                half_life,
                f"Two uses, {int(age)} steps ago, against one now: {said} than the half-life of "
                f"{half_life:g} has passed.",
                Why(
                    "The score shrinks by another factor: e instead of 2, or once for each use "
                    "instead of once for each step.",
                    "2 ** (-age / half_life), with the age in steps.",
                ),
            )


@EXERCISE.stage("many experts")
def _policy_exact(answer: Any, seed: int) -> None:
    for half_life in (1.0, 3.5, 20.0, 400.0):
        uses = some_uses(100, seed)
        _demand_order(
            _fed(answer, half_life, uses),
            uses,
            half_life,
            "Two experts stand in the wrong order.",
            Why(
                "Some score has shrunk too often, or was not brought up to date before it was "
                "compared: steps may be left out, and one step may use several experts.",
                "Compare all scores as they would be in the same step.",
            ),
        )


@EXERCISE.stage("a long run")
def _policy_long(answer: Any, seed: int) -> None:
    why = Why(
        "2 ** (step / half_life) grows beyond every float, and 2 ** (-age / half_life) falls "
        "below every float, so that old experts all become 0.",
        "Keep the logarithm of the score, and add inside it: log2(2 ** a + 2 ** b) is "
        "max(a, b) + log2(1 + 2 ** -abs(a - b)).",
    )
    uses = some_uses(60, seed, stride=40_000)
    try:
        policy = _fed(answer, 2.0, uses)
        _demand_order(policy, uses, 2.0, "After a million steps the order is lost.", why)
    except (OverflowError, ZeroDivisionError, ValueError) as error:
        raise WrongAnswer(
            f"After a million steps it raises {type(error).__name__}: {error}.",
            cause=why.cause,
            cure=why.cure,
            example=_as_example(uses, 2.0),
        ) from None


@EXERCISE.stage("looking changes nothing")
def _policy_looks(answer: Any, seed: int) -> None:
    uses = some_uses(80, seed)
    keys = [Key(layer, expert) for layer in range(3) for expert in range(4)]
    plain, looked = _fed(answer, 6.0, uses), answer(6.0)
    for use in uses:
        in_turn([(looked, "use", *use), *((looked, "worth", other) for other in keys)])
    asked = (in_turn([(policy, "worth", key) for key in keys]) for policy in (plain, looked))
    for never, often in zip(*asked, strict=True):
        require(
            never == often,
            "A policy that was asked often answers otherwise than one that was never asked.",
            cause="`worth` changes what is remembered. A cache asks it as often as it likes.",
            cure="Change the memory in `use` alone.",
            expected=never,
            got=often,
        )


@EXERCISE.stage("in the simulator")
def _policy_simulated(answer: Any, seed: int) -> None:
    requests, expected = found_by_exact(seed, ROOMS)
    made = [unwatched(answer)(3.3) for _ in ROOMS]
    found = found_in_memory(made, [requests] * len(ROOMS), ROOMS)
    for room, own, right in zip(ROOMS, found, expected, strict=True):
        require(
            sum(own) == right,
            f"In the simulator, with room for {room} experts, it finds another number of them.",
            cause="Two policies share their memory, or the half-life was fixed.",
            cure="Keep everything on `self`, made anew in `__init__`.",
            expected=right,
            got=sum(own),
        )


@EXERCISE.stage("in the store")
def _policy_stored(answer: Any, seed: int) -> None:
    if seed:  # a disk is read, and the model is the same
        return
    plain, through, hits, simulated = small_model(lambda: unwatched(answer)(3.3))
    require(
        torch.equal(plain, through),
        "With your policy the store gives other logits than the model in memory.",
        expected=plain,
        got=through,
    )
    require(
        hits == simulated,
        "In the store that reads a disk your policy finds another number of experts in memory "
        "than in the simulator.",
        cause="It depends on more than the uses that it is told: a clock, or chance.",
        cure="Use the `step` that is given.",
        expected=simulated,
        got=hits,
    )
