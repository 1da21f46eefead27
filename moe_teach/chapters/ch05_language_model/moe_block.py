"""Chapter 05, exercise 5.1: the MoE in a pre-norm transformer block."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from moe_teach.chapters.ch05_language_model.block_slips import block_slips
from moe_teach.chapters.ch05_language_model.inputs import Attention, Mixture, attend, mix, rms_norm
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require
from moe_teach.judging.gradients import require_gradients

EXERCISE = Exercise(
    id="5.1",
    name="MoEBlock",
    title="A transformer block with experts",
    points=2,
    difficulty=2,
    importance=5,
    minutes=15,
    hints=(
        "Two branches, one after the other. Each is: normalise, compute, add to the stream. The "
        "second one reads the stream that the first has already added to.",
        "`__init__`: super().__init__(), keep attention and moe as attributes, make two norms. "
        "`forward`: the first branch is `x = x + self.attention(self.attention_norm(x))`.",
        "y, routing = self.moe(self.moe_norm(x)); return x + y, routing",
    ),
    explanation="The stream runs through the block untouched, and both branches only add to it. So "
    "a gradient reaches the first layer whatever the branches do, and a token that an expert drops "
    "loses one addition and nothing else. The routing is returned, not stored in the layer: what a "
    "loss needs travels in the open.",
)
OTHER_STREAM = "The shape is right and the numbers are not."
SIZES = ((1, 1, 2), (1, 3, 4), (2, 5, 7))  # sequences, positions, width


def _case(answer: Any, sizes: tuple[int, int, int], seed: int) -> tuple[Any, Any, Any, Tensor]:
    n_rows, length, d_model = sizes
    attention, moe = Attention(d_model, seed), Mixture(d_model, seed + 1)
    block = answer(d_model, attention, moe)
    # Not contiguous: a stream often comes out of a transposition.
    x = 3 * torch.randn(length, n_rows, d_model, generator=generator(seed + 2)).transpose(0, 1)
    return block, attention, moe, x


@EXERCISE.stage("a module")
def _block_module(answer: Any, seed: int) -> None:
    block, attention, moe, _ = _case(answer, (1, 3, 4), seed)
    require(
        isinstance(block, nn.Module) and hasattr(block, "_parameters"),
        "`MoEBlock` makes no `nn.Module` that is ready for use.",
        cause="The class has another base, or `__init__` stores something first.",
        cure="Inherit from it; `__init__` must call `super().__init__()` before all else.",
        got=block,
    )
    kept = {id(parameter) for parameter in block.parameters()}
    require(
        {id(attention.weight), id(moe.weight)} <= kept,
        "The block does not know the parameters of its attention or its MoE, so no optimiser would "
        "train them.",
        cause="They stand in a list, in a function or in a copy, where a module does not look.",
        cure="Keep both modules as attributes of `self`, bare.",
    )
    others = [p for p in block.parameters() if id(p) not in {id(attention.weight), id(moe.weight)}]
    require(
        len(others) != 4 or any(p.shape != (4,) for p in others),
        "Besides attention and MoE there are four parameters of d_model numbers, and not two.",
        cause="They look like two LayerNorms, which have a bias too.",
        cure="Use `nn.RMSNorm(d_model)`.",
        got=[tuple(p.shape) for p in others],
        example={"d_model": 4},
    )
    require(
        len(others) == 2 and all(p.shape == (4,) for p in others),
        "Besides attention and MoE there are not two parameters of d_model numbers.",
        cause="One norm serves both branches, the norms have no weights, or something else that "
        "can be trained is there.",
        cure="Make two norms with weights of their own, `nn.RMSNorm(d_model)` each: one in front "
        "of attention, one in front of the MoE.",
        expected=Words("two more parameters, of shape (4,) each"),
        got=[tuple(p.shape) for p in others],
        example={"d_model": 4},
    )


@EXERCISE.stage("what comes back")
def _block_pair(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        block, attention, moe, x = _case(answer, sizes, seed)
        got = block(x)
        require(
            isinstance(got, tuple | list) and len(got) == 2,
            "`forward` returns two things, the new stream and the routing; this is no pair.",
            cause="The routing was dropped, and without it nobody could compute a balancing loss.",
            cure="End in `return x + y, routing`.",
            got=got,
            example={"x": x},
        )
        require(
            isinstance(got[0], Tensor) and got[0].shape == x.shape,
            "The first of the two is not the new stream, of the same shape as x.",
            cause="The MoE's output is a pair, and was used as it came; or the two are swapped.",
            cure="y, routing = self.moe(...): take it apart first, and return the stream first.",
            expected=Words(f"a tensor of shape {tuple(x.shape)}"),
            got=got[0],
            example={"x": x},
        )
        _require_one_call_each(attention.seen, moe.seen, x)
        require(
            got[1] is moe.last,
            "The second is not the routing that the MoE returned in this call.",
            cause="It is a part of it, a new one, or that of another call.",
            cure="Return the very routing that came, as it is.",
            got=got[1],
            example={"x": x},
        )


def _require_one_call_each(attention: list[Any], moe: list[Any], x: Tensor) -> None:
    for name, seen in (("attention", attention), ("moe", moe)):
        require(
            len(seen) == 1,
            f"One call of the block called `{name}` {len(seen)} times.",
            cause="It is called for each of its results, or for each sequence or token.",
            cure="Call it once, with the whole stream, and keep what comes: a second call costs as "
            "much again, and a router with noise would answer differently.",
            expected=Words("one call"),
            got=Words(f"{len(seen)} calls"),
        )
        require(
            seen == [tuple(x.shape)],
            f"`{name}` was given another shape than the stream has.",
            cause="Rows and positions were flattened, or an axis was added or taken.",
            cure="It takes (B, S, D) as it is.",
            expected=Words(f"{tuple(x.shape)}"),
            got=Words(f"{seen[0]}"),
        )


@EXERCISE.stage("values")
def _block_values(answer: Any, seed: int) -> None:
    # The last stream is as large as deep models make it: nothing may be cut off at some size.
    for sizes, scale in ((SIZES[1], 1), (SIZES[2], 1), (SIZES[2], 1000)):
        block, attention, moe, x = _case(answer, sizes, seed)
        x = scale * x
        got, _ = block(x)
        h = x + attention(rms_norm(x))
        expected = h + moe(rms_norm(h))[0]
        facts = {"expected": expected, "got": got, "example": {"x": x}}
        if not close(got, expected):
            for (cause, cure), slip in block_slips(x, attention, moe).items():
                require(not close(got, slip), OTHER_STREAM, cause=cause, cure=cure, **facts)
        require(
            close(got, expected),
            OTHER_STREAM,
            cause="A branch is scaled, dropped out or normalised behind, one norm serves both, or "
            "the norms are no `nn.RMSNorm` with its default eps.",
            cure="The stream after attention is x + attention(norm(x)), and the result is that "
            "stream plus moe(norm(of it)), with a norm of its own.",
            **facts,
        )


@EXERCISE.stage("a norm for each")
def _block_norms(answer: Any, seed: int) -> None:
    block, attention, moe, x = _case(answer, (2, 5, 7), seed)
    own = {id(attention.weight), id(moe.weight)}
    norms = [p for p in block.parameters() if id(p) not in own]
    before = block(x)[0].detach()
    for norm in norms:
        with torch.no_grad():
            norm.mul_(2)
        after = block(x)[0].detach()
        with torch.no_grad():
            norm.div_(2)
        require(
            not close(after, before),
            "One of the two norms does nothing: changing its weight changes no output.",
            cause="One norm is used in both places, or a norm is called without its weight.",
            cure="self.attention_norm reads for attention, self.moe_norm for the MoE.",
            example={"x": x},
        )


@EXERCISE.stage("dtype")
def _block_dtype(answer: Any, seed: int) -> None:
    for dtype in (torch.float32, torch.float64):
        block, _, _, x = _case(answer, (2, 3, 5), seed)
        got, _ = block.to(dtype)(x.to(dtype))
        require(
            got.dtype == dtype,
            "The new stream has another dtype than x.",
            cause="Something is converted on the way, by `.float()` or by a tensor of another "
            "dtype.",
            cure="Convert nothing: in a model of many blocks each would change the numbers of the "
            "next.",
            expected=Words(f"a stream of {dtype}"),
            got=Words(f"a stream of {got.dtype}"),
        )


@EXERCISE.stage("gradients")
def _block_gradients(answer: Any, seed: int) -> None:
    block, attention, moe, x = _case(answer, (2, 5, 7), seed)
    names = {id(parameter): name for name, parameter in block.named_parameters()}

    def learners(w_moe: Tensor, w_attention: Tensor, x: Tensor) -> Tensor:
        given = {names[id(attention.weight)]: w_attention, names[id(moe.weight)]: w_moe}
        return functional_call(block, given, (x,))[0]

    def right(w_moe: Tensor, w_attention: Tensor, x: Tensor) -> Tensor:
        h = x + attend(rms_norm(x), w_attention)
        return h + mix(rms_norm(h), w_moe)

    given = {"moe.weight": moe.weight, "attention.weight": attention.weight, "x": x}
    try:
        grads = torch.autograd.grad(block(x)[0].sum(), list(block.parameters()), allow_unused=True)
        require_gradients(learners, right, given, seed=seed)
    except RuntimeError as error:
        require(
            "inplace" not in str(error),
            "`backward()` fails: what a gradient needs was changed in place.",
            cause="It was changed in place after a norm had read it, by `+=` most likely.",
            cure="Write `x = x + y`.",
            got=Words("an error from backward()"),
        )
        raise
    require(
        all(grad is not None for grad in grads),
        "Some parameter gets no gradient, so it could not learn.",
        cause="There is a detach(), a no_grad() or a `.data` on the way.",
        cure="Take it out: both branches and both norms learn.",
    )
