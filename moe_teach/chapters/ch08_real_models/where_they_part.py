"""Chapter 08, exercise 8.3: a report that says where two models part, and in what."""

from collections.abc import Callable
from functools import partial
from typing import Any

from moe_teach.chapters.ch08_real_models.part_words import (
    EDGES,
    ROUNDED,
    SAME,
    SLACK,
    why_else,
    why_other_order,
)
from moe_teach.chapters.ch08_real_models.records import (
    NAMES,
    Model,
    Record,
    changed,
    drawn,
    in_other_order,
    recorded,
)
from moe_teach.judging.exercise import Exercise, Words, require
from moe_teach.judging.reasons import Why

EXERCISE = Exercise(
    id="8.3",
    name="where_they_part",
    title="Where do two models part?",
    points=3,
    difficulty=3,
    importance=5,
    minutes=20,
    hints=(
        "Go through the layers, and within a layer through the six names in their order: the "
        "first two tensors that differ are the answer, because everything behind them differs as a "
        "consequence. What you have to settle is only what counts as equal.",
        "Experts stand in any order, so bring both sides into one before comparing: "
        "expert_ids.argsort(dim=1), and take gates and answers along. A difference is large or "
        "small beside the largest number of `theirs`; and NaN is never smaller than anything, so "
        "ask whether the difference is *small*, and negate.",
        "order = record['expert_ids'].argsort(dim=1); torch.take_along_dim(gates, order, 1); "
        "torch.take_along_dim(answers, order[..., None], 1). Then: if a.shape != b.shape or not "
        "(a.double() - b.double()).abs().max() <= slack * a.double().abs().max(): return layer, "
        "name",
    ),
    explanation="The name tells you where to look: `x` is what came before this layer (attention, "
    "norms, embeddings), `logits` the router's matrix, `expert_ids` the score function, the bias "
    "and the groups, `gates` normalisation and scale, `answers` the matrices of the experts and "
    "their activation, `y` what is added at the end. One number at the very end of a model tells "
    "nothing of the kind, and a mistake in layer 3 makes all later ones look wrong. Such a report "
    "is the first thing to write when a conversion does not agree.",
)


def _facts(theirs: Model, ours: Model, slack: float) -> dict[str, Any]:
    n_tokens, top_k = theirs[0]["expert_ids"].shape
    shown = f"a list of {len(theirs)} records, of {n_tokens} tokens with {top_k} experts each"
    return {"theirs": Words(shown), "ours": Words(shown), "slack": slack}


def _judge(
    answer: Any,
    theirs: Model,
    ours: Model,
    right: Any,
    said: str,
    why: Why | Callable[[Any], Why],
    slack: float = SLACK,
) -> None:
    """Demand the right report; `why` may depend on the one that came."""
    got = answer(theirs, ours, slack)
    is_pair = isinstance(got, tuple) and len(got) == 2
    require(
        got == () or (is_pair and got[1] in NAMES and type(got[0]) is int),
        'The answer is a tuple of a layer and a name, such as (3, "gates"), or an empty one, ().',
        cause="Something else came back.",
        cure="return layer, name",
        got=got,
    )
    if got == right:
        return
    cause, cure = why if isinstance(why, Why) else why(got)
    require(
        False,
        said,
        cause=cause,
        cure=cure,
        expected=right,
        got=got,
        example=_facts(theirs, ours, slack),
    )


@EXERCISE.stage("equal models")
def _equal(answer: Any, seed: int) -> None:
    for model in (drawn(seed, 1, 1), drawn(seed, 3, 2), drawn(seed, 2, 4)):
        theirs = recorded(model)
        same = [{name: part.clone() for name, part in one.items()} for one in theirs]
        _judge(
            answer, theirs, same, (),
            "Two models are the same, number for number, and the report sees a difference.",
            Why("A limit of 0 was missed by `<`, or a name of one record was compared with "
                "another.", "Equal is `difference <= slack * largest`."),
        )  # fmt: skip
        for part, said, why in SAME:
            one_kind = [{**one, "x": part(one["x"]), "y": part(one["y"])} for one in theirs]
            _judge(answer, one_kind, [dict(one) for one in one_kind], (), said, why)
        other = [in_other_order(one, seed) for one in theirs]
        _judge(
            answer, theirs, other, (),
            "The other model lists the experts of a token in another order, and that is no "
            "difference.",
            why_other_order,
        )  # fmt: skip
        for share, told, why in ROUNDED:
            _judge(
                answer, theirs, [changed(one, "all", share, seed) for one in theirs], (),
                f"All numbers of the other model are off by {told}, the limit is {SLACK}, and the "
                "report sees a difference.",
                why,
            )  # fmt: skip


@EXERCISE.stage("where")
def _where(answer: Any, seed: int) -> None:
    n_layers = 4
    for at, name in enumerate(NAMES):
        model, layer = drawn(seed + at, n_layers, 3), (seed + at) % n_layers
        theirs, ours = recorded(model), recorded(model, (layer, name))
        _judge(
            answer, theirs, ours, (layer, name),
            "The two models part somewhere else.",
            partial(why_else, (layer, name)),
        )  # fmt: skip


def _spoilt(record: Record, *names: str) -> Record:
    return {**record, **{name: 1.1 * record[name] + 0.1 for name in names}}


@EXERCISE.stage("two at once")
def _two_at_once(answer: Any, seed: int) -> None:
    theirs = recorded(drawn(seed, 2, 3))
    for first, second in (("x", "logits"), ("gates", "answers"), ("answers", "y"), ("x", "y")):
        ours = [theirs[0], _spoilt(theirs[1], first, second)]
        _judge(
            answer, theirs, ours, (1, first),
            f"`{first}` and `{second}` both differ, and the first of them is the answer.",
            partial(why_else, (1, first)),
        )  # fmt: skip


@EXERCISE.stage("hard to see")
def _hard(answer: Any, seed: int) -> None:
    theirs = recorded(drawn(seed, 2, 3))
    for spoil, said, why in EDGES:
        for name in ("x", "gates", "y"):
            ours: list[Record] = [dict(one) for one in theirs]
            ours[1][name] = spoil(ours[1][name])
            _judge(answer, theirs, ours, (1, name), said, why)
    for name in ("gates", "answers"):
        mixed_up = [theirs[0], {**theirs[1], name: theirs[1][name].flip(1)}]
        _judge(
            answer, theirs, mixed_up, (1, name),
            f"The `{name}` of each token's experts changed places, and the experts did not.",
            Why(f"`{name}` were sorted by themselves, by their size.",
                "Bring them into the order of their experts' numbers."),
        )  # fmt: skip
    fewer = [dict(one) for one in theirs]
    for name in ("expert_ids", "gates", "answers"):
        fewer[0][name] = fewer[0][name][:, :-1]
    _judge(
        answer, theirs, fewer, (0, "expert_ids"),
        "The other model gives each token an expert less, so they part at `expert_ids`.",
        Why("Tensors of other shapes cannot be subtracted.", "Compare the shapes first."),
    )  # fmt: skip
    many = [{**one, "expert_ids": one["expert_ids"] + 1000} for one in theirs]
    beside = [{**one, "expert_ids": one["expert_ids"].clone()} for one in many]
    highest = beside[0]["expert_ids"][0].argmax()
    beside[0]["expert_ids"][0, highest] += 1
    _judge(
        answer, many, beside, (0, "expert_ids"),
        "One token goes to expert n + 1 in place of n, with n above 1000: that is another expert.",
        Why("Experts are numbers of things and have no slack.", "torch.equal for expert_ids."),
    )  # fmt: skip


@EXERCISE.stage("the limit")
def _limit(answer: Any, seed: int) -> None:
    theirs = recorded(drawn(seed, 2, 3))
    for name in ("x", "gates", "answers", "y"):
        for factor, right in ((1.6, (1, name)), (0.6, ())):
            ours = [theirs[0], {**theirs[1], name: factor * theirs[1][name]}]
            _judge(
                answer, theirs, ours, right,
                f"`{name}` is {factor} times as large on the other side, and slack is 0.5.",
                Why("The limit was taken from the largest size in `ours`.",
                    "slack times the largest size in `theirs`."),
                slack=0.5,
            )  # fmt: skip


@EXERCISE.stage("bfloat16")
def _bfloat16(answer: Any, seed: int) -> None:
    theirs = recorded(drawn(seed, 2, 3))
    for one in theirs:
        one["x"] = one["x"].bfloat16().float()
    ours = [{**one, "x": one["x"].bfloat16()} for one in theirs]
    said = "x is the same on both sides, stored in bfloat16 on one, and that is no difference."
    why = Why("Another dtype was taken for a difference.", "Compare in float64: part.double().")
    _judge(answer, theirs, ours, (), said, why)
    _judge(answer, ours, theirs, (), said, why)
    near = [theirs[0], {**theirs[1], "x": theirs[1]["x"].clone()}]
    largest = near[1]["x"].abs().argmax()
    near[1]["x"].view(-1)[largest] *= 1.0018
    _judge(
        answer, ours, near, (1, "x"),
        "The largest number of x is off by almost twice the limit. theirs is stored in bfloat16, "
        "and the report did not find it.",
        Why("ours was rounded to their bfloat16, or the difference was, and it went away.",
            "Compare in float64: part.double()."),
    )  # fmt: skip
    spoilt = [dict(one) for one in ours]
    spoilt[1]["x"] = ours[1]["x"].clone()
    spoilt[1]["x"][0, 0] += 0.05 * spoilt[1]["x"].abs().max()
    _judge(
        answer, theirs, spoilt, (1, "x"),
        "x is off by a twentieth in bfloat16, and the report did not find it.", why,
    )  # fmt: skip
