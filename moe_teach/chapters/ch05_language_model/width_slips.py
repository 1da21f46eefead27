"""What the usual slips in a width give, for exercise 5.2 to name them.

A case is n_experts, top_k, d_expert, d_shared, n_matrices, multiple_of.
"""


def _up(rows: float | int, n_matrices: int, multiple_of: int) -> int:
    return int(-(-rows // (n_matrices * multiple_of)) * multiple_of)


def right_width(case: tuple[int, ...], equal: str) -> int:
    """Give the width that is asked for."""
    n_experts, top_k, d_expert, d_shared, n_matrices, multiple_of = case
    n_counted = top_k if equal == "active" else n_experts
    rows = n_matrices * (n_counted * d_expert + d_shared) + n_experts
    return _up(rows, n_matrices, multiple_of)


def width_slips(case: tuple[int, ...], equal: str) -> dict[tuple[str, str], int]:
    """What the usual slips give, each under its cause and its cure."""
    return _slips_of_counting(case, equal) | _slips_of_rounding(case, equal)


def _slips_of_counting(case: tuple[int, ...], equal: str) -> dict[tuple[str, str], int]:
    n_experts, top_k, d_expert, d_shared, n_matrices, multiple_of = case
    n_counted = top_k if equal == "active" else n_experts
    n_other = n_experts if equal == "active" else top_k
    ffn = n_counted * d_expert + d_shared

    def up(width: float | int) -> int:
        return _up(width * n_matrices, n_matrices, multiple_of)

    usual = {
        (
            "The router is missing.",
            "It is a matrix of d_model times n_experts that works on every token, as much as "
            "n_experts / n_matrices hidden units.",
        ): up(ffn),
        (
            "The router counts too much: its n_experts rows are rows of *one* matrix, and a hidden "
            "unit has n_matrices of them.",
            "Divide n_experts by n_matrices.",
        ): up(ffn + n_experts),
        (
            "The two meanings are mixed up.",
            '"active" counts top_k experts, "total" counts all of them.',
        ): up(n_other * d_expert + d_shared + n_experts / n_matrices),
        (
            "Only one expert was counted.",
            "Of the experts, top_k work on a token, and all are stored: multiply.",
        ): up(d_expert + d_shared + n_experts / n_matrices),
        (
            "The shared expert is missing.",
            "It works on every token and it is stored: add d_shared once.",
        ): up(n_counted * d_expert + n_experts / n_matrices),
        (
            "The shared expert was multiplied by the number of experts.",
            "It exists once: add d_shared outside the product.",
        ): up(n_counted * (d_expert + d_shared) + n_experts / n_matrices),
    }
    return usual | _slips_of_matrices(case, ffn)


def _slips_of_matrices(case: tuple[int, ...], ffn: int) -> dict[tuple[str, str], int]:
    n_experts, top_k, _, _, n_matrices, multiple_of = case

    def up(width: float | int) -> int:
        return _up(width * n_matrices, n_matrices, multiple_of)

    return {
        (
            "Of the router only the chosen rows were counted.",
            "Every token is multiplied with all n_experts rows, or nobody could be chosen.",
        ): up(ffn + top_k / n_matrices),
        (
            "The number of matrices is fixed at 3 in your formula.",
            "Use n_matrices: SwiGLU has 3, GELU has 2.",
        ): up(ffn + n_experts / 3),
        (
            "The number of matrices is fixed at 2 in your formula.",
            "Use n_matrices: GELU has 2, SwiGLU has 3.",
        ): up(ffn + n_experts / 2),
    }


def _slips_of_rounding(case: tuple[int, ...], equal: str) -> dict[tuple[str, str], int]:
    n_experts, top_k, d_expert, d_shared, n_matrices, multiple_of = case
    ffn = (top_k if equal == "active" else n_experts) * d_expert + d_shared
    true = ffn + n_experts / n_matrices
    early = _up((ffn + n_experts // n_matrices) * n_matrices, n_matrices, multiple_of)
    return {
        (
            "The router's share was rounded down before it was added.",
            "Add first, round once, and round up.",
        ): early,
        (
            "This is rounded down.",
            "Round *up*: a baseline must never lose because it was given less.",
        ): int(true // multiple_of * multiple_of),
        (
            "This is rounded to the nearest.",
            "Round *up*, with `math.ceil` or -(-a // b): a baseline must never be given less.",
        ): int(true / multiple_of + 0.5) * multiple_of,
        (
            "The width is not rounded to a multiple of multiple_of.",
            "Divide by multiple_of, round up, multiply by it.",
        ): _whole(true),
    }


def _whole(width: float | int) -> int:
    return int(-(-width // 1))
