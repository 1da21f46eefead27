"""Chapter 07, exercise 7.7: DeepSeek-V3's rule in the reader's own layer."""

import copy
from typing import Any

import torch
from torch import Tensor

from moe_teach.analysis.laws import obeys
from moe_teach.chapters.ch07_modern_moe.deepseek_parts import (
    PARTS,
    SCALE,
    decided,
    defined,
    require_own_parts,
    small_layer,
    told_about_rule,
    told_about_small,
    with_bias,
)
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, WrongAnswer, generator, require
from moe_teach.judging.stand_ins import plain_route
from moe_teach.types import Routing

EXERCISE = Exercise(
    id="7.7",
    name="DeepSeekMoE",
    title="DeepSeek-V3's rule in your layer",
    points=3,
    difficulty=3,
    importance=4,
    minutes=20,
    needs=("4.7", "6.3", "7.5"),
    hints=(
        "The layer asks `layer.route` and nothing else about choosing. Put a method of yours "
        "there; it is called with what your 4.7 hands to `route`, and it calls `self.rule`.",
        "What neither an optimiser may train nor a checkpoint may forget is a *buffer*: "
        'self.register_buffer("expert_bias", torch.zeros(n_experts)).',
        "route: return self.rule(logits, self.expert_bias, top_k, self.n_groups, self.top_groups, "
        "self.gate_scale). forward: y, routing = self.layer(x); probs = "
        "routing.logits.float().sigmoid(). update_bias: "
        "self.expert_bias.copy_(self.move(self.expert_bias, routing.expert_ids, rate)).",
    ),
    explanation="Three chapters meet in a few lines: the layer of 04, the bias of 06, the rule of "
    "07. The layer's code was not touched. The bias is a buffer because it is state that no "
    "gradient moves, and `route` a method because a copy of the model must bring its own bias: "
    "a function that remembers *this* model's would steer every copy by it.",
)
SIZES = ((1, 4, 2, 1, 1), (7, 6, 2, 3, 2), (11, 8, 3, 4, 2), (5, 8, 8, 2, 2))  # T, E, K, groups


def _case(answer: Any, sizes: tuple[int, ...], seed: int, **parts: Any) -> tuple[Any, Tensor]:
    n_tokens, n_experts, top_k, *groups = sizes
    layer = small_layer(n_experts, top_k, seed)
    moe = answer(layer, *groups, SCALE, **{**PARTS, **parts})
    return moe, torch.randn(n_tokens, 8, generator=generator(seed + 9))


def _facts(sizes: tuple[int, ...], x: Tensor) -> dict[str, Any]:
    names = ("n_tokens", "n_experts", "top_k", "n_groups", "top_groups")
    return {**dict(zip(names, sizes, strict=True)), "gate_scale": SCALE, "x": x}


@EXERCISE.stage("the bias is a buffer")
def _rule_buffer(answer: Any, seed: int) -> None:
    moe, _ = _case(answer, SIZES[1], seed)
    require(
        "expert_bias" not in dict(moe.named_parameters()),
        "`expert_bias` is a parameter: the optimiser would train it, and it is moved by hand.",
        cure='self.register_buffer("expert_bias", torch.zeros(n_experts))',
    )
    require(
        "expert_bias" in dict(moe.named_buffers()) and "expert_bias" in moe.state_dict(),
        "The model does not know `expert_bias`: a checkpoint would forget it, and `.to(...)` leave "
        "it behind.",
        cause="A plain attribute is no part of a module's state.",
        cure='self.register_buffer("expert_bias", torch.zeros(n_experts))',
    )
    require(
        moe.expert_bias.shape == (6,) and not bool(moe.expert_bias.any()),
        "The bias begins as one zero for each expert, and has no favourites.",
        expected=torch.zeros(6),
        got=moe.expert_bias,
        example={"n_experts": 6},
    )


@EXERCISE.stage("the rule")
def _rule_values(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        moe, x = _case(answer, sizes, seed)
        for bias in (torch.zeros(sizes[1]), with_bias):
            bias = bias if isinstance(bias, Tensor) else bias(moe, seed)
            got = moe(x)
            require(
                isinstance(got, tuple) and len(got) == 2 and isinstance(got[1], Routing),
                "`forward` returns two things: y, and the `Routing`.",
                got=got,
                example=_facts(sizes, x),
            )
            _require_rule(moe, x, bias, got, sizes)


def _require_rule(moe: Any, x: Tensor, bias: Tensor, got: Any, sizes: tuple[int, ...]) -> None:
    groups, facts = (sizes[3], sizes[4]), _facts(sizes, x)
    y, right = defined(moe.layer, x, bias, groups, SCALE)
    usual, ids = plain_route(moe.layer.router(x), sizes[2], True)
    causes = (
        (usual, ids, "The layer still asks its old route: `layer.route` must be yours."),
        (
            *decided(moe.layer, x, 0 * bias, groups, SCALE),
            "The bias has no say: hand it to the rule.",
        ),
        (
            *decided(moe.layer, x, bias, (1, 1), SCALE),
            "The groups have no say: hand both numbers to the rule.",
        ),
    )
    record = got[1]
    because = "Look at what `rule` is handed, name by name."
    for gates, ids, why in causes:
        if close(record.gates, gates) and close(record.expert_ids, ids):
            because = why
    require(
        close(record.expert_ids, right.expert_ids),
        "Some tokens go to other experts than DeepSeek-V3's rule sends them to.",
        cause=because,
        expected=right.expert_ids,
        got=record.expert_ids,
        example=facts,
    )
    require(
        close(record.gates, right.gates) and close(got[0], y),
        "The right experts are chosen, and mixed with other gates than the rule's.",
        cause=f"{because} Is `gate_scale` handed on, and are the rule's gates left as they are?",
        expected=right.gates,
        got=record.gates,
        example=facts,
    )


@EXERCISE.stage("the record")
def _rule_record(answer: Any, seed: int) -> None:
    moe, x = _case(answer, SIZES[2], seed)
    _, right = defined(moe.layer, x, with_bias(moe, seed), (4, 2), SCALE)
    for x_again in (x, x.view(1, 11, 8)):
        y, record = moe(x_again, token_ids=torch.zeros(x_again.shape[:-1], dtype=torch.long))
        require(
            y.shape == x_again.shape and close(record.logits, right.logits),
            "y must have the shape of x, and the record the logits of the layer.",
            expected=Words(f"{tuple(x_again.shape)}"),
            got=Words(f"{tuple(y.shape)}"),
        )
        require(
            close(record.probs, right.probs),
            "`probs` in the record are not the scores that the rule decided by.",
            cause="The layer of 4.7 writes a softmax there. Here a sigmoid scores each alone.",
            cure="replace(routing, probs=routing.logits.float().sigmoid())",
            expected=right.probs,
            got=record.probs,
        )


@EXERCISE.stage("bfloat16")
def _rule_bfloat16(answer: Any, seed: int) -> None:
    moe, x = _case(answer, SIZES[2], seed)
    y, record = moe.to(torch.bfloat16)(x.to(torch.bfloat16))
    require(
        y.dtype == torch.bfloat16 and record.probs.dtype == torch.float32,
        "In a model of bfloat16, y keeps the dtype of x, and the scores of the record are float32.",
        cure="replace(routing, probs=routing.logits.float().sigmoid()), and y as the layer gave it",
        expected=Words("y in bfloat16, probs in float32"),
        got=Words(f"y in {str(y.dtype)[6:]}, probs in {str(record.probs.dtype)[6:]}"),
    )


@EXERCISE.stage("a step of the bias")
def _rule_step(answer: Any, seed: int) -> None:
    moe, x = _case(answer, SIZES[2], seed)
    before = with_bias(moe, seed)
    _, record = moe(x)
    require(
        close(moe.expert_bias, before),
        "A forward pass moved the bias. Evaluation must leave it alone.",
        cure="Move it in `update_bias` and nowhere else.",
        expected=before,
        got=moe.expert_bias,
    )
    moe.update_bias(record, 0.125)
    expected = PARTS["move"](before, record.expert_ids, 0.125)
    facts = {"expert_ids": record.expert_ids, "bias": before, "rate": 0.125}
    require(
        not close(moe.expert_bias, before),
        "`update_bias` left the bias where it was.",
        cause="`move` returns a new tensor and changes nothing.",
        cure="self.expert_bias.copy_(self.move(...))",
        expected=expected,
        got=moe.expert_bias,
        example=facts,
    )
    require(
        close(moe.expert_bias, expected),
        "`update_bias` moved the bias to another place than one call of `move` does.",
        expected=expected,
        got=moe.expert_bias,
        example=facts,
    )
    y, _ = defined(moe.layer, x, expected, (4, 2), SCALE)
    require(
        close(moe(x)[0], y),
        "The bias has moved, and the layer still chooses by the old one.",
        cause="`route` remembers a tensor of the beginning.",
        cure="Read `self.expert_bias` inside `route`.",
    )


@EXERCISE.stage("a copy")
def _rule_copy(answer: Any, seed: int) -> None:
    moe, x = _case(answer, SIZES[2], seed)
    before = moe(x)[0]
    twin = copy.deepcopy(moe)
    bias = with_bias(twin, seed)
    y, _ = defined(twin.layer, x, bias, (4, 2), SCALE)
    require(
        close(twin(x)[0], y) and close(moe(x)[0], before),
        "A copy of the layer with another bias chooses by the bias of the original.",
        cause="A lambda or an inner function remembers the `self` that it was made in.",
        cure="layer.route = self.route: a method is copied together with its object.",
    )


@EXERCISE.stage("with your parts")
def _rule_yours(answer: Any, seed: int) -> None:
    require_own_parts(answer, seed)


@EXERCISE.stage("the laws")
def _rule_laws(answer: Any, seed: int) -> None:
    moe, _ = _case(answer, SIZES[2], seed)
    told = told_about_rule(moe, told_about_small(moe.layer))
    for broken in obeys(moe, d_model=8, seed=seed, **told).broken:
        raise WrongAnswer(
            f'The layer breaks the law "{broken.name}": {broken.sentence}', cause=broken.seen
        )
