"""Exercise 0.5: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch00_start_here.choose_experts import EXERCISE


def best_first(row):
    return sorted(range(len(row)), key=lambda expert: -row[expert])


def kept_on_average(probs, asked):
    rows = zip(probs, asked, strict=True)
    return sum(row[expert] for row, chosen in rows for expert in chosen) / len(probs)


@EXERCISE.wrong(stage="goal", says="The goal is at most 3.2")
def asks_the_same_number_for_all(probs, share):
    """The lesson's way: the smallest top_k that is enough."""
    asked = [[] for _ in probs]
    for top_k in range(1, len(probs[0]) + 1):
        asked = [best_first(row)[:top_k] for row in probs]
        if kept_on_average(probs, asked) >= share:
            break
    return asked


@EXERCISE.wrong(stage="goal", says="make up for those that waver")
def lets_each_token_reach_the_share(probs, share):
    asked = []
    for row in probs:
        chosen, kept = [], 0.0
        for expert in best_first(row):
            if kept >= share:
                break
            chosen.append(expert)
            kept += row[expert]
        asked.append(chosen)
    return asked


@EXERCISE.wrong(stage="goal", says="asked for a token: 8.")
def asks_everybody(probs, share):
    return [list(range(len(row))) for row in probs]


@EXERCISE.wrong(stage="enough is kept", says="the number of experts is fixed")
def asks_two_experts(probs, share):
    return [best_first(row)[:2] for row in probs]


@EXERCISE.wrong(stage="one list for each token", says="asks nobody")
def looks_at_a_border_only(probs, share):
    return [[e for e, prob in enumerate(row) if prob >= 0.3] for row in probs]


@EXERCISE.wrong(stage="one list for each token", says="was added again")
def adds_the_best_again(probs, share):
    return [[best_first(row)[0], *best_first(row)] for row in probs]


@EXERCISE.wrong(stage="one list for each token", says="is not a list of")
def joins_the_lists(probs, share):
    return [expert for row in probs for expert in best_first(row)]


@EXERCISE.right
def takes_the_largest_of_all_tokens(probs, share):
    """The best possible."""
    asked = [best_first(row)[:1] for row in probs]
    rest = [
        (prob, token, expert)
        for token, row in enumerate(probs)
        for expert, prob in enumerate(row)
        if expert != asked[token][0]
    ]
    for _, token, expert in sorted(rest, reverse=True):
        if kept_on_average(probs, asked) >= share:
            break
        asked[token].append(expert)
    return asked


@EXERCISE.right
def lowers_the_share_of_each_token(probs, share):
    asked = lets_each_token_reach_the_share(probs, share)
    for percent in range(100, 0, -1):
        fewer = lets_each_token_reach_the_share(probs, percent / 100)
        if kept_on_average(probs, fewer) < share:
            break
        asked = fewer
    return asked
