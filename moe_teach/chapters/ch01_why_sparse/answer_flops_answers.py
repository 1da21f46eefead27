"""Exercise 1.3: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch01_why_sparse.answer_flops import EXERCISE


@EXERCISE.right
def token_by_token_flops(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    total = 0
    for position in range(n_prompt + n_new - 1):
        total += 2 * n_matrix_params
        total += n_layers * n_heads * (2 * d_head + 2 * d_head) * (position + 1)
    return total


@EXERCISE.wrong(stage="one token", says="Exactly half")
def counts_multiplications_only(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    return token_by_token_flops(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new) // 2


@EXERCISE.wrong(stage="one token", says="Two tokens were computed")
def computes_the_last_token(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    return token_by_token_flops(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new + 1)


@EXERCISE.wrong(stage="one token", says="itself: t + 1")
def looks_at_the_past_only(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    n = n_prompt + n_new - 1
    return 2 * n_matrix_params * n + 2 * n_layers * n_heads * d_head * n * (n - 1)


@EXERCISE.wrong(stage="one token", says="One of two products")
def scores_without_mixing(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    n = n_prompt + n_new - 1
    return 2 * n_matrix_params * n + n_layers * n_heads * d_head * n * (n + 1)


@EXERCISE.wrong(stage="one token", says="Layers or heads are left out")
def counts_one_head(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    return token_by_token_flops(n_matrix_params, n_layers, 1, d_head, n_prompt, n_new)


@EXERCISE.wrong(stage="matrices", says="With a cache")
def has_no_cache(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    return sum(
        token_by_token_flops(n_matrix_params, n_layers, n_heads, d_head, n_prompt + new, 1)
        for new in range(n_new)
    )


@EXERCISE.wrong(stage="attention", says="not the whole final length")
def sees_the_whole_length(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    n = n_prompt + n_new - 1
    return 2 * n_matrix_params * n + 4 * n_layers * n_heads * d_head * n * n


@EXERCISE.wrong(stage="whole number", says="FLOPs came as a float")
def sums_into_a_float(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    n = n_prompt + n_new - 1
    return 2 * n_matrix_params * n + 4 * n_layers * n_heads * d_head * n * (n + 1) / 2


@EXERCISE.wrong(stage="large", says="but for its last digits")
def cuts_a_float(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    return int(sums_into_a_float(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new))


@EXERCISE.wrong(stage="one token", says="counted from one")
def counts_positions_from_one(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    n = n_prompt + n_new - 1
    pairs = sum(t + 1 for t in range(1, n + 1))
    return 2 * n_matrix_params * n + 4 * n_layers * n_heads * d_head * pairs


@EXERCISE.right
def prompt_and_answer_apart(n_matrix_params, n_layers, n_heads, d_head, n_prompt, n_new):
    pairs = sum(range(1, n_prompt + 1)) + sum(range(n_prompt + 1, n_prompt + n_new))
    matrices = 2 * n_matrix_params * n_prompt + 2 * n_matrix_params * (n_new - 1)
    return matrices + 4 * d_head * n_heads * n_layers * pairs
