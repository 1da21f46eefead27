"""Chapter 07, exercise 7.2: a mixture of small experts made out of a dense layer."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize, silu

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require, require_tensors
from moe_teach.judging.gradients import require_gradients

EXERCISE = Exercise(
    id="7.2",
    name="upcycle",
    title="Make a mixture out of a dense layer",
    points=3,
    difficulty=4,
    importance=4,
    minutes=20,
    needs=("3.3",),
    version=2,
    hints=(
        "Do it in three steps: cut the hidden units into parts (mind which axis they are in each "
        "matrix), copy the whole set of parts, and give the router rows. Then write down the gates "
        "that a token gets. What do the chosen parts add up to?",
        "All parts of a copy get the *same* row of the router, so they tie and are chosen "
        "together, and each gate is 1 / split. The sum has to grow by that factor again, in a "
        "place where it comes out unchanged: silu bends what goes through w_gate.",
        "up = w_up.reshape(split, F // split, D); down = w_down.unflatten(-1, (split, F // split))"
        ".movedim(1, 0) * split; w.repeat(copies, 1, 1) for all three; "
        "directions.repeat_interleave(split, dim=0)",
    ),
    explanation="This is how released models were made from dense ones without starting anew: the "
    "mixture begins as good as the dense layer (sparse upcycling, Komatsuzaki et al. 2023, arXiv "
    "2212.05055). With small experts the parts of *one* copy must be chosen together, or half of "
    "the layer is missing and the other half is there twice; He et al. (2024, arXiv 2410.07524) "
    "call this virtual groups, and scale the weights as you did. In training the copies part, "
    "because each sees its own tokens.",
)

SIZES = ((2, 1, 1, 1), (4, 3, 1, 2), (15, 4, 5, 1), (6, 7, 2, 3), (10, 4, 5, 2), (24, 3, 4, 7))
NAMES = ("w_gate", "w_up", "w_down", "router")


def _inputs(sizes: tuple[int, ...], seed: int) -> dict[str, Any]:
    """Draw a dense layer; `sizes` is F, D, split, copies. The weights lie transposed in memory."""
    d_ff, d_model, split, copies = sizes
    random = generator(seed)
    return {
        "w_gate": torch.randn(d_model, d_ff, generator=random).T / 3,
        "w_up": torch.randn(d_model, d_ff, generator=random).T / 3,
        "w_down": torch.randn(d_ff, d_model, generator=random).T / 3,
        "split": split,
        "directions": torch.randn(copies, d_model, generator=random),
    }


def _tokens(d_model: int, seed: int) -> Tensor:
    return torch.randn(23, d_model, generator=generator(seed + 1))


def _dense(given: dict[str, Any], x: Tensor) -> Tensor:
    w_gate, w_up, w_down = (given[name].double().T for name in NAMES[:3])
    return ((silu(x.double() @ w_gate) * (x.double() @ w_up)) @ w_down).float()


def _said(parts: tuple[Tensor, ...], x: Tensor) -> Tensor:
    """What every expert says of every token: (E, T, D), in float64: sums are compared."""
    w_gate, w_up, w_down = (part.double().mT for part in parts[:3])
    return (silu(x.double() @ w_gate) * (x.double() @ w_up)) @ w_down


def _mixture(parts: tuple[Tensor, ...], split: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """Give y (T, D) and expert_ids of the layer: softmax, the best `split`, gates that sum to 1."""
    probs = (x.double() @ parts[3].double().T).softmax(dim=-1)
    gates, ids = probs.topk(split, dim=-1)
    gates = gates / gates.sum(dim=-1, keepdim=True)
    said = _said(parts, x)[ids, torch.arange(len(x))[:, None]]
    return (gates[..., None] * said).sum(dim=1).float(), ids


def _reference(
    w_gate: Tensor, w_up: Tensor, w_down: Tensor, split: int, directions: Tensor
) -> tuple[Tensor, ...]:
    parts = [
        torch.stack(w.tensor_split(split, dim=axis)).repeat(len(directions), 1, 1)
        for w, axis in ((w_gate, 0), (w_up, 0), (split * w_down, 1))
    ]
    return *parts, directions.repeat_interleave(split, dim=0)


@EXERCISE.stage("shape")
def _shape(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        d_ff, d_model, split, copies = sizes
        given = _inputs(sizes, seed)
        got = answer(**given)
        require_tensors(got, NAMES, given)
        wide = (copies * split, d_ff // split, d_model)
        expected = (wide, wide, (wide[0], d_model, wide[1]), (wide[0], d_model))
        for name, tensor, shape in zip(NAMES, got, expected, strict=True):
            require(
                tuple(tensor.shape) == shape,
                f"`{name}` has another shape than the contract says.",
                cause="There are copies * split experts, each with F / split hidden units. Another "
                "axis was cut, or a new axis was kept.",
                cure="Hidden units are the first axis of w_gate and w_up and the last of w_down; "
                "flatten copies and parts into one axis of experts.",
                expected=shape,
                got=tuple(tensor.shape),
                example=given,
            )


@EXERCISE.stage("one copy")
def _one_copy(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given, split = _inputs(sizes, seed), sizes[2]
        x, parts = _tokens(sizes[1], seed), answer(**given)
        ids = _mixture(parts, split, x)[1] // split
        is_tiled = close(parts[3], given["directions"].repeat(split, 1))
        require(
            bool((ids == ids[:, :1]).all()),
            "A token is given parts of several copies: some hidden units twice, others never. "
            "(Shown: the copy of each chosen expert.)",
            cause="The rows come as c0, c1, ..., c0, c1, ...: `repeat` lays the whole table down "
            "again and again."
            if is_tiled
            else "Only experts that tie are chosen together, and these rows do not tie so.",
            cure="Experts c * split to c * split + split - 1 are copy c: give them all row c of "
            "`directions`.",
            expected=Words("in each row one number, split times"),
            got=ids,
            example=given,
        )


@EXERCISE.stage("the right copy")
def _right_copy(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given, split = _inputs(sizes, seed), sizes[2]
        x = _tokens(sizes[1], seed)
        copy = _mixture(answer(**given), split, x)[1][:, 0] // split
        best = (x @ given["directions"].T).argmax(dim=-1)
        require(
            close(copy, best),
            "A token is given another copy than the one whose direction it points along most.",
            cause="The rows stand in another order, or were changed.",
            cure="directions.repeat_interleave(split, dim=0)",
            expected=best,
            got=copy,
            example=given,
        )


def _why(given: dict[str, Any], parts: tuple[Tensor, ...], x: Tensor) -> tuple[str, str]:
    """Give cause and cure for copies that do not add up to the dense layer."""
    split, wanted = given["split"], _dense(given, x)
    copies = [said.sum(dim=0).float() / split for said in _said(parts, x).split(split)]
    if all(close(said, wanted) for said in copies):
        return "The parts of a copy have unequal gates.", "Give them exactly the same row."
    total = copies[0]
    if close(split * total, wanted):
        return (
            "The gates of a token sum to 1, so each of its parts counts for 1 / split.",
            "Multiply w_down (or w_up) by split: both go into the output as a factor.",
        )
    if close(total, split * wanted):
        return "The factor went into the output twice.", "Multiply w_down alone by split."
    turned = _said((parts[1], parts[0], parts[2]), x)[:split].sum(dim=0).float() / split
    if close(turned, wanted):
        return "w_gate and w_up changed places.", "silu opens by w_gate; return w_gate first."
    steep = (parts[0] / split, parts[1], split * parts[2])
    if close(_said(steep, x)[:split].sum(dim=0).float() / split, wanted):
        return (
            "The factor went into w_gate, and silu bends what goes through it.",
            "Multiply w_down (or w_up) by split.",
        )
    if given["w_down"].shape[0] > 1 and split > 1:
        piece = given["w_down"].reshape(split, *parts[2].shape[1:])
        if close(parts[2][:split], piece) or close(parts[2][:split], split * piece):
            return (
                "`reshape` cuts w_down in the order of its rows, and there the hidden units run "
                "fastest: the parts got pieces of rows.",
                "Cut the last axis alone, then move the parts to the front.",
            )
    return (
        "A part holds other units in one matrix than in another, or a unit is in two parts or in "
        "none.",
        "Cut all three the same way: the *same* units in w_gate, w_up and w_down.",
    )


@EXERCISE.stage("the same function")
def _same(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given, split = _inputs(sizes, seed), sizes[2]
        x, parts = _tokens(sizes[1], seed), answer(**given)
        expected, got = _dense(given, x), _mixture(parts, split, x)[0]
        cause, cure = _why(given, parts, x)
        shown = {"cause": cause, "cure": cure, "expected": expected, "example": given}
        require(close(got, expected), "The new layer says something else.", got=got, **shown)
        for copy, said in enumerate(_said(parts, x).split(split)):
            got = said.sum(dim=0).float() / split
            require(
                close(got, expected),
                f"Copy {copy} alone, all its parts with equal gates, says something else than the "
                "dense layer.",
                got=got,
                **shown,
            )


@EXERCISE.stage("copies of their own")
def _own(answer: Any, seed: int) -> None:
    for sizes in ((4, 3, 1, 2), (6, 7, 2, 3)):
        given, split = _inputs(sizes, seed), sizes[2]
        for name, weights in zip(NAMES[:3], answer(**given), strict=False):
            before = weights[split:].clone()
            weights[:split] += 1
            require(
                close(weights[split:], before),
                f"When the first copy learns, the second changes with it: in `{name}` they share "
                "their memory.",
                cause="`expand` shows the same numbers several times and copies nothing.",
                cure="`repeat` copies them.",
                example=given,
            )


@EXERCISE.stage("gradient")
def _gradient(answer: Any, seed: int) -> None:
    def spoken(function: Any, values: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Run all copies on tokens: which units go to which part is left open."""
        parts = function(*values.values())
        x = _tokens(parts[0].shape[-1], seed)
        said = _said(parts, x).unflatten(0, (-1, values["split"])).sum(dim=1)
        return said.float(), normalize(parts[3].float().flatten(), dim=0)  # any scale routes alike

    for sizes in SIZES[1:]:
        require_gradients(answer, _reference, _inputs(sizes, seed), seed=seed, call=spoken)
