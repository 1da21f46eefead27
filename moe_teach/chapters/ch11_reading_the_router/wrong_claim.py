"""Chapter 11, exercise 11.5: find what is wrong in somebody's audit."""

from typing import Any

from moe_teach.chapters.ch11_reading_the_router.reports import (
    CLAIMS,
    FAULTS,
    N_DOMAINS,
    N_EXPERTS,
    N_TOKENS,
    report_of,
)
from moe_teach.judging.exercise import Exercise, Words, require
from moe_teach.judging.reasons import Why

EXERCISE = Exercise(
    id="11.5",
    name="wrong_claim",
    title="Find what is wrong: Somebody's audit",
    points=3,
    difficulty=3,
    importance=4,
    minutes=20,
    needs=("11.1", "11.2"),
    limit=60,
    hints=(
        "Compute each claim yourself from the data of the report, and compare. Four of five need "
        "a line each; the null needs a loop.",
        "null: deal `domains` within `tokens` some 20 times with mine('11.2'), take mine('11.1') "
        "of each deal and nothing given, and average. needed: damage.mean(dim=1).argmax().",
        "def far(a, b): return (torch.as_tensor(a) - torch.as_tensor(b)).abs().max() > 0.03. load: "
        "bincount(expert_ids.flatten(), minlength=E) / numel; drops: 1 - "
        "kept[domains == d].float().mean(); then return the first name whose claim is far.",
    ),
    explanation="Each of these reports looks fine, and each mistake has been made in earnest. The "
    "last batch of a sorted sample holds one domain, and its load looks like specialists. The null "
    "that is dealt over everything is near 0 for every router that looks at its token, so that "
    "the information looks like proof. Drops as a share of *all* choices make a rare domain's loss "
    "small by definition. And the busiest expert is not the one that is needed.",
)

DATA = f"{N_TOKENS} tokens, 2 choices, {N_EXPERTS} experts, {N_DOMAINS} domains"

_SAYS = {
    "": "This report is right, and a claim is called false.",
    "last batch": "This load was read off the last batch, and that goes unnoticed.",
    "first choice": "This load counts first choices alone, and that goes unnoticed.",
    "nats": "This information is in nats, and that goes unnoticed.",
    "over everything": "This null was dealt over everything, and that goes unnoticed.",
    "of all": "These drops are shares of all choices, and that goes unnoticed.",
    "busiest": "The busiest expert was called the one that is needed, and that goes unnoticed.",
    "all tokens alike": "The needed expert is that of the largest domain, and that goes unnoticed.",
}
_WHY = {
    "load": Why("Is the load taken over all batches and all K choices?", "bincount of all ids."),
    "information": Why(
        "Is it compared in bits, with nothing given?", "mine('11.1')(ids, domains)."
    ),
    "null": Why(
        "Is the null what a table of tokens could reach?",
        "Deal domains within tokens, take the information with nothing given, average.",
    ),
    "drops": Why(
        "Are a domain's drops a share of its own choices?",
        "1 - kept[domains == d].float().mean()",
    ),
    "needed": Why(
        "Is needed the one whose absence costs most, every domain counting the same?",
        "damage.mean(dim=1).argmax()",
    ),
}


def _demand(answer: Any, fault: str, seed: int) -> None:
    report = report_of(fault, seed)
    right = FAULTS.get(fault, "healthy")
    got = answer(report)
    shown = {name: getattr(report, name) for name in CLAIMS}
    require(
        isinstance(got, str) and got in (*CLAIMS, "healthy"),
        'The answer is "healthy", or the name of a claim.',
        cause=f"One of {', '.join(CLAIMS)}.",
        got=got,
        example=shown,
    )
    require(
        got == right,
        _SAYS[fault],
        **_why(got, right)._asdict(),
        expected=right,
        got=got,
        example={**shown, "data": Words(DATA)},
    )


def _why(got: str, right: str) -> Why:
    """Ask about the claim that was called false, or about the false one that went unnoticed."""
    if got in ("healthy", right):
        return _WHY.get(right, Why())
    asked = _WHY[got]
    return Why(
        f"`{got}` is right here, up to rounding and luck. {asked.cause}",
        f"Your own number for it: {asked.cure.rstrip('.')}. And what is off by less than 0.03 is "
        "not false.",
    )


@EXERCISE.stage("reports that are right")
def _claim_healthy(answer: Any, seed: int) -> None:
    _demand(answer, "", seed)


# A claim with two faults meets one of them at each seed: three seeds see both.
@EXERCISE.stage("load")
def _claim_load(answer: Any, seed: int) -> None:
    _demand(answer, ("last batch", "first choice")[seed % 2], seed)


@EXERCISE.stage("information")
def _claim_information(answer: Any, seed: int) -> None:
    _demand(answer, "nats", seed)


@EXERCISE.stage("null")
def _claim_null(answer: Any, seed: int) -> None:
    _demand(answer, "over everything", seed)


@EXERCISE.stage("drops")
def _claim_drops(answer: Any, seed: int) -> None:
    _demand(answer, "of all", seed)


@EXERCISE.stage("needed")
def _claim_needed(answer: Any, seed: int) -> None:
    _demand(answer, ("busiest", "all tokens alike")[seed % 2], seed)
