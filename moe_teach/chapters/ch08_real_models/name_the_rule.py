"""Chapter 08, exercise 8.6: whose router is it, in as few questions as can be."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from moe_teach.chapters.ch08_real_models.router_rules import (
    N_EXPERTS,
    NAMES,
    Rule,
    behind,
    drawn,
    recalling,
)
from moe_teach.judging.compare import is_tensor
from moe_teach.judging.exercise import Exercise, Goal, Words, require

EXERCISE = Exercise(
    id="8.6",
    name="name_the_rule",
    title="Open task: whose router is it?",
    points=3,
    difficulty=4,
    importance=3,
    minutes=25,
    limit=30,
    goal=Goal(
        quantity="questions for each model",
        unit="questions",
        baseline=24.82,
        target=4,
        more_is_better=False,
        limit="With six answers to a question, nobody can do with fewer than 1.85 on average.",
        cause="A token is asked on which most rules give the same word, so nearly all of them "
        "are still possible afterwards.",
        cure="Before you ask, let all rules that are left answer some hundred tokens, and ask the "
        "one on which they disagree most: the one that leaves the smallest groups.",
    ),
    hints=(
        "You hold all the rules. So you can find out beforehand what each of them would answer to "
        "a token, and a question is worth what it tells apart. After the answer, keep the rules "
        "that would have given it.",
        "Draw some hundred tokens of several sizes, let all rules that are left answer them (each "
        "call takes a whole table of tokens), and count for each token how many rules give each "
        "word. Even groups are best: the sum of their squares is then smallest.",
        "left = list(range(len(rules))); while len(left) > 1: words = torch.stack([rules[i](tokens)"
        " for i in left]); counts = torch.nn.functional.one_hot(words, 6).sum(0); ask the token "
        "where (counts ** 2).sum(-1) is smallest; keep those i whose word is the answer.",
    ),
    explanation="Twenty questions, literally: with six answers each, about three are enough for "
    "twenty rules, if they are chosen; drawn at random they are some twenty-five. What a random "
    "token shows is whether the scores are normalised and how many experts there are. Whether a "
    "group is worth its best or its two best shows on few tokens, and whether closed groups are "
    "set to zero on hardly any. That is why conversions pass their first test. A parity test over "
    "random tokens needs many, or tokens that were looked for.",
)
PATIENCE = 1000  # questions to one model
LARGEST = 30.0


class Enough(Exception):
    """Somebody asks without an end."""


class Service:
    """A model that tells the most likely word for a token, and counts how often it was asked."""

    def __init__(self, rule: Rule) -> None:
        self._rule, self.n_asked = rule, 0

    def __call__(self, logits: Tensor) -> int:
        fits = is_tensor(logits) and logits.shape == (N_EXPERTS,) and logits.is_floating_point()
        require(
            fits and bool((logits.abs() <= LARGEST).all()),
            f"A question is one token: {N_EXPERTS} router logits within ±{LARGEST:g}, as floats.",
            cause="A table of tokens was asked at once, or integers, or too large numbers.",
            cure="ask(tokens[i])",
            got=logits,
        )
        self.n_asked += 1
        if self.n_asked > PATIENCE:
            raise Enough
        return int(self._rule(logits[None])[0])


def _rules(seed: int) -> list[Rule]:
    return [recalling(rule) for rule in behind(drawn(seed))]


def _named(answer: Callable[..., Any], hidden: int, rules: list[Rule]) -> int:
    """Let a model be named; give the number of questions."""
    service = Service(rules[hidden])
    example = {"the model": Words(NAMES[hidden]), "rules": Words(f"{len(rules)} of them")}
    try:
        got = answer(service, list(rules), N_EXPERTS)
    except Enough:
        require(
            False,
            f"After {PATIENCE:,} questions to one model it is not named yet.",
            cause="Two rules are left that differ on very few tokens, and none of these came up.",
            cure="Look for a token on which they differ, among some hundred, before you ask.",
            example=example,
        )
    is_number = isinstance(got, int) and not isinstance(got, bool)
    require(
        is_number and 0 <= got < len(rules),
        "The answer is the place of a rule in `rules`, an int.",
        cause="Another thing came back, or a place that the list does not have.",
        cure="return left[0]",
        got=got,
        example=example,
    )
    require(
        got == hidden,
        f"The model was taken for: {NAMES[got]}.",
        cause="Somebody stopped asking while more than one rule was left, or a rule was struck "
        "off that gives the same word.",
        cure="Keep exactly the rules whose word is the answer, until one is left.",
        expected=hidden,
        got=got,
        example=example,
    )
    return service.n_asked


@EXERCISE.stage("names")
def _names(answer: Any, seed: int) -> None:
    rules = _rules(seed)
    for hidden in (0, 5, len(rules) - 1):
        _named(answer, hidden, rules)


@EXERCISE.goal.measure
def _measure(answer: Any, seed: int) -> float:
    rules = _rules(seed)
    return sum(_named(answer, hidden, rules) for hidden in range(len(rules))) / len(rules)
