"""Exercise 8.3: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch08_real_models.records import NAMES
from moe_teach.chapters.ch08_real_models.where_they_part import EXERCISE

_OF_EXPERTS = ("expert_ids", "gates", "answers")


def _sorted(record):
    order = record["expert_ids"].argsort(dim=1)
    return {
        **record,
        "expert_ids": record["expert_ids"].gather(1, order),
        "gates": record["gates"].gather(1, order),
        "answers": torch.take_along_dim(record["answers"], order[..., None], 1),
    }


def _gap(a, b):
    return (a.double() - b.double()).abs()


def _same(name, a, b, slack):
    if a.shape != b.shape:
        return False
    if name == "expert_ids":
        return torch.equal(a, b)
    return bool(_gap(a, b).max() <= slack * a.double().abs().max())


def _report(theirs, ours, slack, same=_same, names=NAMES, prepare=_sorted):
    for layer, pair in enumerate(zip(theirs, ours, strict=True)):
        a, b = map(prepare, pair)
        for name in names:
            if not same(name, a[name], b[name], slack):
                return layer, name
    return ()


@EXERCISE.wrong(stage="equal models", says="lists the experts of a token in another order")
def compares_place_by_place(theirs, ours, slack):
    return _report(theirs, ours, slack, prepare=dict)


@EXERCISE.wrong(stage="equal models", says="what belongs to them was left where it was")
def sorts_the_ids_alone(theirs, ours, slack):
    def prepare(record):
        return {**record, "expert_ids": record["expert_ids"].sort(dim=1).values}

    return _report(theirs, ours, slack, prepare=prepare)


@EXERCISE.wrong(stage="equal models", says="compared to the last bit")
def compares_to_the_last_bit(theirs, ours, slack):
    return _report(theirs, ours, slack, same=lambda name, a, b, slack: torch.equal(a, b))


@EXERCISE.wrong(stage="equal models", says="Small numbers were asked for the same share")
def takes_a_share_of_each_number(theirs, ours, slack):
    def same(name, a, b, slack):
        return a.shape == b.shape and bool((_gap(a, b) <= slack * a.abs()).all())

    return _report(theirs, ours, slack, same=same)


@EXERCISE.wrong(stage="where", says="A later layer was reported")
def looks_for_the_largest_difference(theirs, ours, slack):
    found = [
        (float(_gap(a[name], b[name]).max()), layer, name)
        for layer, (a, b) in enumerate(zip(map(_sorted, theirs), map(_sorted, ours), strict=True))
        for name in NAMES
        if not _same(name, a[name], b[name], slack)
    ]
    return (max(found)[1], max(found)[2]) if found else ()


@EXERCISE.wrong(stage="where", says="Within a layer the names have an order")
def begins_at_the_end(theirs, ours, slack):
    return _report(theirs, ours, slack, names=NAMES[::-1])


@EXERCISE.wrong(stage="where", says="A difference in `logits` went unnoticed")
def looks_at_the_first_layer_alone(theirs, ours, slack):
    return _report(theirs[:1], ours[:1], slack)


@EXERCISE.wrong(stage="equal models", says="The answer is a tuple of a layer")
def answers_true_or_false(theirs, ours, slack):
    return _report(theirs, ours, slack) != ()


@EXERCISE.wrong(stage="hard to see", says="Every comparison with NaN is False")
def asks_whether_it_is_larger(theirs, ours, slack):
    def same(name, a, b, slack):
        if name == "expert_ids":
            return torch.equal(a, b)
        return not bool(_gap(a, b).max() > slack * a.double().abs().max())

    return _report(theirs, ours, slack, same=same)


@EXERCISE.wrong(stage="hard to see", says="A mean hides what one token shows")
def takes_the_mean(theirs, ours, slack):
    def same(name, a, b, slack):
        if name == "expert_ids":
            return torch.equal(a, b)
        return bool(_gap(a, b).mean() <= slack * a.double().abs().max())

    return _report(theirs, ours, slack, same=same)


@EXERCISE.wrong(stage="hard to see", says="Only sizes were compared")
def compares_sizes(theirs, ours, slack):
    def same(name, a, b, slack):
        return _same(name, a.abs(), b.abs(), slack)

    return _report(theirs, ours, slack, same=same)


@EXERCISE.wrong(stage="hard to see", says="Experts are numbers of things")
def gives_experts_slack(theirs, ours, slack):
    def same(name, a, b, slack):
        return a.shape == b.shape and bool(_gap(a, b).max() <= slack * a.abs().max())

    return _report(theirs, ours, slack, same=same)


@EXERCISE.wrong(stage="hard to see", says="sorted by themselves")
def sorts_gates_by_their_size(theirs, ours, slack):
    def prepare(record):
        return {**_sorted(record), "gates": record["gates"].sort(dim=1).values}

    return _report(theirs, ours, slack, prepare=prepare)


@EXERCISE.wrong(stage="bfloat16", says="rounded to their bfloat16")
def rounds_to_their_dtype(theirs, ours, slack):
    def same(name, a, b, slack):
        if a.shape != b.shape or name == "expert_ids":
            return _same(name, a, b, slack)
        return bool((a - b.to(a.dtype)).abs().max() <= slack * a.abs().max())

    return _report(theirs, ours, slack, same=same)


@EXERCISE.wrong(stage="bfloat16", says="Another dtype was taken for a difference")
def minds_the_dtype(theirs, ours, slack):
    def same(name, a, b, slack):
        return a.dtype == b.dtype and _same(name, a, b, slack)

    return _report(theirs, ours, slack, same=same)


@EXERCISE.wrong(stage="the limit", says="from the largest size in `ours`")
def measures_by_its_own_size(theirs, ours, slack):
    def same(name, a, b, slack):
        return _same(name, b, a, slack)

    return _report(theirs, ours, slack, same=same)


@EXERCISE.wrong(stage="equal models", says="The largest number is not the largest size")
def takes_the_largest_number(theirs, ours, slack):
    def same(name, a, b, slack):
        if a.shape != b.shape or name == "expert_ids":
            return _same(name, a, b, slack)
        return bool(_gap(a, b).max() <= slack * a.double().max())

    return _report(theirs, ours, slack, same=same)


@EXERCISE.right
def by_the_sorted_records(theirs, ours, slack):
    return _report(theirs, ours, slack)


def _tables(record):
    """Lay out what experts did as tables over all experts, which know no order."""
    ids = record["expert_ids"]
    n_experts = record["logits"].shape[1] + int(ids.max()) + 1
    chosen = torch.zeros(len(ids), n_experts).scatter(1, ids, 1.0)
    gates = torch.zeros(len(ids), n_experts).scatter(1, ids, record["gates"].float())
    wide = ids[..., None].expand_as(record["answers"])
    empty = torch.zeros(len(ids), n_experts, wide.shape[-1])
    answers = empty.scatter(1, wide, record["answers"].float())
    return {**record, "expert_ids": chosen, "gates": gates, "answers": answers}


@EXERCISE.right
def by_tables_over_all_experts(theirs, ours, slack):
    for layer in range(len(theirs)):
        a, b = _tables(theirs[layer]), _tables(ours[layer])
        for name in NAMES:
            if theirs[layer][name].shape != ours[layer][name].shape:
                return layer, name
            if a[name].shape != b[name].shape:
                return layer, name
            limit = 0 if name == "expert_ids" else slack * float(a[name].float().abs().max())
            gap = (a[name].float() - b[name].float()).abs().nan_to_num(nan=torch.inf)
            if float(gap.max()) > limit:
                return layer, name
    return ()
