"""Exercise 10.8: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch10_triton_experts.is_right import EXERCISE

RAGGED, EVEN = (20, 0, 3), (16, 16)


def _defined(rows, w, counts):
    parts = zip(rows.double().split(list(counts)), w.double(), strict=True)
    return torch.cat([part @ matrix.T for part, matrix in parts])


def _problem(counts, d_model, d_ff, seed):
    random = torch.Generator().manual_seed(seed)
    rows = torch.randn(sum(counts), d_model, generator=random)
    return rows, torch.randn(len(counts), d_ff, d_model, generator=random)


def _agrees(multiply, rows, w, counts, tolerance=1e-4):
    got = multiply(rows, w, torch.tensor(counts).cumsum(0).int()).double()
    return torch.allclose(got, _defined(rows, w, counts), rtol=tolerance, atol=tolerance)


def _breaks_sums(multiply):
    rows, w = _problem((3, 4), 32, 16, seed=5)
    w = torch.cat([torch.full((2, 16, 16), 300.0), torch.full((2, 16, 16), -300.0)], dim=-1)
    return not _agrees(multiply, (300 + rows).half(), w.half(), (3, 4), tolerance=2e-2)


def _shapes(multiply):
    rows, w = _problem(RAGGED, 20, 56, seed=1)
    return _agrees(multiply, rows, w.mT.contiguous().mT, RAGGED)


def _watched(multiply):
    from moe_teach.analysis.kernel_watch import watch

    with watch(adopt=True) as seen:
        is_right = _shapes(multiply) and not _breaks_sums(multiply)
    return is_right, seen


@EXERCISE.wrong(stage="right kernels", says="tolerance that fits the dtype")
def trusts_nobody(multiply):
    return False


@EXERCISE.wrong(stage="right kernels", says="ends without a return statement")
def asserts_and_says_nothing(multiply):
    assert _shapes(multiply)


@EXERCISE.wrong(stage="right kernels", says="one with tiles of 8 rows")
def counts_the_programs(multiply):
    is_right, seen = _watched(multiply)
    return is_right and len(seen.programs) == 3 * 4 + 2


@EXERCISE.wrong(stage="right kernels", says="must say True or False")
def answers_with_a_tensor(multiply):
    rows, w = _problem(RAGGED, 20, 56, seed=1)
    got = multiply(rows, w, torch.tensor(RAGGED).cumsum(0).int())
    return (got - _defined(rows, w, RAGGED)).abs().max() < 1e-4


@EXERCISE.wrong(stage="the kernel above", says="as many tiles as blocks of columns")
def tries_the_shape_of_the_text(multiply):
    return all(_agrees(multiply, *_problem(EVEN, 32, 32, seed), EVEN) for seed in range(3))


@EXERCISE.wrong(stage="wrong numbers", says="every expert has rows")
def gives_everybody_rows(multiply):
    rows, w = _problem((20, 1, 3), 20, 40, seed=1)
    return _agrees(multiply, rows, w.mT.contiguous().mT, (20, 1, 3))


@EXERCISE.wrong(stage="wrong numbers", says="D is a multiple of the step")
def walks_in_whole_steps(multiply):
    rows, w = _problem(RAGGED, 32, 56, seed=1)
    return _agrees(multiply, rows, w.mT.contiguous().mT, RAGGED)


@EXERCISE.wrong(stage="wrong numbers", says="w lies in memory as it is numbered")
def leaves_the_matrices_as_they_come(multiply):
    rows, w = _problem(RAGGED, 20, 56, seed=1)
    return _agrees(multiply, rows, w, RAGGED)


@EXERCISE.wrong(stage="broken sums", says="the inputs are float32")
def looks_at_shapes_only(multiply):
    return _shapes(multiply)


@EXERCISE.wrong(stage="right numbers", says="programs run one after another")
def looks_at_numbers_only(multiply):
    return _shapes(multiply) and not _breaks_sums(multiply)


@EXERCISE.wrong(stage="right numbers", says="nobody cuts a float32")
def looks_for_races_only(multiply):
    is_right, seen = _watched(multiply)
    return is_right and not seen.races()


@EXERCISE.right
def asserts_and_looks_everywhere(multiply):
    is_right, seen = _watched(multiply)
    assert is_right
    assert seen.races() == [] and seen.narrow_dots == []
    return True


@EXERCISE.right
def one_case_for_each_suspicion(multiply):
    from moe_teach.analysis.kernel_watch import watch

    with watch(adopt=True) as seen:
        for counts, sizes in (((17,), (16, 16)), ((0, 3), (5, 16)), ((2, 16), (16, 33))):
            rows, w = _problem(counts, *sizes, seed=3)
            if not _agrees(multiply, rows, w.mT.contiguous().mT, counts):
                return False
    return not (seen.races() or seen.narrow_dots or _breaks_sums(multiply))
