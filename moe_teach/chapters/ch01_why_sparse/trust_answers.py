"""Exercise 1.7: wrong answers with what they must be told, and other right ones."""

import random

from moe_teach.chapters.ch01_why_sparse.counters import MIXTRAL, count_layer_by_layer
from moe_teach.chapters.ch01_why_sparse.trust import EXERCISE, count_at_work

AWKWARD = {
    "n_layers": 7,
    "n_dense_layers": 2,
    "d_model": 13,
    "vocab_size": 101,
    "is_tied": False,
    "n_heads": 5,
    "n_kv_heads": 3,
    "d_head": 4,
    "d_ff_dense": 17,
    "d_ff": 11,
    "n_experts": 19,
    "top_k": 6,
    "n_shared_experts": 2,
}


def agrees(counter, *models):
    return all(counter(sizes) == count_layer_by_layer(sizes) for sizes in models)


@EXERCISE.wrong(stage="the counter of the cell", says="On Mixtral it is right")
def asks_about_mixtral_only(counter):
    return counter(MIXTRAL) == 12_879_925_248


@EXERCISE.wrong(stage="right counters are trusted", says="and trusts the wrong one")
def believes_the_counter_of_the_cell(counter):
    return counter(AWKWARD) == count_at_work(AWKWARD)


@EXERCISE.wrong(stage="experts", says="however many there are")
def has_one_shared_expert(counter):
    return agrees(counter, *(AWKWARD | {"n_shared_experts": n} for n in (0, 1)))


@EXERCISE.wrong(stage="experts", says="be different numbers")
def has_one_inner_width(counter):
    return agrees(counter, AWKWARD | {"d_ff": 17}, AWKWARD | {"d_ff": 17, "is_tied": True})


@EXERCISE.wrong(stage="layers", says="every layer as a sparse one")
def has_no_dense_layer(counter):
    return agrees(counter, *(AWKWARD | {"n_dense_layers": 0, "is_tied": t} for t in (True, False)))


@EXERCISE.wrong(stage="layers", says="two dense layers or more")
def has_one_dense_layer(counter):
    return agrees(counter, *(AWKWARD | {"n_dense_layers": 1, "is_tied": t} for t in (True, False)))


@EXERCISE.wrong(stage="attention and tables", says="sizes that are tied")
def asks_about_one_model(counter):
    return agrees(counter, AWKWARD)


@EXERCISE.wrong(stage="small parts", says="no tolerance")
def allows_a_tenth_of_a_percent(counter):
    models = (MIXTRAL | {"n_dense_layers": 2, "d_ff": 777, "n_shared_experts": 2, "d_head": 64},)
    models += (models[0] | {"is_tied": True},)
    return all(abs(counter(m) / count_layer_by_layer(m) - 1) < 1e-3 for m in models)


@EXERCISE.wrong(stage="right counters are trusted", says="Your test turns away")
def trusts_nobody(counter):
    return False


@EXERCISE.wrong(stage="a yes or a no", says="never joined")
def lists_its_comparisons(counter):
    return [counter(m) == count_layer_by_layer(m) for m in (MIXTRAL, AWKWARD)]


@EXERCISE.wrong(stage="a yes or a no", says="cannot exist")
def draws_without_a_look(counter):
    draw = random.Random(3)
    models = [{name: draw.randrange(1, 9) for name in MIXTRAL} for _ in range(20)]
    return agrees(counter, *models)


@EXERCISE.wrong(stage="a yes or a no", says="sizes that lack")
def leaves_keys_out(counter):
    return agrees(counter, {name: size for name, size in MIXTRAL.items() if name != "is_tied"})


@EXERCISE.right
def asks_about_two_awkward_models(counter):
    return agrees(counter, AWKWARD, AWKWARD | {"is_tied": True})


@EXERCISE.right
def draws_its_models(counter):
    draw = random.Random(7)
    for _ in range(30):
        sizes = {name: draw.randrange(2, 40) for name in MIXTRAL}
        sizes |= {"n_layers": sizes["n_layers"] + sizes["n_dense_layers"], "top_k": 3}
        sizes |= {"n_experts": 3 + sizes["n_experts"], "is_tied": bool(sizes["is_tied"] % 2)}
        if counter(sizes) != count_layer_by_layer(sizes):
            return False
    return True


@EXERCISE.right
def compares_differences(counter):
    """Count nothing but what one more of each size must add."""
    base = counter(AWKWARD)
    width, n_dense = 13, 2
    added = {
        "vocab_size": 2 * width,
        "n_heads": 7 * 2 * width * 4,
        "n_kv_heads": 7 * 2 * width * 4,
        "d_head": 7 * 2 * width * (5 + 3),
        "d_ff_dense": n_dense * 3 * width,
        "d_ff": 5 * 3 * width * (6 + 2),
        "n_experts": 5 * width,
        "top_k": 5 * 3 * width * 11,
        "n_shared_experts": 5 * 3 * width * 11,
        "n_dense_layers": 3 * width * 17 - 19 * width - 3 * width * 11 * 8,
        "n_layers": 2 * width * 8 * 4 + 2 * width + 19 * width + 3 * width * 11 * 8,
    }
    grows = (counter(AWKWARD | {k: AWKWARD[k] + 1}) - base == n for k, n in added.items())
    untied = base - counter(AWKWARD | {"is_tied": True}) == 101 * width
    return all(grows) and untied and base % width == 0 and base == count_layer_by_layer(AWKWARD)
