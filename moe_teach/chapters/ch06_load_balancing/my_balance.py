"""Chapter 06, exercise 6.8: an open task, a rule of one's own against the collapse of the toy."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch06_load_balancing.experiments.kinds import D_MODEL, N_KINDS
from moe_teach.chapters.ch06_load_balancing.inputs import one_number
from moe_teach.chapters.ch06_load_balancing.ruled_training import N_STEPS, train_side_by_side
from moe_teach.judging.exercise import Exercise, Goal, Words, generator, require, require_tensor

BOUND = 1.0  # MaxVio on the test tokens: no expert has more than twice its fair share

EXERCISE = Exercise(
    id="6.8",
    name="MyBalance",
    title="Open task: a better rule",
    points=3,
    difficulty=4,
    importance=3,
    minutes=30,
    needs=("6.1", "6.3"),
    changes_inputs=True,  # a rule has a memory
    limit=30,
    goal=Goal(
        quantity="test tokens that are right",
        unit="%",
        baseline=72.9,
        target=77,
        more_is_better=True,
        side_by_side=True,
        limit="A router that is told the kinds reaches 88.9%; whether more is possible, nobody "
        "knows.",
        cause="A loss fights the symptom. Why do the tokens look alike to the router?",
        cure="Take away in `see` what all tokens share, as the lesson's control did. Then little "
        "balancing is left to do, and the bias does it without disturbing the task.",
    ),
    hints=(
        "The lesson has a row that balances better than any cure and is none of the three. What "
        "did it take away, and from whom?",
        "In the test a token comes alone: it has no batch whose mean could be taken off. So learn "
        "the mean during the training, for example as a running one, and keep it.",
        "see: in training, self.n_seen += 1; self.mean = self.mean + (x.mean(0) - self.mean) / "
        "self.n_seen; always return x - self.mean. loss: 0 * probs.sum(). bias: self.steps = "
        "self.steps + 0.01 * sign(counts.mean() - counts), returned.",
    ),
    explanation="Centring alone keeps nearly all experts in use, but leaves the busiest of some "
    "seeds above the bound; the bias takes care of the rest and has no gradient to disturb the "
    "task with. It is the lesson's cause turned into a cure, for this toy: lesson 06b shows that a "
    "language model needs more than that. Above it there is room. Rules that find the kinds by "
    "themselves, for example by clustering what they see, are allowed.",
)


def _made(answer: Any) -> Any:
    return answer(N_KINDS, D_MODEL, N_STEPS)


def _tokens(seed: int, n_tokens: int = 31) -> Tensor:
    return 4 + torch.randn(n_tokens, D_MODEL, generator=generator(seed))


@EXERCISE.stage("three methods")
def _rule_form(answer: Any, seed: int) -> None:
    rule, x = _made(answer), _tokens(seed)
    missing = [name for name in ("see", "loss", "bias") if not hasattr(rule, name)]
    require(not missing, f"The rule has no method {', '.join(missing)}.")
    kept = x.clone()
    seen = rule.see(x, True)
    require(
        torch.equal(x, kept),
        "`see` changed the tokens themselves, and the experts are to see them as they are.",
        cause="An operation in place, such as `-=` or `sub_`, writes into `x`.",
        cure="Return a new tensor.",
        expected=kept,
        got=x,
    )
    require_tensor(seen, {"x": x, "training": True})
    require(
        seen.shape == x.shape,
        "`see` must give the router as many numbers for each token as it took: (T, D).",
        expected=x,
        got=seen,
        example={"x": x, "training": True},
    )
    probs = torch.rand(31, N_KINDS, generator=generator(seed)).softmax(dim=-1).requires_grad_()
    ids = probs.argmax(dim=-1, keepdim=True)
    one_number(rule.loss(probs, ids, 0), {"probs": probs, "expert_ids": ids, "step": 0})
    few = torch.arange(31)[:, None] % 3  # the experts that nobody chose have a bias, too
    bias = rule.bias(few, 0)
    example = {"expert_ids": few, "step": 0}
    require_tensor(bias, example)
    require(
        bias.shape == (N_KINDS,) and bias.is_floating_point(),
        "`bias` must return one float for each expert.",
        got=bias,
        example=example,
    )


@EXERCISE.stage("one token at a time")
def _rule_alone(answer: Any, seed: int) -> None:
    rule = _made(answer)
    for step in range(5):
        rule.see(_tokens(100 * seed + step), True)
    x = _tokens(seed + 1)
    together, again = rule.see(x, False), rule.see(x, False)
    alone = torch.cat([rule.see(token[None], False) for token in x])
    example = {"x": x, "training": False}
    require(
        torch.equal(together, again),
        "In the test the same tokens look otherwise the second time.",
        cause="`see` goes on learning where `training` is False.",
        cure="Change what the rule remembers only while `training` is True.",
        example=example,
    )
    require(
        torch.allclose(together, alone, atol=1e-5),
        "In the test a token looks otherwise to the router when others are beside it.",
        cause="Something is computed over the batch, its mean for example. In use there is no "
        "batch, and a router that needs one looks at other tokens, later ones too.",
        cure="Learn it while `training` is True, keep it, and use what was kept.",
        expected=alone,
        got=together,
        example=example,
    )


@EXERCISE.stage("the same again")
def _rule_repeats(answer: Any, seed: int) -> None:
    first, beside, *later = (
        run.counts for _ in range(2) for run in train_side_by_side(answer, [seed, seed], n_steps=12)
    )
    require(
        torch.equal(first, beside),
        "Two trainings with the same seed, side by side, differ.",
        cause="Their rules share something: an attribute of the class, a global variable, or a "
        "generator of random numbers.",
        cure="Keep what the rule remembers on `self`, and give each rule a generator of its own.",
    )
    require(
        all(torch.equal(first, other) for other in later),
        "Two trainings with the same seed differ.",
        cause="The rule draws random numbers with a generator of its own, or one training left "
        "something to the next, in the class or outside of it.",
        cure="Keep what the rule remembers on `self`, made anew in `__init__`.",
    )


@EXERCISE.goal.measure
def _rule_right(answer: Any, seeds: Sequence[int]) -> list[float]:
    runs = train_side_by_side(answer, [seed % 3 for seed in seeds])
    for run in runs:
        require(
            run.violation <= BOUND,
            f"The busiest expert has {run.violation + 1:.1f} times its fair share of the test "
            f"tokens, and {BOUND + 1:g} is the bound.",
            cause="Nothing holds the load together, or it does so only in training: in the test "
            "each token chooses by itself, with the last bias.",
            cure="More of a loss, or a bias that goes further; and ask why the tokens crowd.",
            expected=Words(f"MaxVio at most {BOUND:g}"),
            got=Words(f"MaxVio {run.violation:.2f}, with {run.accuracy:.1%} right"),
        )
    return [100 * run.accuracy for run in runs]
