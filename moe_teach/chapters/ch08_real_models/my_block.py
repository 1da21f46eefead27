"""Chapter 08, exercise 8.5: the reader's own layer becomes Mixtral, OLMoE and Qwen3-MoE."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from moe_teach.chapters.ch08_real_models.block_parts import (
    OF_EXERCISE,
    PARTS,
    Case,
    answered,
    made,
    near,
)
from moe_teach.judging.exercise import Exercise, Words, WrongAnswer, require
from moe_teach.judging.raised import plainly
from moe_teach.judging.reasons import Why
from moe_teach.judging.stand_ins import require_own_part

EXERCISE = Exercise(
    id="8.5",
    name="my_block",
    title="Your layer is Mixtral",
    points=3,
    difficulty=3,
    importance=5,
    minutes=20,
    needs=("4.7", "8.1"),
    limit=30,
    hints=(
        "Three steps: refuse what your layer cannot be; get the matrices through `fuse`, which "
        "knows Mixtral's names only; build the layer and copy. For the second, hand `fuse` "
        "*translated* names, and a `read` that translates back.",
        "spelt = {name in Mixtral's spelling: name in the file}; fuse(list(spelt), lambda name: "
        "read(spelt[name]), layer). The router's name is then the same in all families, and a "
        "layer without it has no experts. The sizes are those of the matrices.",
        "mixtral always normalises; the others as config.get('norm_topk_prob', False) says. "
        "moe = build(d_model, n_experts, config['num_experts_per_tok'], d_ff, normalize); with "
        "torch.no_grad(): moe.router.weight.copy_(...), and so on for the three others.",
    ),
    explanation="That is all that separates your layer from Mixtral, OLMoE and Qwen3-MoE: names, "
    "and one sentence about the gates. Nothing in the file says that sentence. It stands in the "
    "config, or in the code of a class where the config is silent, and a loader that does not ask "
    "loads every tensor and is wrong. Refusing what a layer cannot be is half of a loader's work.",
)
KINDS = ("mixtral", "olmoe", "qwen3_moe")


def _cases(seed: int) -> list[Case]:
    norms = ({"norm_topk_prob": True}, {"norm_topk_prob": False}, {})
    cases = [made(kind, seed, dict(norm)) for kind in KINDS[1:] for norm in norms]
    return [made("mixtral", seed, {}), made("mixtral", seed, {}, n_experts=1, top_k=1), *cases]


def _asked(answer: Any, case: Case, **parts: Callable[..., Any]) -> Any:
    given = dict(case.config), list(case.file.names), case.file.read, case.layer
    return answer(*given, **{**PARTS, **parts})


@EXERCISE.stage("the weights")
def _weights(answer: Any, seed: int) -> None:
    for case in _cases(seed):
        layer = _asked(answer, case)
        require(
            isinstance(layer, nn.Module) and hasattr(layer, "w_down"),
            "The answer is the layer that `build` made.",
            got=layer,
            example=case.facts(),
        )
        names = ("router.weight", "w_gate", "w_up", "w_down")
        right = (case.file.router(case.layer), *case.file.fused(case.layer))
        known = dict(layer.named_parameters())
        for name, expected in zip(names, right, strict=True):
            own = known.get(name)
            require(
                own is not None and own.requires_grad,
                f"`{name}` is no parameter any more, or one that nobody can train.",
                cause="A plain tensor was put in its place.",
                cure="with torch.no_grad(): parameter.copy_(tensor)",
                example=case.facts(),
            )
            require(
                own.shape == expected.shape and bool((own.detach() == expected).all()),
                f"`{name}` does not hold what the file says about layer {case.layer}.",
                cause="It was left as drawn, or the matrices stand in another order.",
                cure="`fuse` returns w_gate, w_up and w_down, in this order.",
                expected=expected,
                got=own,
                example=case.facts(),
            )


@EXERCISE.stage("the rule")
def _rule(answer: Any, seed: int) -> None:
    for case in _cases(seed):
        layer = _asked(answer, case)
        x = case.tokens()
        y, record = layer(x)
        told = case.config.get("norm_topk_prob", "nothing")
        said = f"The layer of a {case.config['model_type']} whose config says {told} about "
        always = answered(case, x, normalize=True)
        top_k = case.config["num_experts_per_tok"]
        require(
            record.gates.shape[1] == top_k,
            f"A token has {record.gates.shape[1]} experts, and the config says {top_k}.",
            cure='config["num_experts_per_tok"]',
            example=case.facts(),
        )
        why = Why("They are normalised or not, against the config.")
        if case.config["model_type"] == "mixtral":
            why = Why("Mixtral normalises always, and its config does not say so.")
        elif told == "nothing":
            why = Why("Where the key is missing, the class takes False.")
        require(
            near(y, answered(case, x)),
            said + "`norm_topk_prob` gives other answers than the model.",
            cause=why.cause,
            cure='normalize = kind == "mixtral" or config.get("norm_topk_prob", False)',
            expected=answered(case, x),
            got=y,
            example={**case.facts(), "gates sum to 1": bool(near(y, always))},
        )


@EXERCISE.stage("a file in bfloat16")
def _narrow(answer: Any, seed: int) -> None:
    case = made("olmoe", seed, {}, dtype=torch.bfloat16)
    layer = _asked(answer, case)
    wrong = [n for n, own in layer.named_parameters() if own.dtype != torch.float32]
    require(
        not wrong,
        f"The file is in bfloat16, and so are now {', '.join(wrong)}. The layer that `build` made "
        "was float32.",
        cause="The tensors of the file were put in the place of the parameters.",
        cure="parameter.copy_(tensor) keeps the parameter's own dtype.",
        example=case.facts(),
    )
    x = case.tokens()
    require(
        near(layer(x)[0], answered(case, x)),
        "From a file in bfloat16 the layer gives other answers.",
        example=case.facts(),
    )


def _refuses(answer: Any, case: Case, said: str, cure: str) -> None:
    try:
        got = _asked(answer, case)
    except ValueError as error:
        require(
            len(str(error).split()) >= 4,
            "The ValueError does not say why.",
            cause="Its text is empty, or a single word.",
            cure="One sentence: what was asked for, and what your layer can be.",
            got=str(error),
            example=case.facts(),
        )
        return
    except Exception as error:
        raise WrongAnswer(
            f"It ends in {plainly(error)}, and not in a ValueError that says why.",
            cause="Nobody looked before the work began.",
            cure=cure,
            example=case.facts(),
        ) from error
    require(False, said, cure=cure, got=got, example=case.facts())


@EXERCISE.stage("what it cannot be")
def _refusals(answer: Any, seed: int) -> None:
    for kind in ("deepseek_v3", "qwen2_moe", "switch"):
        case = made("olmoe", seed, {"model_type": kind})
        _refuses(
            answer,
            case,
            f"A {kind} was loaded, whose router or experts are other ones than your layer's: it "
            "would run, and be wrong.",
            "Raise a ValueError for every model_type but the three.",
        )
    case = made("mixtral", seed, {"hidden_act": "gelu"})
    _refuses(
        answer,
        case,
        "A model with `hidden_act` gelu was loaded into experts that use silu.",
        'config.get("hidden_act", "silu") must be "silu".',
    )
    for layer in (10, 1):
        _refuses(
            answer,
            made("qwen3_moe", seed, {}, dense=layer).at_layer(layer),
            f"Layer {layer} is dense in this file: it has no router and no experts, and was "
            "loaded.",
            f"No router's matrix, no experts: raise a ValueError. (model.layers.{layer}0 is "
            "another layer.)",
        )


@EXERCISE.stage("its parts")
def _its_parts(answer: Any, seed: int) -> None:
    for kind in KINDS:
        calls: dict[str, int] = dict.fromkeys(PARTS, 0)

        def spied(name: str, calls: dict[str, int] = calls) -> Callable[..., Any]:
            def part(*given: Any, **named: Any) -> Any:
                calls[name] += 1
                return PARTS[name](*given, **named)

            return part

        case = made(kind, seed, {})
        _asked(answer, case, **{name: spied(name) for name in PARTS})
        for name, count in calls.items():
            require(
                count,
                f"The part `{name}` was never asked.",
                cure=f"Call `{name}(...)` where you wrote its work out once more.",
                example=case.facts(),
            )
        needed = 3 * len(case.file.router(case.layer)) + 1
        require(
            len(case.file.read_names) == needed,
            f"Layer {case.layer} is {needed} tensors, and {len(case.file.read_names)} were read.",
            cause="Every call of `read` goes to the disk.",
            cure="Read the router's matrix once, and let `fuse` read the others.",
            expected=Words(f"{needed}"),
            got=Words(f"{len(case.file.read_names)}"),
            example=case.facts(),
        )


@EXERCISE.stage("with your parts")
def _yours(answer: Any, seed: int) -> None:
    case = made("olmoe", seed, {})
    x, given = case.tokens(), (dict(case.config), list(case.file.names), case.file.read, case.layer)
    for name, item in OF_EXERCISE.items():
        others = {part: PARTS[part] for part in PARTS if part != name}
        seen, is_right = "", False
        try:
            is_right = near(answer(*given, **others)(x)[0], answered(case, x))
        except Exception as error:
            seen = f" It raises {type(error).__name__}: {error}"
        require_own_part(
            is_right,
            name,
            item,
            f"the layer says something else.{seen}",
        )
