"""Chapter 04, exercise 4.7: the reader's own parts become a layer."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from moe_teach.chapters.ch04_dispatch.layer_at_work import (
    require_laws,
    require_learning,
    require_own_parts,
)
from moe_teach.chapters.ch04_dispatch.layer_parts import (
    PARTS,
    WEIGHTS,
    defined,
    draw_tokens,
    draw_weights,
    explained,
    near,
    slips,
    weights_of,
)
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, require
from moe_teach.judging.gradients import require_gradients
from moe_teach.types import Routing

EXERCISE = Exercise(
    id="4.7",
    name="MyMoE",
    title="Your MoE layer",
    points=3,
    difficulty=3,
    importance=5,
    minutes=20,
    needs=("3.1", "4.1", "4.2", "4.3"),
    limit=30,
    hints=(
        "Follow one token: its logits, who is chosen, the row of each choice, the answer of each "
        "expert on its own slice of the rows, and the way back. Each arrow is one call of a part.",
        "`self.sort` wants to know who is kept: here everybody, torch.ones_like(expert_ids, "
        "dtype=torch.bool). Its counts cut the sorted rows: `tokens[token_idx].split(...)`.",
        "answers = [self.expert(rows, *own) for rows, own in zip(slices, zip(self.w_gate, "
        "self.w_up, self.w_down))]; y = self.mix(torch.cat(answers).float(), gates, slot); then "
        "y.to(x.dtype).reshape(x.shape).",
    ),
    explanation="The layer computes nothing itself: it scores, and hands on. So any part can be "
    "changed without the others noticing, and chapters 06, 07 and 10 do just that. Logits and the "
    "sum over the choices are made in float32, because a choice that rounding decides is no "
    "choice, and what is rounded once is off once.",
)
# leading axes of x, D, experts, choices, F, normalize_gates
SIZES = (
    ((1,), 3, 1, 1, 2, True),
    ((1,), 3, 4, 2, 2, True),
    ((5,), 4, 3, 3, 3, True),  # everybody is chosen
    ((7,), 4, 17, 2, 3, True),  # and here some have nobody
    ((2, 3), 5, 4, 2, 3, False),
    ((11,), 8, 5, 3, 4, False),
)
Case = tuple[nn.Module, Tensor, dict[str, Any], dict[str, Any]]


def _case(answer: Any, sizes: tuple[Any, ...], seed: int, **parts: Any) -> Case:
    """Build a layer with drawn weights; give tokens, how it chooses, and an example to read."""
    lead, d_model, n_experts, top_k, d_ff, normalize = sizes
    layer = answer(d_model, n_experts, top_k, d_ff, normalize, **{**PARTS, **parts})
    draw_weights(layer, seed)
    x = draw_tokens((*lead, d_model), seed + 7)
    facts = {"n_experts": n_experts, "top_k": top_k, "normalize_gates": normalize, "x": x}
    return layer, x, {"top_k": top_k, "normalize": normalize}, facts


@EXERCISE.stage("what comes back")
def _layer_pair(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        layer, x, _, facts = _case(answer, sizes, seed)
        got = layer(x)
        require(
            isinstance(got, tuple) and len(got) == 2 and isinstance(got[1], Routing),
            "`forward` returns two things: y, and the `Routing` with logits, probs, gates and "
            "expert_ids. Losses and plots live on the second.",
            got=got,
            example=facts,
        )
        require(
            isinstance(got[0], Tensor) and got[0].shape == x.shape,
            "y must have the shape of x, whatever axes stand before the last one.",
            cause="Tokens were laid out as (T, D) and never put back, or `.view` met a tensor "
            "whose rows do not lie side by side.",
            cure="x.reshape(-1, x.shape[-1]) on the way in, y.reshape(x.shape) on the way out.",
            expected=Words(f"a tensor of shape {tuple(x.shape)}"),
            got=got[0],
            example=facts,
        )


@EXERCISE.stage("the mixture")
def _layer_mixture(answer: Any, seed: int) -> None:
    tried = []
    for sizes in SIZES:
        layer, x, rule, facts = _case(answer, sizes, seed)
        right = defined(x, *weights_of(layer), **rule)[0]
        tried.append((layer(x)[0], right, partial(slips, x, layer, **rule), facts))
    if all(near(got, right) for got, right, _, _ in tried):
        return
    cause = explained([(got, of_slips()) for got, _, of_slips, _ in tried])
    for got, right, _, facts in tried:
        said = "The layer says something else than its own weights define."
        require(near(got, right), said, cause=cause, expected=right, got=got, example=facts)


@EXERCISE.stage("the record")
def _layer_record(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        layer, x, rule, facts = _case(answer, sizes, seed)
        _, right = defined(x, *weights_of(layer), **rule)
        _, record = layer(x, token_ids=torch.zeros(x.shape[:-1], dtype=torch.long))
        for name in ("logits", "probs", "gates", "expert_ids"):
            got, expected = getattr(record, name), getattr(right, name)
            require(
                isinstance(got, Tensor) and got.shape == expected.shape and close(got, expected),
                f"`{name}` in the record is not what the layer decided by.",
                cause="`logits` and `probs` cover all E experts, `gates` and `expert_ids` the "
                "chosen K; all have one row for each token of the flattened batch.",
                cure="Routing(logits, logits.softmax(dim=-1), gates, expert_ids)",
                expected=expected,
                got=got,
                example=facts,
            )
        require(
            record.kept is None or bool(record.kept.all()),
            "The record says that choices were turned away. This layer has no capacity: everybody "
            "is kept, and `kept` stays None.",
            got=record.kept,
            example=facts,
        )


@EXERCISE.stage("its parts")
def _layer_parts(answer: Any, seed: int) -> None:
    calls: dict[str, list[int]] = {name: [] for name in PARTS}

    def spied(name: str) -> Callable[..., Any]:
        def part(*given: Any, **named: Any) -> Any:
            calls[name].append(len((*given, *named.values())[0]))
            return PARTS[name](*given, **named)

        return part

    layer, x, rule, facts = _case(answer, SIZES[3], seed, **{name: spied(name) for name in PARTS})
    layer(x)
    for name, sizes in calls.items():
        require(
            sizes,
            f"The layer never asks its part `{name}`, so another one in its place would change "
            "nothing.",
            cure=f"Call `self.{name}(...)` where you wrote its work out once more.",
            example=facts,
        )
    n_rows = len(x) * rule["top_k"]
    require(
        sum(calls["expert"]) == n_rows,
        f"The experts computed {sum(calls['expert'])} rows, and {n_rows} were asked for.",
        cause="Each expert got more tokens than chose it.",
        cure="Cut the sorted rows by `tokens_per_expert`, and give each expert its own slice.",
        expected=Words(f"{n_rows} rows: T · K"),
        got=Words(f"{sum(calls['expert'])} rows in {len(calls['expert'])} calls"),
        example=facts,
    )


@EXERCISE.stage("bfloat16")
def _layer_bfloat16(answer: Any, seed: int) -> None:
    met: list[torch.dtype] = []

    def mix(y: Tensor, gates: Tensor, slot: Tensor) -> Tensor:
        met.extend((y.dtype, gates.dtype))
        return PARTS["mix"](y, gates, slot)

    layer, x, rule, _ = _case(answer, ((401,), 16, 64, 2, 3, True), seed, mix=mix)
    layer, x = layer.to(torch.bfloat16), x.to(torch.bfloat16)
    expected, right = defined(x, *weights_of(layer), **rule)
    y, record = layer(x)
    facts = {"x": Words("401 tokens in bfloat16"), "n_experts": 64, "top_k": 2}
    moved = (record.expert_ids.sort().values != right.expert_ids.sort().values).any(-1).sum()
    require(
        not int(moved),
        f"In bfloat16, {int(moved)} of 401 tokens go to other experts than their logits in float32 "
        "ask for.",
        cause="The logits were rounded to bfloat16, and rounded numbers tie.",
        cure="Multiply in float32: F.linear(tokens.float(), self.router.weight.float()).",
        example=facts,
    )
    require(
        y.dtype == torch.bfloat16,
        "x comes in bfloat16 and y goes out in another dtype: the stream of a model would change "
        "its kind at every layer.",
        cure="End with `.to(x.dtype)`.",
        expected=Words("y in bfloat16"),
        got=Words(f"y in {str(y.dtype).removeprefix('torch.')}"),
        example=facts,
    )
    require(
        all(dtype.itemsize >= 4 for dtype in met) and near(y, expected, 0.05),
        "In bfloat16, `mix` was handed rounded numbers: their sum is rounded twice, and a `mix` "
        "that was proved in float32 may refuse them.",
        cause="The experts answer in the dtype of their matrices.",
        cure="self.mix(answers.float(), gates, slot)",
        example=facts,
    )


@EXERCISE.stage("gradients")
def _layer_gradients(answer: Any, seed: int) -> None:
    layer, x, rule, _ = _case(answer, ((2, 4), 5, 4, 2, 3, True), seed)

    def spread(y: Tensor, record: Routing) -> tuple[Tensor, ...]:
        return y, record.logits, record.probs, record.gates

    def theirs(*given: Tensor) -> tuple[Tensor, ...]:
        *weights, x = given
        return spread(*functional_call(layer, dict(zip(WEIGHTS, weights, strict=True)), (x,)))

    def right(*given: Tensor) -> tuple[Tensor, ...]:
        *weights, x = given
        return spread(*defined(x, *weights, **rule))

    given = {**dict(zip(WEIGHTS, weights_of(layer), strict=True)), "x": x}
    require_gradients(theirs, right, given, seed=seed)


@EXERCISE.stage("with your parts")
def _layer_yours(answer: Any, seed: int) -> None:
    require_own_parts(answer, SIZES[-1], seed)


@EXERCISE.stage("the laws")
def _layer_laws(answer: Any, seed: int) -> None:
    require_laws(answer, seed)


@EXERCISE.stage("it learns")
def _layer_learns(answer: Any, seed: int) -> None:
    if not seed:  # it takes longer than all other stages, and other kinds would show nothing new
        require_learning(answer, seed)
