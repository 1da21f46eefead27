"""Chapter 13, exercise 13.3: what an example adds to a batch that is half chosen."""

import math
from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.exercise import Exercise, Words, generator, require, require_tensor
from moe_teach.judging.reasons import Why, likely

EXERCISE = Exercise(
    id="13.3",
    name="gain_given",
    title="Who goes with whom",
    points=2,
    difficulty=3,
    importance=4,
    minutes=15,
    hints=(
        "Write the learnability of a batch as a sum over all pairs of its members, (i, j) and (j, "
        "i) both. Now let one more join: which terms are new?",
        "s is a matrix: the learner's loss minus the reference's, of every pair. New are s[i, i], "
        "and for every k chosen s[i, k] and s[k, i]: columns and rows of s, at the chosen.",
        "def losses(z): return -F.logsigmoid((2 * torch.eye(len(z)) - 1) * z); s = "
        "losses(learner_logits.detach()) - losses(reference_logits.detach()); gain = s.diagonal() "
        "+ s[:, chosen].sum(1) + s[chosen].sum(0); gain = gain.clone(); gain[chosen] = -inf; "
        "return gain.",
    ),
    explanation="Alone, a candidate brings its own pair. In company it also brings every question "
    "of the kind: is this left name that one's right name? A name that the learner confuses with "
    "one in the batch is worth more there than any pair of strangers, and both directions count, "
    "since each member is asked from the left and from the right. That works out one candidate at "
    "a time only where the loss is a sum over pairs. A softmax over the batch has a normaliser "
    "that all members share, and for it this gain is only an approximation.",
)

SIZES = ((1, 0), (2, 1), (5, 3), (11, 4), (13, 1), (7, 6))  # candidates, chosen


def case(sizes: tuple[int, int], seed: int, n_chosen: int | None = None) -> dict[str, Any]:
    """Draw the logits of two models for all pairs, and who is chosen."""
    n, k = sizes
    random = generator(seed + 17 * n)
    logits = 2 * torch.randn(2, n, n, generator=random) - 1
    chosen = torch.randperm(n, generator=random)[: k if n_chosen is None else n_chosen]
    return {"learner_logits": logits[0], "reference_logits": logits[1], "chosen": chosen}


def gains(given: dict[str, Any], slip: str = "") -> Tensor:
    """Return what each candidate adds, from whole batches in float64; `slip` names a mistake."""
    chosen = given["chosen"]
    signs = 2 * torch.eye(len(given["learner_logits"]), dtype=torch.float64) - 1
    signs = {"all belong": signs.abs(), "turned": -signs}.get(slip, signs)
    learner, reference = (
        -torch.nn.functional.logsigmoid(signs * given[name].detach().double())
        for name in ("learner_logits", "reference_logits")
    )
    s = {"sign": reference - learner, "learner": learner}.get(slip, learner - reference)
    if slip in ("softmax", "logits"):
        z, r = (given[name].detach().double() for name in ("learner_logits", "reference_logits"))
        s = z - r if slip == "logits" else r.log_softmax(1) - z.log_softmax(1)
    others = {"everybody": torch.arange(len(s)), "first": torch.arange(len(chosen)),
              "latest": chosen[-1:]}.get(slip, chosen)  # fmt: skip
    own, from_left, from_right = s.diagonal(), s[:, others].sum(1), s[others].sum(0)
    found = {
        "alone": own,
        "no own": from_left + from_right,
        "left": own + from_left,
        "right": own + from_right,
        "mean": own + (from_left + from_right) / max(1, len(others)),
        "halves": own + (from_left + from_right) / 2,
        "left twice": own + 2 * from_left,
        "own twice": 2 * own + from_left + from_right,
        "size": (own + from_left + from_right) / (1 + len(others)),
        "number": (own + from_left + from_right) / len(s),
        "total": own + from_left + from_right + s[others][:, others].sum(),
    }.get(slip, own + from_left + from_right)
    if slip == "":  # the long way: the batch with the candidate, less the batch without
        before = s[chosen][:, chosen].sum()
        with_each = [torch.cat([chosen, torch.tensor([i])]) for i in range(len(s))]
        found = torch.stack([s[batch][:, batch].sum() - before for batch in with_each])
    return found.index_fill(0, chosen, -math.inf).float()


_SLIPS = {
    "sign": Why("The reference's loss stands first.", "Learner minus reference."),
    "learner": Why("The reference was not asked.", "Take its losses off the learner's."),
    "softmax": Why("The losses are those of a softmax over a row.",
                   "Each pair is a question of its own: -log sigmoid of plus or minus its logit."),
    "all belong": Why("Every pair was scored as if it belonged together.",
                      "Only i with i does: off the diagonal the loss is -log sigmoid(-logit)."),
    "turned": Why("The losses of pairs that belong together and of those that do not are swapped.",
                  "-log sigmoid(logit) on the diagonal, -log sigmoid(-logit) elsewhere."),
    "alone": Why("A candidate was scored by its own pair alone.",
                 "Add its pairs with those that are chosen."),
    "no own": Why("The candidate's own pair is missing.", "Add s[i, i]."),
    "left": Why("Only the candidate's left side was compared with the chosen.",
                "Add s[k, i], too."),
    "right": Why("Only the candidate's right side was compared with the chosen.",
                 "Add s[i, k], too."),
    "everybody": Why("The candidate was compared with all candidates.",
                     "Only those that are chosen are in the batch."),
    "first": Why("The first rows and columns were taken, as many as are chosen.",
                 "`chosen` holds places: `s[:, chosen]` and `s[chosen]`."),
    "latest": Why("Only the last of the chosen was looked at.", "Sum over all that are chosen."),
    "halves": Why("The two directions were averaged, as if (i, k) and (k, i) were one pair.",
                  "They are two questions, and both are in the sum."),
    "left twice": Why("One direction was counted twice: s is not symmetric.",
                      "s[i, k] and s[k, i], each once."),
    "own twice": Why("The candidate's own pair was counted twice.", "Add s[i, i] once."),
    "size": Why("The gain was divided by the size of the batch.",
                "The loss of a batch is a sum over its pairs, and no mean."),
    "number": Why("The loss of a pair was divided by the number of candidates.",
                  "The loss of a batch is a sum over its pairs, and no mean."),
    "total": Why("This is the learnability of the whole batch with the candidate.",
                 "Only what the candidate adds: leave out the pairs among the chosen."),
    "logits": Why("The logits themselves were subtracted.",
                  "A loss is -log sigmoid(logit), off the diagonal -log sigmoid(-logit)."),
    "mean": Why("The pairs with the chosen were averaged.", "The loss of a batch is their sum."),
}  # fmt: skip
_ELSE = Why(
    "The gain is the batch's learnability with the candidate less the one without.",
    "s[i, i] + sum over the chosen k of s[i, k] + s[k, i].",
)


def _checked(answer: Any, given: dict[str, Any]) -> Tensor:
    got = answer(**given)
    require_tensor(got, given)
    n = len(given["learner_logits"])
    require(
        got.shape == (n,) and got.dtype == torch.float32,
        f"One number for each candidate, chosen or not: ({n},) in float32.",
        cause="A matrix of pairs is left, or the chosen were left out.",
        cure="Sum over the chosen, and keep a place for everybody.",
        expected=Words(f"({n},), float32"),
        got=Words(f"{tuple(got.shape)}, {str(got.dtype).removeprefix('torch.')}"),
        example=given,
    )
    return got


def _demand(answer: Any, given: dict[str, Any], said: str, otherwise: Why = _ELSE) -> None:
    got, expected = _checked(answer, given), gains(given)
    free = ~torch.isin(torch.arange(len(got)), given["chosen"])
    if torch.allclose(got[free], expected[free], rtol=1e-4, atol=1e-4):
        return
    slips = [(gains(given, slip)[free], why) for slip, why in _SLIPS.items()]
    require(
        False,
        said,
        **likely(got[free], expected[free], slips, otherwise),
        expected=expected,
        got=got,
        example=given,
    )


@EXERCISE.stage("a number each")
def _gain_shape(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        _checked(answer, case(sizes, seed))


@EXERCISE.stage("nobody is chosen")
def _gain_first(answer: Any, seed: int) -> None:
    for sizes in (*SIZES[1:], SIZES[0]):  # of one candidate many mistakes give the same
        given = case(sizes, seed, n_chosen=0)
        _demand(answer, given, "While nobody is chosen, a candidate adds its own pair, s[i, i].")


@EXERCISE.stage("some are chosen")
def _gain_next(answer: Any, seed: int) -> None:
    for sizes in SIZES[1:]:
        _demand(answer, case(sizes, seed), "This is not what each candidate adds to the chosen.")


@EXERCISE.stage("who is in")
def _gain_chosen(answer: Any, seed: int) -> None:
    for sizes in SIZES[1:]:
        given = case(sizes, seed)
        got = _checked(answer, given)
        require(
            bool((got[given["chosen"]] == -math.inf).all()),
            "Who is chosen already must get minus infinity, so that nobody is chosen twice.",
            cause="Their pairs were added up like those of the others."
            if bool((got[given["chosen"]] > -1e4).any() & got[given["chosen"]].any())
            else "Any other number can be the highest, or can still be drawn.",
            cure="At the end `gain[chosen] = -torch.inf`, on a copy.",
            expected=gains(given),
            got=got,
            example=given,
        )


@EXERCISE.stage("sure models")
def _gain_sure(answer: Any, seed: int) -> None:
    given = case((5, 2), seed)
    given["learner_logits"] = given["learner_logits"] * 150
    why = Why(
        "sigmoid(-150) is 0 in float32, and its logarithm minus infinity.",
        "`F.logsigmoid`, which never forms the sigmoid.",
    )
    _demand(answer, given, "With logits of some hundreds the gains are others.", why)


@EXERCISE.stage("no gradient")
def _gain_detached(answer: Any, seed: int) -> None:
    given = case((5, 2), seed)
    with torch.enable_grad():
        for name in ("learner_logits", "reference_logits"):
            given[name].requires_grad_()
        got = _checked(answer, given)
    require(
        not got.requires_grad,
        "The gains carry a gradient.",
        cause="A score decides what is learned from and is no part of it.",
        cure="`@torch.no_grad()` above the function, or `.detach()`.",
        example={"learner_logits": Words("asks for a gradient")},
    )
