"""Exercise 1.5: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch01_why_sparse.expected_distinct import EXERCISE


@EXERCISE.wrong(stage="one token", says="sum of the probabilities")
def forgets_top_k(choice_probs, n_tokens):
    n_experts = len(choice_probs)
    return n_experts * (1 - (1 - 1 / n_experts) ** n_tokens)


@EXERCISE.wrong(stage="no token, many tokens", says="never more than there are")
def adds_every_choice(choice_probs, n_tokens):
    return n_tokens * sum(choice_probs)


@EXERCISE.wrong(stage="two tokens, all cases listed", says="counts once")
def stops_at_all_experts(choice_probs, n_tokens):
    return min(float(len(choice_probs)), n_tokens * sum(choice_probs))


@EXERCISE.wrong(stage="uniform", says="independent draws")
def draws_with_replacement(choice_probs, n_tokens):
    n_experts, top_k = len(choice_probs), round(sum(choice_probs))
    if n_tokens == 1:
        return float(top_k)
    return n_experts * (1 - (1 - 1 / n_experts) ** (n_tokens * top_k))


@EXERCISE.wrong(stage="skewed", says="their mean does not do")
def uses_the_mean(choice_probs, n_tokens):
    mean = sum(choice_probs) / len(choice_probs)
    return len(choice_probs) * (1 - (1 - mean) ** n_tokens)


@EXERCISE.wrong(stage="a number", says="not added up")
def lists_each_expert(choice_probs, n_tokens):
    return [1 - (1 - prob) ** n_tokens for prob in choice_probs]


@EXERCISE.right
def token_by_token(choice_probs, n_tokens):
    asleep = [1.0] * len(choice_probs)
    for _ in range(n_tokens):
        asleep = [rest * (1 - prob) for rest, prob in zip(asleep, choice_probs, strict=True)]
    return len(choice_probs) - sum(asleep)


@EXERCISE.right
def with_numpy(choice_probs, n_tokens):
    import numpy as np

    return (1 - (1 - np.asarray(choice_probs)) ** n_tokens).sum()


@EXERCISE.wrong(stage="one token", says="stay asleep")
def counts_the_sleepers(choice_probs, n_tokens):
    return sum((1 - prob) ** n_tokens for prob in choice_probs)
