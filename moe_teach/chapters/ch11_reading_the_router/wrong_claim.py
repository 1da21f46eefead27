"""Chapter 11, exercise 11.5: find what is wrong in somebody's audit."""

from typing import Any

from moe_teach.chapters.ch11_reading_the_router.reports import CLAIMS, FAULTS, report_of
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
        "null: deal `domains` within `tokens` some 50 times with mine('11.2'), take mine('11.1') "
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
        "The null asks what a table of tokens could reach.",
        "Deal domains within tokens, take the information with nothing given, average.",
    ),
    "drops": Why(
        "A domain's drops are a share of its own choices.", "1 - kept[domains == d].mean()"
    ),
    "needed": Why(
        "Needed is whose absence costs most, every domain counting the same.",
        "damage.mean(dim=1).argmax()",
    ),
    "healthy": Why(
        "Numbers are rounded, and a null is a mean over chance.", "Allow 0.03 everywhere."
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
    why = _WHY[right]
    if got != "healthy" and right != "healthy":
        why = Why(
            f"`{got}` is right in this report, as far as it is rounded.",
            "Does what you compute for it agree with the text of the exercise?",
        )
    require(
        got == right,
        _SAYS[fault],
        **why._asdict(),
        expected=right,
        got=got,
        example={**shown, "data": Words("240 tokens, 2 choices, 6 experts, 3 domains")},
    )


def _seeds(seed: int, n: int = 2) -> range:
    return range(n * seed, n * (seed + 1))


@EXERCISE.stage("reports that are right")
def _claim_healthy(answer: Any, seed: int) -> None:
    for own in _seeds(seed):
        _demand(answer, "", own)


@EXERCISE.stage("load")
def _claim_load(answer: Any, seed: int) -> None:
    for fault in ("last batch", "first choice"):
        _demand(answer, fault, seed)


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
    for fault in ("busiest", "all tokens alike"):
        _demand(answer, fault, seed)
