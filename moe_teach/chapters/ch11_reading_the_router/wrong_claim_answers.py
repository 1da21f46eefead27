"""Exercise 11.5: auditors that overlook something, and others that see it."""

import torch

from moe_teach.chapters.ch11_reading_the_router.bits import information
from moe_teach.chapters.ch11_reading_the_router.reports import null_of
from moe_teach.chapters.ch11_reading_the_router.wrong_claim import EXERCISE


def _truth(report):
    """Compute every claim anew."""
    ids, domains = report.expert_ids, report.domains
    n_experts, n_domains = report.damage.shape
    return {
        "load": torch.bincount(ids.flatten(), minlength=n_experts) / ids.numel(),
        "information": information(ids, domains),
        "null": null_of(vars(report)),
        "drops": [1 - report.kept[domains == d].float().mean() for d in range(n_domains)],
        "needed": int(report.damage.mean(dim=1).argmax()),
    }


def _first_far(report, truth, allowed=0.03):
    for name, value in truth.items():
        told = torch.as_tensor(getattr(report, name), dtype=torch.float64)
        if (told - torch.as_tensor(value, dtype=torch.float64)).abs().max() > allowed:
            return name
    return "healthy"


def _without(report, name):
    truth = _truth(report)
    del truth[name]
    return _first_far(report, truth)


@EXERCISE.wrong(stage="reports that are right", says="a claim is called false")
def allows_no_rounding(report):
    return _first_far(report, _truth(report), 1e-6)


@EXERCISE.wrong(stage="reports that are right", says='The answer is "healthy"')
def answers_true(report):
    return _first_far(report, _truth(report)) == "healthy"


def _with(report, name, value):
    return _first_far(report, _truth(report) | {name: value})


@EXERCISE.wrong(stage="reports that are right", says="Is the null what a table of tokens")
def deals_over_everything(report):
    return _with(report, "null", null_of(vars(report), everything=True))


@EXERCISE.wrong(stage="reports that are right", says="with nothing given")
def tells_beyond_the_token(report):
    told = information(report.expert_ids, report.domains, report.tokens)
    return _with(report, "information", told)


@EXERCISE.wrong(stage="reports that are right", says="a share of its own choices")
def counts_what_was_kept(report):
    n_domains = report.damage.shape[1]
    shares = [report.kept[report.domains == d].float().mean() for d in range(n_domains)]
    return _with(report, "drops", shares)


@EXERCISE.wrong(stage="reports that are right", says="all K choices")
def divides_by_tokens(report):
    counts = torch.bincount(report.expert_ids.flatten(), minlength=len(report.damage))
    return _with(report, "load", counts / len(report.tokens))


@EXERCISE.wrong(stage="reports that are right", says="every domain counting the same")
def the_largest_damage_anywhere(report):
    return _with(report, "needed", int(report.damage.max(dim=1).values.argmax()))


@EXERCISE.wrong(stage="reports that are right", says="changed its input")
def turns_the_table_round(report):
    report.kept.logical_not_()
    return "healthy"


@EXERCISE.wrong(stage="load", says="Is the load taken over all batches")
def always_healthy(report):
    return "healthy"


@EXERCISE.wrong(stage="load", says="that goes unnoticed")
def never_looks_at_loads(report):
    return _without(report, "load")


@EXERCISE.wrong(stage="information", says="in nats")
def never_looks_at_bits(report):
    return _without(report, "information")


@EXERCISE.wrong(stage="null", says="dealt over everything")
def believes_every_null(report):
    return _without(report, "null")


@EXERCISE.wrong(stage="drops", says="shares of all choices")
def believes_every_drop(report):
    return _without(report, "drops")


@EXERCISE.wrong(stage="needed", says="The busiest expert")
def believes_in_the_busiest(report):
    counts = torch.bincount(report.expert_ids.flatten(), minlength=len(report.damage))
    found = _first_far(report, _truth(report))
    return "healthy" if found == "needed" and report.needed == int(counts.argmax()) else found


@EXERCISE.right
def one_claim_at_a_time(report):
    truth = _truth(report)
    if any(abs(a - b) > 0.02 for a, b in zip(report.load, truth["load"].tolist(), strict=True)):
        return "load"
    if abs(report.information - truth["information"]) > 0.02:
        return "information"
    if abs(report.null - truth["null"]) > 0.02:
        return "null"
    if any(abs(a - b) > 0.02 for a, b in zip(report.drops, truth["drops"], strict=True)):
        return "drops"
    return "healthy" if report.needed == truth["needed"] else "needed"


@EXERCISE.right
def the_farthest_of_all(report):
    far = {}
    for name, value in _truth(report).items():
        told = torch.as_tensor(getattr(report, name), dtype=torch.float32)
        far[name] = (told - torch.as_tensor(value, dtype=torch.float32)).abs().max().item()
    worst = max(far, key=far.get)
    return worst if far[worst] > 0.04 else "healthy"
