"""Exercise 1.2: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch01_why_sparse.count_active import EXERCISE


@EXERCISE.wrong(stage="whole number", says="Use // where you divide")
def divides_into_a_float(parts, n_experts, top_k, input_embedding=True):
    active = sum(parts.values()) - parts["experts"] * (1 - top_k / n_experts)
    return active if input_embedding else active - parts["input_embedding"]


@EXERCISE.right
def by_adding_up(parts, n_experts, top_k, input_embedding=True):
    table = parts["input_embedding"] if input_embedding else 0
    always = parts["output_head"] + parts["attention"] + parts["norms"] + parts["router"]
    return table + always + parts["experts"] * top_k // n_experts


@EXERCISE.wrong(stage="sparse", says="scores every expert before")
def scales_the_router(parts, n_experts, top_k, input_embedding=True):
    active = by_adding_up(parts, n_experts, top_k, input_embedding)
    return active - parts["router"] + parts["router"] * top_k // n_experts


@EXERCISE.wrong(stage="sparse", says="used in part")
def scales_everything(parts, n_experts, top_k, input_embedding=True):
    return sum(parts.values()) * top_k // n_experts


@EXERCISE.wrong(stage="dense", says="A part was left out")
def forgets_the_output(parts, n_experts, top_k, input_embedding=True):
    return by_adding_up(parts, n_experts, top_k, input_embedding) - parts["output_head"]


@EXERCISE.wrong(stage="convention", says="the input table is left out")
def ignores_the_convention(parts, n_experts, top_k, input_embedding=True):
    return by_adding_up(parts, n_experts, top_k, True)


@EXERCISE.wrong(stage="large", says="but for its last digits")
def cuts_a_rounded_share(parts, n_experts, top_k, input_embedding=True):
    experts = int(parts["experts"] * (top_k / n_experts))
    return by_adding_up({**parts, "experts": experts}, 1, 1, input_embedding)


@EXERCISE.wrong(stage="large", says="cut to 32 bits")
def counts_in_32_bits(parts, n_experts, top_k, input_embedding=True):
    import numpy as np

    return int(np.array(by_adding_up(parts, n_experts, top_k, input_embedding)).astype(np.int32))


@EXERCISE.right
def cuts_an_exact_quotient(parts, n_experts, top_k, input_embedding=True):
    # The product is a whole number and the division comes last: no digit is lost below 2^53.
    experts = int(parts["experts"] * top_k / n_experts)
    return by_adding_up({**parts, "experts": experts}, 1, 1, input_embedding)


@EXERCISE.right
def in_numpy_integers(parts, n_experts, top_k, input_embedding=True):
    import numpy as np

    return np.int64(by_adding_up(parts, n_experts, top_k, input_embedding))


@EXERCISE.right
def by_taking_resting_experts_away(parts, n_experts, top_k, input_embedding=True):
    active = dict(parts)
    for _ in range(n_experts - top_k):
        active["experts"] -= parts["experts"] // n_experts
    if not input_embedding:
        del active["input_embedding"]
    return sum(active.values())
