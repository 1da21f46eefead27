"""Exercise 1.1: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch01_why_sparse.count_parts import EXERCISE


@EXERCISE.right
def from_the_library(config):
    from moe_teach.cost import count_params

    count = count_params(config)
    return {
        "input_embedding": count.input_embedding,
        "output_head": count.output_head,
        "attention": count.attention,
        "norms": count.vectors,
        "router": count.routers,
        "experts": count.routed_experts,
    }


@EXERCISE.right
def layer_by_layer(config):
    width, heads = config.d_model, config.attention
    parts = dict.fromkeys(("experts", "router", "norms", "attention"), 0)
    for _ in range(config.n_layers):
        for _ in range(config.moe.router.n_experts):
            parts["router"] += width
            parts["experts"] += 3 * width * config.moe.d_ff
        parts["attention"] += 2 * width * heads.d_head * (heads.n_heads + heads.n_kv_heads)
        parts["norms"] += 2 * width
    parts["norms"] += width
    table = width * config.vocab_size
    return {"input_embedding": table, "output_head": table, **parts}


@EXERCISE.wrong(stage="keys", says="is no dictionary")
def returns_the_sum(config):
    return sum(from_the_library(config).values())


@EXERCISE.wrong(stage="keys", says="Missing: ['norms']; not asked for: ['norm']")
def mistypes_a_key(config):
    counts = from_the_library(config)
    counts["norm"] = counts.pop("norms")
    return counts


@EXERCISE.wrong(stage="attention", says="the count of one layer")
def counts_one_layer(config):
    once = ("input_embedding", "output_head")
    counts = from_the_library(config).items()
    return {key: n if key in once else n // config.n_layers for key, n in counts}


@EXERCISE.wrong(stage="keys", says="came as a float")
def divides_with_a_slash(config):
    return {key: count / 1 for key, count in from_the_library(config).items()}


@EXERCISE.wrong(stage="tables", says="does not tie them")
def ties_the_tables(config):
    return {**from_the_library(config), "output_head": 0}


@EXERCISE.wrong(stage="attention", says="n_kv_heads heads only")
def gives_every_head_its_keys(config):
    heads = config.attention.n_heads * config.attention.d_head
    attention = config.n_layers * 4 * config.d_model * heads
    return {**from_the_library(config), "attention": attention}


@EXERCISE.wrong(stage="norms and router", says="one after the last layer")
def forgets_the_last_norm(config):
    return {**from_the_library(config), "norms": 2 * config.n_layers * config.d_model}


@EXERCISE.wrong(stage="norms and router", says="and no bias")
def gives_the_router_a_bias(config):
    router = config.n_layers * config.moe.router.n_experts * (config.d_model + 1)
    return {**from_the_library(config), "router": router}


@EXERCISE.wrong(stage="experts", says="three matrices")
def counts_two_matrices(config):
    parts = from_the_library(config)
    return {**parts, "experts": parts["experts"] // 3 * 2}
