"""Chapter 10, exercise 10.7: a product of tokens and experts, by kernels, that can be trained."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch10_triton_experts.inputs import expert_of_rows, normal, offsets_of
from moe_teach.chapters.ch10_triton_experts.own_kernels import demand_own_kernels
from moe_teach.chapters.ch10_triton_experts.stand_in_kernels import OF_THE_WAY_BACK, stand_ins
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require

EXERCISE = Exercise(
    id="10.7",
    name="grouped_product",
    title="The way back",
    points=3,
    difficulty=4,
    importance=4,
    minutes=20,
    needs=("10.1", "10.2", "10.4"),
    limit=30,
    hints=(
        "Two gradients, two kernels. That of the rows is a product like the one forwards, with the "
        "matrices turned round: see the lesson. But it comes row by row, and x has a gradient for "
        "each token. That of the matrices is exercise 10.4.",
        "`product(dout, w.mT, ...)`: row n of dout stands at place n already, so which token_idx "
        "leaves everything where it is? Then add each row to its token. The gradient kernel wants "
        "rows that stand sorted: fetch them with x[token_idx]. And what does autograd hand over "
        "when the loss is out.sum()?",
        "dout = dout.contiguous(); drows = product(dout, w.mT, torch.arange(len(dout), "
        "dtype=torch.int32)); dx = torch.zeros_like(x).index_add(0, token_idx, drows); dw = "
        "torch.empty(w.shape); gradient[(E, triton.cdiv(F, WIDE), triton.cdiv(D, WIDE))](x[token_"
        "idx], dout, expert_offsets, dw, D, F, ROWS, WIDE, WIDE); return dx, dw.",
    ),
    explanation="A token with several experts gets a gradient from each of them, so the rows are "
    "added and not written. The gradient that autograd hands over may have any strides: out.sum() "
    "gives one number, spread out with strides of 0, and a kernel that takes it for N x F numbers "
    "in a row reads whatever comes after (Dao-AILab/flash-attention, issue 355, was such a case). "
    "Here x[token_idx] is copied for the gradient kernel; the library's reads the rows where they "
    "lie.",
)
# D, F, rows of each expert, tokens
SIZES = ((3, 2, (1,), 1), (6, 5, (0, 4, 3), 5), (5, 19, (20, 0, 1, 9), 17), (17, 4, (2, 3), 4))


def _case(sizes: tuple[Any, ...], seed: int) -> dict[str, Tensor]:
    """Let tokens have several rows, one, or none."""
    d_model, d_ff, counts, n_tokens = sizes
    random = generator(seed)
    chosen = [torch.randperm(n_tokens, generator=random).repeat(2)[:n].sort() for n in counts]
    return {
        "x": normal(d_model, n_tokens, seed=seed).T,
        "w": normal(len(counts), d_model, d_ff, seed=seed + 1).mT,
        "token_idx": torch.cat([part.values for part in chosen]).to(torch.int32),
        "expert_offsets": offsets_of(list(counts)),
    }


def _defined(given: dict[str, Tensor], counts: tuple[int, ...], dout: Tensor) -> list[Tensor]:
    """Give out, dx and dw in float64, rounded once."""
    x, w = given["x"].double(), given["w"].double()
    tokens, owner, dout = given["token_idx"].long(), expert_of_rows(list(counts)), dout.double()
    out = torch.einsum("nd,nfd->nf", x[tokens], w[owner])
    drows = torch.einsum("nf,nfd->nd", dout, w[owner])
    dx = torch.zeros_like(x).index_add(0, tokens, drows)
    outer = torch.einsum("nf,nd->nfd", dout, x[tokens])
    dw = torch.zeros_like(w).index_add(0, owner, outer)
    return [part.float() for part in (out, dx, dw)]


def _got(answer: Any, given: dict[str, Tensor], dout: Tensor, **parts: Any) -> list[Tensor]:
    x, w = (given[name].detach().requires_grad_() for name in ("x", "w"))
    with torch.enable_grad():
        out = answer(x, w, given["token_idx"], given["expert_offsets"], **parts)
        dx, dw = torch.autograd.grad(out, (x, w), dout)
    return [out.detach(), dx, dw]


def _slips(given: dict[str, Tensor], counts: tuple[int, ...], dout: Tensor) -> dict[str, Tensor]:
    w, tokens = given["w"], given["token_idx"].long()
    drows = torch.einsum("nf,nfd->nd", dout, w[expert_of_rows(list(counts))])
    overwritten = torch.zeros_like(given["x"])
    for n, token in enumerate(tokens.tolist()):
        overwritten[token] = drows[n]
    return {
        "Of the rows of a token, only the last one counts. Each of its experts has a part in its "
        "gradient: add them up.": overwritten,
        "The sum over a token's rows was divided by their number. Add them up.": torch.zeros_like(
            given["x"]
        ).index_reduce(0, tokens, drows, "mean", include_self=False),
    }


def _facts(sizes: tuple[Any, ...]) -> dict[str, Any]:
    names = ("d_model", "d_ff", "rows of each expert", "n_tokens")
    return dict(zip(names, sizes, strict=True))


def _dout(sizes: tuple[Any, ...], seed: int) -> Tensor:
    return normal(sum(sizes[2]), sizes[1], seed=seed + 7)


@EXERCISE.stage("the launches")
def _back_launches(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given, dout = _case(sizes, seed), _dout(sizes, seed)
        parts = stand_ins(OF_THE_WAY_BACK)
        out = _got(answer, given, dout, **parts)[0]
        require(
            close(out, _defined(given, sizes[2], dout)[0]),
            "The way forward, which was right as it was given, is not any more.",
            expected=_defined(given, sizes[2], dout)[0],
            got=out,
            example=_facts(sizes),
        )
        counts = {name: part.launches for name, part in parts.items()}
        require(
            counts["gradient"] and counts["matmul"] > 1,
            "The way back does without the kernels: somebody else does their work.",
            cause="`gradient` makes dw, and `matmul`, by way of `product`, the gradient of rows.",
            expected=Words("`gradient` once, and `matmul` forwards and backwards"),
            got=Words(str(counts)),
            example=_facts(sizes),
        )


@EXERCISE.stage("the tokens")
def _back_tokens(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given, dout = _case(sizes, seed), _dout(sizes, seed)
        got = _got(answer, given, dout, **stand_ins(OF_THE_WAY_BACK))[1]
        expected = _defined(given, sizes[2], dout)[1]
        known = _slips(given, sizes[2], dout)
        cause = next((said for said, slip in known.items() if close(got, slip)), "")
        require(
            close(got, expected),
            "The gradient of x is wrong.",
            cause=cause or "Follow one token: its rows, their experts, and what each sends back.",
            cure="drows[n] is w[e] turned round times dout[n], and belongs to token_idx[n].",
            expected=expected,
            got=got,
            example={**_facts(sizes), "token_idx": given["token_idx"]},
        )


@EXERCISE.stage("the matrices")
def _back_matrices(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given, dout = _case(sizes, seed), _dout(sizes, seed)
        got = _got(answer, given, dout, **stand_ins(OF_THE_WAY_BACK))[2]
        expected = _defined(given, sizes[2], dout)[2]
        require(
            close(got, expected),
            "The gradient of w is wrong.",
            cause="Row n of `rows` must be the token that row n of `dout` answers to.",
            cure="Hand the kernel x[token_idx] and dout, both in the order of the rows.",
            expected=expected,
            got=got,
            example=_facts(sizes),
        )


@EXERCISE.stage("a loss that is a sum")
def _back_sum(answer: Any, seed: int) -> None:
    if seed:
        return
    sizes = SIZES[1]
    given, dout = _case(sizes, seed), torch.ones(()).expand(sum(sizes[2]), sizes[1])
    got = _got(answer, given, dout, **stand_ins(OF_THE_WAY_BACK))
    expected = _defined(given, sizes[2], dout)
    require(
        close(got[1:], expected[1:]),
        "For the loss out.sum() the gradients are wrong.",
        cause="Then `dout` is one number that is spread out, with strides of 0.",
        cure="Make it contiguous before a kernel sees it.",
        expected=expected[1],
        got=got[1],
        example=_facts(sizes),
    )


@EXERCISE.stage("your kernels, watched")
def _back_yours(answer: Any, seed: int) -> None:
    if seed:
        return
    sizes = SIZES[1]
    given, dout = _case(sizes, seed), _dout(sizes, seed)
    expected = _defined(given, sizes[2], dout)
    launches = partial(_got, answer, given, dout)
    demand_own_kernels(launches, OF_THE_WAY_BACK, partial(close, expected=expected), expected)
