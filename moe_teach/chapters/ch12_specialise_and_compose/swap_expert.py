"""Chapter 12, exercise 12.4: one expert out, another one in, and nothing else touched."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.exercise import Exercise, Words, generator, require

State = dict[str, Tensor]

EXERCISE = Exercise(
    id="12.4",
    name="swap_expert",
    title="One out, one in",
    points=2,
    difficulty=3,
    importance=5,
    minutes=15,
    hints=(
        "What belongs to an expert in a layer? Every tensor of that layer's `experts` and of its "
        "`router` has a row for it.",
        "Look at all of the module before you write anything: names, then shapes. Copy the "
        "tensors that change, and only those; the old state stays what it was.",
        'head = f"blocks.{layer}.ffn."; own = [n for n in state if n.startswith(head + "experts.")'
        ' or n.startswith(head + "router.")]; old = {n.removeprefix(head): '
        "state[n][expert].clone() for n in own}; changed = state[n].clone(); changed[expert] = "
        "module[...].",
    ),
    explanation="The router's row belongs to the expert: without it the newcomer is asked the old "
    "one's questions. The lesson keeps the old row on purpose where the newcomer does the old "
    "work too; a module of its own subject brings its own. Selection biases are rows as well. "
    "`blocks.1.` is no prefix of layer 11 and `blocks.1` is: a point decides. And what was taken "
    "out is the way back: swapping it in again gives the state from before, bit for bit.",
)
D, F = 5, 4
PARTS = ("experts.w_up", "experts.w_down", "router.proj.weight", "router.expert_bias")


def model_state(seed: int, n_experts: int, dtype: torch.dtype = torch.float32) -> State:
    """Draw the state of a model of twelve layers; layers 1 and 11 have experts."""
    source = generator(seed)
    shapes = {"embed.weight": (7, D), "blocks.0.ffn.w_up.weight": (F, D)}
    for layer in (1, 11):
        rows = {"experts.w_up": (F, D), "experts.w_down": (D, F), "router.proj.weight": (D,)}
        shapes |= {f"blocks.{layer}.ffn.{n}": (n_experts, *s) for n, s in rows.items()}
        shapes |= {f"blocks.{layer}.ffn.router.expert_bias": (n_experts,)}
        shapes |= {f"blocks.{layer}.ffn.shared_expert.w_up.weight": (F, D)}  # nobody's row
        shapes |= {f"blocks.{layer}.ffn_norm.weight": (D,)}
    return {n: torch.randn(shape, generator=source).to(dtype) for n, shape in shapes.items()}


def expert_module(seed: int, dtype: torch.dtype = torch.float32) -> State:
    """Draw a module: an expert's tensors without the axis of experts."""
    source = generator(seed + 1000)
    shapes = dict(zip(PARTS, ((F, D), (D, F), (D,), ()), strict=True))
    return {n: torch.randn(shape, generator=source).to(dtype) for n, shape in shapes.items()}


def _expected(state: State, layer: int, expert: int, module: State) -> State:
    after = {name: tensor.clone() for name, tensor in state.items()}
    for part, tensor in module.items():
        after[f"blocks.{layer}.ffn.{part}"][expert] = tensor.to(after["embed.weight"].dtype)
    return after


def _swapped(answer: Any, state: State, layer: int, expert: int, module: State) -> Any:
    try:
        got = answer(state, layer, expert, module)
    except ValueError as refusal:
        require(
            False,
            "A module whose names and shapes are those of an expert here was refused.",
            cause="It was compared with more or with less than the tensors under `experts.` and "
            "`router.` of this layer: all of `.ffn.` (a shared expert is nobody's row), matrices "
            "alone, or names known by heart.",
            cure='`name.startswith((head + "experts.", head + "router."))`, all of them.',
            expected=Words(", ".join(module)),
            got=Words(f"ValueError: {refusal}"),
        )
    require(
        isinstance(got, tuple) and len(got) == 2 and all(isinstance(one, dict) for one in got),
        "The answer must be two dictionaries: the new state, and the old expert.",
        cure="`return new, old`.",
        got=Words(type(got).__name__),
    )
    return got


def _demand(answer: Any, state: State, layer: int, expert: int, module: State) -> None:
    new, old = _swapped(answer, state, layer, expert, module)
    expected = _expected(state, layer, expert, module)
    require(
        set(new) == set(expected),
        "The new state has other names than the old one.",
        cause="Only what changed was returned, or the two dictionaries are exchanged.",
        cure="Begin with `new = dict(state)`, and end in `return new, old`.",
        expected=Words(", ".join(expected)),
        got=Words(", ".join(map(str, new))),
    )
    for name, tensor in expected.items():
        is_own = name.startswith(f"blocks.{layer}.ffn.")
        require(
            torch.equal(new[name], tensor) and new[name].dtype == tensor.dtype,
            f"{name} is not what it should be after a swap of expert {expert} in layer {layer}.",
            cause=_why(name, is_own, new, state),
            cure="All rows number `expert` of the layer's experts and router, and no others; in "
            "the state's dtype.",
            expected=tensor,
            got=new[name],
        )
    head = f"blocks.{layer}.ffn."
    require(
        set(old) == set(module)
        and all(_is_row(old[part], state[head + part][expert]) for part in module),
        "The second dictionary is not the expert that was there, under the names of a module.",
        cause=_why_not_old(old, module, state, head, expert),
        cure="`state[name][expert].clone()`, read before you write, under the name without its "
        "front.",
        expected=Words(", ".join(module)),
        got=Words(", ".join(map(str, old))),
    )
    back, _ = _swapped(answer, new, layer, expert, old)
    require(
        all(torch.equal(back[name], tensor) for name, tensor in state.items()),
        "Swapping the old expert in again does not give the old state, bit for bit.",
        cause="What was kept is a view of something that has changed since.",
        cure="`.clone()`.",
    )


def _is_row(got: Any, row: Tensor) -> bool:
    return isinstance(got, Tensor) and got.dtype == row.dtype and torch.equal(got, row)


def _why_not_old(old: State, module: State, state: State, head: str, expert: int) -> str:
    """Say what was handed back in place of the old expert."""
    if set(old) == {head + part for part in module}:
        return "These are full names; a module fits into any layer, so its names have no front."
    if set(old) != set(module):
        return "An expert has a tensor under `experts.` and `router.` for each name of the module."
    rows = {part: state[head + part][expert] for part in module}
    if all(torch.equal(old[n], t.to(old[n].dtype)) for n, t in module.items()):
        return (
            "That is the newcomer: it was read after the newcomer had been written, or from a "
            "view of what was written to."
        )
    if all(torch.equal(old[n].to(row.dtype), row) for n, row in rows.items()):
        return "It has another dtype than the model's; what was there is handed back as it was."
    return "It is another expert's, or still has the axis of experts."


def _why(name: str, is_own: bool, new: State, state: State) -> str:
    others = (n for n in state if not n.startswith(name.rpartition(".ffn.")[0] + "."))
    if not is_own or not all(torch.equal(new[n], state[n]) for n in others):
        return "It belongs to another part of the model: layer 11's names begin with blocks.1 too."
    if torch.equal(new[name], state[name].to(new[name].dtype)):
        return f"It was left as it was; an expert has a row in {name.rsplit('.ffn.')[-1]} as well."
    return "Another row was written, or more than one, or the dtype is another."


@EXERCISE.stage("one slot")
def _swap_slot(answer: Any, seed: int) -> None:
    for n_experts, layer, expert in ((5, 1, 3), (3, 11, 0), (1, 1, 0), (7, 11, 6)):
        _demand(answer, model_state(seed, n_experts), layer, expert, expert_module(seed))


@EXERCISE.stage("more tensors")
def _swap_more(answer: Any, seed: int) -> None:
    """Give layer 11 a third matrix and its router a second number."""
    source = generator(seed + 3)
    state, module = model_state(seed, 3), expert_module(seed)
    for part, shape in (("experts.w_gate", (F, D)), ("router.scale", ())):
        state[f"blocks.11.ffn.{part}"] = torch.randn(3, *shape, generator=source)
        module[part] = torch.randn(shape, generator=source)
    _demand(answer, state, 11, 1, module)


@EXERCISE.stage("another dtype")
def _swap_dtype(answer: Any, seed: int) -> None:
    state, module = model_state(seed, 3, torch.bfloat16), expert_module(seed)
    new, _ = _swapped(answer, state, 1, 2, module)
    dtypes = {str(tensor.dtype) for tensor in new.values()}
    require(
        dtypes == {"torch.bfloat16"},
        "A module in float32 made tensors of a bfloat16 model wider.",
        cause="`torch.cat` and `torch.where` take the wider dtype.",
        cure="Write into a clone of the model's tensor, or `.to(tensor.dtype)`.",
        got=Words(", ".join(sorted(dtypes))),
    )
    _demand(answer, state, 1, 2, module)


@EXERCISE.stage("what does not fit")
def _swap_refuses(answer: Any, seed: int) -> None:
    misfits = [(1, *one) for one in _misfits(expert_module(seed)).items()]
    misfits.append((0, "experts for a layer without any", expert_module(seed)))
    for layer, what, module in misfits:
        try:
            answer(model_state(seed, 3), layer, 2, module)
        except ValueError:
            continue
        require(
            False,
            f"A module with {what} was taken, and should be refused with a ValueError.",
            cause="Names were not compared both ways: nothing may be missing, and nothing more."
            if set(module) != set(PARTS)
            else "A single number, or a vector of the right length, spreads over a whole matrix "
            "in an assignment, without a word; and equal counts of numbers are no equal shapes.",
            cure="Compare names, then the shape of each tensor with `state[name].shape[1:]`.",
        )


def _misfits(module: State) -> dict[str, State]:
    return {
        "a vector in place of a matrix": module | {"experts.w_up": torch.zeros(D)},
        "no router row": {n: t for n, t in module.items() if n != "router.proj.weight"},
        "one tensor too many": module | {"experts.w_gate": torch.zeros(F, D)},
        "a single number as router row": module | {"router.proj.weight": torch.zeros(())},
        "a matrix the wrong way round": module | {"experts.w_up": torch.zeros(D, F)},
        "an axis of experts": module | {"router.proj.weight": torch.zeros(1, D)},
    }
