"""Exercise 8.6: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch08_real_models.name_the_rule import EXERCISE


def _tokens(n_experts, seed=0, count=400, spread=None):
    random = torch.Generator().manual_seed(seed)
    sizes = 0.3 + 3 * torch.rand(count, 1, generator=random) if spread is None else spread
    return sizes * torch.randn(count, n_experts, generator=random)


def _squares(words):
    return -(torch.nn.functional.one_hot(words, 6).sum(0) ** 2).sum(-1)


def _search(ask, rules, n_experts, worth=_squares, count=400, stop=1):
    left = list(range(len(rules)))
    for seed in range(50):
        if len(left) <= stop:
            break
        tokens = _tokens(n_experts, seed, count)
        words = torch.stack([rules[i](tokens) for i in left])
        best = int(worth(words).argmax())
        word = ask(tokens[best])
        left = [i for i, seen in zip(left, words[:, best].tolist(), strict=True) if seen == word]
    return left[0]


@EXERCISE.wrong(stage="goal", says="Questions for each model")
def asks_at_random(ask, rules, n_experts):
    left = list(range(len(rules)))
    for token in _tokens(n_experts, count=1000, spread=1.5):
        word = ask(token)
        left = [i for i in left if int(rules[i](token[None])[0]) == word]
        if len(left) == 1:
            break
    return left[0]


@EXERCISE.wrong(stage="goal", says="on which most rules give the same word")
def asks_what_two_of_them_disagree_on(ask, rules, n_experts):
    left = list(range(len(rules)))
    while len(left) > 1:
        tokens = _tokens(n_experts, seed=len(left), count=4000)
        one, other = (rules[i](tokens) for i in left[:2])
        token = tokens[int((one != other).nonzero()[0])]
        word = ask(token)
        left = [i for i in left if int(rules[i](token[None])[0]) == word]
    return left[0]


@EXERCISE.wrong(stage="names", says="The model was taken for")
def asks_once(ask, rules, n_experts):
    token = _tokens(n_experts)[0]
    word = ask(token)
    return next(i for i, rule in enumerate(rules) if int(rule(token[None])[0]) == word)


@EXERCISE.wrong(stage="names", says="is not named yet")
def asks_the_same_token_again(ask, rules, n_experts):
    left, token = list(range(len(rules))), _tokens(n_experts)[0]
    while len(left) > 1:
        word = ask(token)
        left = [i for i in left if int(rules[i](token[None])[0]) == word]
    return left[0]


@EXERCISE.wrong(stage="names", says="A question is one token")
def asks_a_table(ask, rules, n_experts):
    return ask(_tokens(n_experts))


@EXERCISE.wrong(stage="names", says="The answer is the place of a rule")
def returns_what_is_left(ask, rules, n_experts):
    return [_search(ask, rules, n_experts)]


@EXERCISE.right
def the_most_even_groups(ask, rules, n_experts):
    return _search(ask, rules, n_experts)


@EXERCISE.right
def the_most_words(ask, rules, n_experts):
    def worth(words):
        return (torch.nn.functional.one_hot(words, 6).sum(0) > 0).sum(-1)

    return _search(ask, rules, n_experts, worth=worth)


@EXERCISE.right
def the_smallest_largest_group(ask, rules, n_experts):
    def worth(words):
        return -torch.nn.functional.one_hot(words, 6).sum(0).amax(-1)

    return _search(ask, rules, n_experts, worth=worth)
