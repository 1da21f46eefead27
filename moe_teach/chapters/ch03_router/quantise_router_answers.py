"""Exercise 3.8: answers that miss the goal or the budget, and other ways to reach it."""

import torch

from moe_teach.chapters.ch03_router.quantise_router import EXERCISE


def _ends(n_bits):
    return -(2 ** (n_bits - 1)), 2 ** (n_bits - 1) - 1


def _rounded(w, n_bits, share=1.0):
    low, high = _ends(n_bits)
    scale = share * w.abs().amax(dim=1).clamp_min(1e-12) / high
    return (w / scale[:, None]).round().clamp(low, high), scale


def _descended(w, x, n_bits, share=0.7, rounds=4):
    low, high = _ends(n_bits)
    codes, scale = _rounded(w, n_bits, share)
    seen = x.T @ x
    for _ in range(rounds):
        for c in range(w.shape[1]):
            missing = (w - codes * scale[:, None]) @ seen[:, c]
            step = missing / (seen[c, c] * scale).clamp_min(1e-12)
            codes[:, c] = (codes[:, c] + step).round().clamp(low, high)
    return codes, scale


@EXERCISE.wrong(stage="goal", says="keep both experts: 24.7")
def rounds_to_the_nearest(w, x, n_bits):
    codes, scale = _rounded(w, n_bits)
    return codes.to(torch.int8), scale


@EXERCISE.wrong(stage="goal", says="keep both experts: 47.1%")
def takes_the_common_vector_away(w, x, n_bits):
    codes, scale = _rounded(w - w.mean(dim=0), n_bits)
    return codes.to(torch.int8), scale


@EXERCISE.wrong(stage="goal", says="keep both experts: 50.5")
def forgets_the_common_vector(w, x, n_bits):
    codes, scale = _descended(w, x, n_bits)
    return codes.to(torch.int8), scale


@EXERCISE.wrong(stage="codes", says="still floats")
def leaves_the_codes_floats(w, x, n_bits):
    return _rounded(w, n_bits)


@EXERCISE.wrong(stage="codes", says="do not stay inside")
def uses_one_bit_too_many(w, x, n_bits):
    codes, scale = _rounded(w, n_bits + 1)
    return codes.int(), scale


@EXERCISE.wrong(stage="codes", says="not one float for each expert")
def scales_the_whole_matrix(w, x, n_bits):
    codes, scale = _rounded(w.reshape(1, -1), n_bits)
    return codes.reshape(w.shape).int(), scale


@EXERCISE.wrong(stage="odd sizes", says="no finite number")
def divides_by_a_row_of_zeros(w, x, n_bits):
    codes, _ = _rounded(w - w.mean(dim=0), n_bits)
    energy = (codes * codes).sum(dim=1)
    return codes.nan_to_num().int(), (codes * w).sum(dim=1) / energy


@EXERCISE.wrong(stage="read back", says="the wrong way round")
def returns_the_inverse_of_the_scale(w, x, n_bits):
    codes, scale = _rounded(w - w.mean(dim=0), n_bits)
    return codes.int(), 1 / scale


@EXERCISE.right
def best_of_several_starts(w, x, n_bits):
    w = w - w.mean(dim=0)
    seen, best = x.T @ x, None
    for share in (0.4, 0.5, 0.6, 0.7, 0.85, 1.0):
        codes, scale = _descended(w, x, n_bits, share)
        error = codes * scale[:, None] - w
        cost = ((error @ seen) * error).sum(dim=1)
        if best is None:
            best = cost, codes, scale
        better = cost < best[0]
        best = (
            torch.where(better, cost, best[0]),
            torch.where(better[:, None], codes, best[1]),
            torch.where(better, scale, best[2]),
        )
    return best[1].long(), best[2].double()


@EXERCISE.right
def by_handing_each_error_on(w, x, n_bits):
    """Round a column, and let the columns after it make up for the error."""
    low, high = _ends(n_bits)
    w = (w - w.mean(dim=0)).double()
    seen = (x.T @ x).double()
    seen = seen + 0.01 * seen.diagonal().mean().clamp_min(1e-6) * torch.eye(len(seen)).double()
    scale = 0.6 * w.abs().amax(dim=1).clamp_min(1e-12) / high
    left, codes = w.clone(), torch.zeros_like(w)
    order = seen.diagonal().argsort(descending=True).tolist()
    for place, c in enumerate(order):
        codes[:, c] = (left[:, c] / scale).round().clamp(low, high)
        error = codes[:, c] * scale - left[:, c]
        rest = order[place + 1 :]
        if rest:
            pull = torch.linalg.solve(seen[rest][:, rest], seen[rest, c])
            left[:, rest] -= error[:, None] * pull
    return codes.int(), scale
