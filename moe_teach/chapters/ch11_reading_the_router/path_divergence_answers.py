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
