"""Chapter 12, exercise 12.3: which tensors of branches stand side by side, and which are one."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.exercise import Exercise, Words, generator, require

State = dict[str, Tensor]

EXERCISE = Exercise(
    id="12.3",
    name="merge_states",
    title="Side by side, or one",
    points=2,
    difficulty=3,
    importance=4,
    minutes=15,
    hints=(
        "A name tells what it belongs to: `.ffn.` is a feed-forward. Those are stacked, branch by "
        "branch, on a new first axis. All others are one tensor for all.",
        "For 'frozen', compare with `torch.equal` and raise a ValueError at the first difference. "
        "For 'average', sum in float64 and come back to the tensor's own dtype.",
        'name.replace(".ffn.", ".ffn.experts.").removesuffix(".weight"): '
        "torch.stack([b[name] for b in branches]); others: torch.stack([b[name].double() for b in "
        "branches]).mean(0).to(dtype).",
    ),
    explanation="The average is of what each branch moved on its own, and their experts were "
    "trained beside another trunk than the one they get; that is what the lesson's classic merge "
    "paid for. The frozen trunk is no average at all: it must be the same in every branch, and a "
    "difference means that somebody's training moved it, which an average would only hide. In "
    "float64 the mean of equal tensors is that tensor, bit for bit; a sum of three float32 "
    "numbers divided by 3 need not be.",
)
SHAPES = {
    "embed.weight": (7, 5),
    "blocks.0.attention.out.weight": (5, 5),
    "blocks.0.attention.temperature": (),  # one number, and no parameter
    "blocks.0.ffn_norm.weight": (5,),
    "blocks.0.ffn.w_up.weight": (6, 5),
    "blocks.0.ffn.w_down.weight": (5, 6),
    "blocks.1.ffn.w_up.weight": (6, 5),
    "blocks.1.ffn.w_down.weight": (5, 6),
}


def _branches(
    n: int, seed: int, *, one_trunk: bool, dtype: torch.dtype = torch.float32
) -> list[State]:
    source = generator(seed)

    def drawn(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=source).to(dtype)

    trunk = {name: drawn(shape) for name, shape in SHAPES.items()}
    return [
        {
            name: trunk[name].clone() if one_trunk and ".ffn." not in name else drawn(shape)
            for name, shape in SHAPES.items()
        }
        for _ in range(n)
    ]


def _expected(branches: list[State]) -> State:
    merged = {}
    for name, first in branches[0].items():
        own = [branch[name] for branch in branches]
        if ".ffn." in name:
            merged[name.replace(".ffn.", ".ffn.experts.").removesuffix(".weight")] = torch.stack(
                own
            )
        else:
            merged[name] = (sum(t.double() for t in own) / len(own)).to(first.dtype)
    return merged


def _demand(answer: Any, branches: list[State], trunk: str) -> None:
    given = {"branches": branches, "trunk": trunk}
    got, expected = answer(**given), _expected(branches)
    require(
        isinstance(got, dict) and set(got) == set(expected),
        "These are not the names of the merged model.",
        cause=_why_names(got, expected),
        cure="'blocks.0.ffn.w_up.weight' becomes 'blocks.0.ffn.experts.w_up'; others keep theirs.",
        expected=Words(", ".join(sorted(expected))),
        got=Words(
            ", ".join(sorted(map(str, got))) if isinstance(got, dict) else type(got).__name__
        ),
    )
    for name, tensor in expected.items():
        require(
            got[name].shape == tensor.shape and got[name].dtype == tensor.dtype,
            f"{name} has another shape or dtype than {tuple(tensor.shape)}, {tensor.dtype}.",
            cause="Experts stand on a new first axis, and a mean in float64 must come back.",
            cure="`torch.stack`, and `.to(dtype)` after the mean.",
            got=got[name],
        )
        require(
            torch.equal(got[name], tensor),
            _what_differs(name, trunk),
            **_why_differs(name, branches, got[name]),
            expected=tensor,
            got=got[name],
        )


def _why_names(got: Any, expected: State) -> str:
    if not isinstance(got, dict):
        return "Tensors by name are a dictionary."
    names, missing = set(map(str, got)), set(expected) - set(got)
    if any("ffn_norm" in name for name in missing):
        return (
            "A norm in front of a feed-forward has `ffn` in its name too, and is no feed-forward: "
            "look for `.ffn.`, with both points."
        )
    if any(f"{name}.weight" in names for name in missing):
        return "Names of experts still end in `.weight`."
    if missing and names < set(expected):
        return f"Nothing of a model may be lost, and these are missing: {', '.join(missing)}."
    return "A name of experts has `.experts.` behind `.ffn`, and no number: one tensor holds all."


def _what_differs(name: str, trunk: str) -> str:
    if ".experts." in name:
        return f"Expert e of {name} is not branch e's own, bit for bit."
    how = "the trunk that all share" if trunk == "frozen" else "the mean of all branches"
    return f"{name} is not {how}, to the last bit."


def _why_differs(name: str, branches: list[State], got: Tensor) -> dict[str, str]:
    if name in branches[0] and torch.equal(got, branches[0][name]):
        return {"cause": "That is the first branch's alone.", "cure": "The mean of all."}
    if ".experts." in name:
        return {"cause": "Experts are in another order, or an average.", "cure": "`torch.stack`."}
    if not torch.allclose(got.double(), _expected(branches)[name].double(), rtol=0.1, atol=0.1):
        return {
            "cause": "This is more than rounding: not all branches count, or not all as much.",
            "cure": "`torch.stack(...)` of all, and `.mean(dim=0)`.",
        }
    return {
        "cause": "A sum of few bits is rounded at every step, so the mean of equal numbers need "
        "not be that number.",
        "cure": "`.double()` before the mean, and back after it.",
    }


@EXERCISE.stage("average")
def _merge_average(answer: Any, seed: int) -> None:
    for n in (3, 2, 5):
        _demand(answer, _branches(n, seed + n, one_trunk=False), "average")


@EXERCISE.stage("frozen")
def _merge_frozen(answer: Any, seed: int) -> None:
    for n in (2, 3, 7):
        _demand(answer, _branches(n, seed + n, one_trunk=True), "frozen")


TOLERANCE = "They were compared with a tolerance."
OTHERS = (  # branches that differ, by how much, in what, and what it means to accept that
    ((1, 2), 1.0, "embed.weight", "Nothing was compared, or no difference was refused."),
    ((1,), 1.0, "embed.weight", "Only the last branch was compared with the first."),
    ((2,), 1.0, "blocks.0.ffn_norm.weight", "Only the first two branches were compared."),
    ((1,), 1.0, "blocks.0.attention.temperature", "Only some tensors were compared."),
    ((1,), 0.0, "embed.weight", TOLERANCE),
)


@EXERCISE.stage("other trunks")
def _merge_refuses(answer: Any, seed: int) -> None:
    for where, much, name, cause in OTHERS:
        branches = _branches(3, seed, one_trunk=True)
        for branch in where:
            last = branches[branch][name].view(-1)[-1:]
            last.copy_(last.nextafter(last + 1) + much)  # at least the smallest difference there is
        who = " and ".join(map(str, where))
        said = _refusal(answer, branches)
        require(
            said is not None,
            f"One number of {name} is another one in branch {who}"
            f"{'' if much else ', by its last bit'}, and no ValueError was raised.",
            cause=cause,
            cure="`torch.equal` for every branch and every tensor outside `.ffn.`.",
        )
        require(
            name in str(said),
            f"{name} differs, and the ValueError does not say which tensor it is.",
            cause="Whoever reads it looks for the tensor that somebody's training moved.",
            cure='`raise ValueError(f"{name} differs")`, with the name as it came.',
            got=Words(str(said)),
        )


def _refusal(answer: Any, branches: list[State]) -> str | None:
    try:
        answer(branches=branches, trunk="frozen")
    except ValueError as refusal:
        return str(refusal)
    return None


@EXERCISE.stage("few bits")
def _merge_narrow(answer: Any, seed: int) -> None:
    for n in (3, 7):
        _demand(answer, _branches(n, seed, one_trunk=False, dtype=torch.bfloat16), "average")
        _demand(answer, _branches(n, seed, one_trunk=True), "average")
