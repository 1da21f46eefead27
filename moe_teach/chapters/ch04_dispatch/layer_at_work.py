"""Exercise 4.7: the layer with the reader's own parts, before the laws, and in training."""

from typing import Any

from moe_teach.analysis.laws import LAWS, obeys
from moe_teach.analysis.own_layer import told_about
from moe_teach.chapters.ch04_dispatch.layer_parts import (
    OF_EXERCISE,
    PARTS,
    defined,
    draw_tokens,
    draw_weights,
    near,
    weights_of,
)
from moe_teach.chapters.ch04_dispatch.my_layer import learn_kinds
from moe_teach.judging.exercise import Words, WrongAnswer, require


def require_own_parts(answer: Any, sizes: tuple[Any, ...], seed: int) -> None:
    """Reject a layer that the reader's own parts spoil, and name the part.

    The assembly was found right before, so each part is tried with right ones around it, and then
    all of them together.
    """
    lead, d_model, n_experts, top_k, d_ff, normalize = sizes
    for name, exercise in (*OF_EXERCISE.items(), ("", "")):
        others = {part: PARTS[part] for part in PARTS if name and part != name}
        layer = answer(d_model, n_experts, top_k, d_ff, normalize, **others)
        draw_weights(layer, seed)
        x = draw_tokens((*lead, d_model), seed + 7)
        expected, _ = defined(x, *weights_of(layer), top_k=top_k, normalize=normalize)
        seen = ""
        try:
            got = layer(x)[0]
        except Exception as error:
            got, seen = None, f" It raises {type(error).__name__}: {error}"
        require(
            got is not None and near(got, expected),
            f"Your assembly is right. With your own part `{name}`, the answer to {exercise}, in it "
            f"the layer is not.{seen}",
            cause=f"The part changed since its check passed, or {exercise} asks for less than the "
            "layer needs.",
            cure=f'check("{exercise}", mine("{exercise}")) tells what is wrong with it.',
            expected=expected,
            got=got if got is not None else Words("an error"),
        )


def require_laws(answer: Any, seed: int) -> None:
    """Reject a layer of the reader's own parts that breaks a law; the first seed is enough."""
    if seed:  # a law holds for any numbers, so one draw of them will do
        return
    layer = answer(8, 5, 2, 4)
    draw_weights(layer, seed)
    # "shapes" also asks for no tokens at all, which no exercise asked the parts for.
    laws = [law for law in LAWS if law.name != "shapes"]
    for broken in obeys(layer, d_model=8, laws=laws, seed=seed, **told_about(layer)).broken:
        raise WrongAnswer(
            f'The layer breaks the law "{broken.name}": {broken.sentence}',
            cause=broken.seen,
            cure="Nothing may be kept from one call to the next, or shared between tokens.",
        )


def require_learning(answer: Any, seed: int) -> None:
    """Reject a layer that does not learn the four kinds of chapter 03."""
    losses = learn_kinds(answer(8, 4, 2, 4), seed, n_steps=15, lr=0.05)
    require(
        losses[-1] < 0.75 * losses[0],
        "On the four kinds of chapter 03 the loss hardly falls in 15 steps.",
        cause="Its gradients were right on few tokens; does `forward` do something else with many?",
        expected=Words(f"less than {0.75 * losses[0]:.2f}"),
        got=round(losses[-1], 2),
    )
