"""Exercise 11.4: divergences of something else, and other ways to the right one."""

import torch

from moe_teach.chapters.ch11_reading_the_router.path_divergence import EXERCISE, divergence


@EXERCISE.wrong(stage="one expert a token", says="cannot differ")
def from_the_start(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b, "from the start")


@EXERCISE.wrong(stage="one expert a token", says="changed tokens themselves were")
def with_the_changed_ones(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b, "changed too")


@EXERCISE.wrong(stage="one expert a token", says="All places were counted")
def everywhere(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b, "everything")


@EXERCISE.wrong(stage="one expert a token", says="share of experts that both have")
def what_is_shared(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b, "shared")


@EXERCISE.wrong(stage="one expert a token", says="One number for each layer")
def one_number(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b).mean()


@EXERCISE.wrong(stage="several experts a token", says="in another order")
def in_their_order(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b, "order")


@EXERCISE.wrong(stage="several experts a token", says="One shared expert was enough")
def any_of_them(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b, "any")


@EXERCISE.wrong(stage="several experts a token", says="One expert that differs was enough")
def all_of_them(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b, "all")


@EXERCISE.wrong(stage="several experts a token", says="in either text")
def over_the_union(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b, "union")


@EXERCISE.wrong(stage="one expert a token", says="none after it")
def before_the_change(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b, "before")


@EXERCISE.wrong(stage="one expert a token", says="begin after the last change")
def after_the_last_change(ids_a, ids_b, tokens_a, tokens_b):
    last = int((tokens_a != tokens_b).nonzero()[-1])
    hits = (ids_a[..., :, None] == ids_b[..., None, :]).any(dim=-1).float()
    return 1 - hits[last + 1 :].mean(dim=(0, 2))


@EXERCISE.wrong(stage="one expert a token", says="just after a changed one")
def neighbours_of_changes(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b, "just after")


@EXERCISE.wrong(stage="one expert a token", says="was left out")
def one_place_late(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b, "one late")


@EXERCISE.wrong(stage="one expert a token", says="Only the first of the changed")
def with_later_changes(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b, "later changes too")


@EXERCISE.wrong(stage="one expert a token", says="divided by all tokens")
def by_all_tokens(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b, "all tokens")


@EXERCISE.wrong(stage="one expert a token", says="were both counted")
def of_both_texts(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b, "both")


@EXERCISE.wrong(stage="one expert a token", says="in per cent")
def in_per_cent(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b, "percent")


@EXERCISE.wrong(stage="one expert a token", says="The layers were averaged")
def mean_of_layers(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b, "layers")


@EXERCISE.wrong(stage="several experts a token", says="one that differs moves all others")
def sorted_and_compared(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b, "sorted")


@EXERCISE.wrong(stage="several experts a token", says="Only the first choice")
def of_the_first_choice(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b, "first choice")


@EXERCISE.wrong(stage="several experts a token", says="a number of experts")
def numbers_of_experts(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b, "count")


@EXERCISE.wrong(stage="one expert a token", says="a narrow dtype rounds it")
def in_half(ids_a, ids_b, tokens_a, tokens_b):
    return divergence(ids_a, ids_b, tokens_a, tokens_b).half()


@EXERCISE.wrong(stage="one expert a token", says="none of the mistakes that are known")
def a_half_for_all(ids_a, ids_b, tokens_a, tokens_b):
    return torch.full((ids_a.shape[1],), 0.51)


@EXERCISE.wrong(stage="one expert a token", says="changed its input")
def sorts_in_place(ids_a, ids_b, tokens_a, tokens_b):
    ids_a[tokens_a != tokens_b] = -1
    return divergence(ids_a, ids_b, tokens_a, tokens_b)


@EXERCISE.right
def with_sets(ids_a, ids_b, tokens_a, tokens_b):
    n_tokens, n_layers, top_k = ids_a.shape
    first = next(t for t in range(n_tokens) if tokens_a[t] != tokens_b[t])
    places = [t for t in range(first + 1, n_tokens) if tokens_a[t] == tokens_b[t]]
    return torch.tensor(
        [
            1
            - sum(len(set(ids_a[t, i].tolist()) & set(ids_b[t, i].tolist())) for t in places)
            / (top_k * len(places))
            for i in range(n_layers)
        ]
    )


@EXERCISE.right
def with_tables(ids_a, ids_b, tokens_a, tokens_b):
    n_experts = int(torch.cat([ids_a, ids_b]).max()) + 1
    table = [torch.zeros(*ids.shape[:2], n_experts, dtype=torch.float64).scatter(2, ids, 1)
             for ids in (ids_a, ids_b)]  # fmt: skip
    changed = tokens_a != tokens_b
    places = ~changed & (torch.arange(len(changed)) > int(changed.int().argmax()))
    return (table[0] - table[1]).abs().sum(-1)[places].mean(0) / (2 * ids_a.shape[-1])
