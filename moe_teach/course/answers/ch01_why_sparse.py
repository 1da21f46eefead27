"""Chapter 01: plausible wrong answers, each with what it must be told, and other right ones."""

from moe_teach.course.answers._ch01_deciding import (  # noqa: F401 - found by name
    accepts_a_dense_model,
    accepts_a_negative_shared_part,
    adds_every_choice,
    answers_minus_one,
    as_a_list_with_numpy,
    asserts_instead_of_raising,
    by_two_by_two_system,
    comparing_first,
    counts_hours_of_use,
    counts_the_sleepers,
    divides_by_all_experts,
    divides_by_zero,
    divides_the_total_by_the_experts,
    divides_without_looking,
    draws_with_replacement,
    forgets_the_running_cost,
    forgets_top_k,
    returns_the_error,
    returns_the_expert_first,
    returns_the_expert_only,
    rounds_up,
    runs_only_when_used,
    stops_at_all_experts,
    token_by_token,
    uses_the_mean,
    with_numpy,
    with_the_library,
)
from moe_teach.judging.exercise import right, wrong

# --- 1.1 count_parts --------------------------------------------------------------------------


@right("1.1")
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


@right("1.1")
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


@wrong("1.1", stage="keys", says="with the six keys")
def returns_the_sum(config):
    return sum(from_the_library(config).values())


@wrong("1.1", stage="keys", says="Missing: ['norms']; not asked for: ['norm']")
def mistypes_a_key(config):
    counts = from_the_library(config)
    counts["norm"] = counts.pop("norms")
    return counts


@wrong("1.1", stage="attention", says="the count of one layer")
def counts_one_layer(config):
    once = ("input_embedding", "output_head")
    counts = from_the_library(config).items()
    return {key: n if key in once else n // config.n_layers for key, n in counts}


@wrong("1.1", stage="keys", says="came as a float")
def divides_with_a_slash(config):
    return {key: count / 1 for key, count in from_the_library(config).items()}


@wrong("1.1", stage="tables", says="does not tie them")
def ties_the_tables(config):
    return {**from_the_library(config), "output_head": 0}


@wrong("1.1", stage="attention", says="n_kv_heads heads only")
def gives_every_head_its_keys(config):
    heads = config.attention.n_heads * config.attention.d_head
    attention = config.n_layers * 4 * config.d_model * heads
    return {**from_the_library(config), "attention": attention}


@wrong("1.1", stage="norms and router", says="one after the last layer")
def forgets_the_last_norm(config):
    return {**from_the_library(config), "norms": 2 * config.n_layers * config.d_model}


@wrong("1.1", stage="norms and router", says="and no bias")
def gives_the_router_a_bias(config):
    router = config.n_layers * config.moe.router.n_experts * (config.d_model + 1)
    return {**from_the_library(config), "router": router}


@wrong("1.1", stage="experts", says="three matrices")
def counts_two_matrices(config):
    parts = from_the_library(config)
    return {**parts, "experts": parts["experts"] // 3 * 2}


# --- 1.2 count_active -------------------------------------------------------------------------


@wrong("1.2", stage="whole number", says="use // where you divide")
def divides_into_a_float(parts, n_experts, top_k, input_embedding=True):
    active = sum(parts.values()) - parts["experts"] * (1 - top_k / n_experts)
    return active if input_embedding else active - parts["input_embedding"]


@wrong("1.2", stage="sparse", says="scores every expert before")
def scales_the_router(parts, n_experts, top_k, input_embedding=True):
    active = by_adding_up(parts, n_experts, top_k, input_embedding)
    return active - parts["router"] + parts["router"] * top_k // n_experts


@wrong("1.2", stage="sparse", says="used in part")
def scales_everything(parts, n_experts, top_k, input_embedding=True):
    return sum(parts.values()) * top_k // n_experts


@wrong("1.2", stage="dense", says="leave a part out")
def forgets_the_output(parts, n_experts, top_k, input_embedding=True):
    return by_adding_up(parts, n_experts, top_k, input_embedding) - parts["output_head"]


@wrong("1.2", stage="convention", says="the input table is left out")
def ignores_the_convention(parts, n_experts, top_k, input_embedding=True):
    return by_adding_up(parts, n_experts, top_k, True)


@right("1.2")
def by_adding_up(parts, n_experts, top_k, input_embedding=True):
    table = parts["input_embedding"] if input_embedding else 0
    always = parts["output_head"] + parts["attention"] + parts["norms"] + parts["router"]
    return table + always + parts["experts"] * top_k // n_experts


@right("1.2")
def in_numpy_integers(parts, n_experts, top_k, input_embedding=True):
    import numpy as np

    return np.int64(by_adding_up(parts, n_experts, top_k, input_embedding))


@right("1.2")
def by_taking_resting_experts_away(parts, n_experts, top_k, input_embedding=True):
    active = dict(parts)
    for _ in range(n_experts - top_k):
        active["experts"] -= parts["experts"] // n_experts
    if not input_embedding:
        del active["input_embedding"]
    return sum(active.values())


# --- 1.3 answer_flops -------------------------------------------------------------------------


@wrong("1.3", stage="one token", says="Exactly half")
def counts_multiplications_only(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    return token_by_token_flops(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new) // 2


@wrong("1.3", stage="one token", says="Two tokens were computed")
def computes_the_last_token(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    return token_by_token_flops(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new + 1)


@wrong("1.3", stage="one token", says="itself: t + 1")
def looks_at_the_past_only(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    n = n_prompt + n_new - 1
    return 2 * n_matrix_params * n + 2 * n_layers * n_heads * d_head * n * (n - 1)


@wrong("1.3", stage="one token", says="One of two products")
def scores_without_mixing(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    n = n_prompt + n_new - 1
    return 2 * n_matrix_params * n + n_layers * n_heads * d_head * n * (n + 1)


@wrong("1.3", stage="one token", says="all layers and all heads")
def counts_one_head(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    return token_by_token_flops(n_matrix_params, n_layers, 1, d_head, n_prompt, n_new)


@wrong("1.3", stage="matrices", says="With a cache")
def has_no_cache(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    return sum(
        token_by_token_flops(n_matrix_params, n_layers, n_heads, d_head, n_prompt + new, 1)
        for new in range(n_new)
    )


@wrong("1.3", stage="attention", says="not the whole final length")
def sees_the_whole_length(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    n = n_prompt + n_new - 1
    return 2 * n_matrix_params * n + 4 * n_layers * n_heads * d_head * n * n


@wrong("1.3", stage="whole number", says="FLOPs came as a float")
def sums_into_a_float(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    n = n_prompt + n_new - 1
    return 2 * n_matrix_params * n + 4 * n_layers * n_heads * d_head * n * (n + 1) / 2


@right("1.3")
def token_by_token_flops(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    total = 0
    for position in range(n_prompt + n_new - 1):
        total += 2 * n_matrix_params
        total += n_layers * n_heads * (2 * d_head + 2 * d_head) * (position + 1)
    return total


@right("1.3")
def prompt_and_answer_apart(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    pairs = sum(range(1, n_prompt + 1)) + sum(range(n_prompt + 1, n_prompt + n_new))
    matrices = 2 * n_matrix_params * n_prompt + 2 * n_matrix_params * (n_new - 1)
    return matrices + 4 * d_head * n_heads * n_layers * pairs
