"""Chapter 08, exercise 8.1: from a file's many small matrices to three fused tensors."""

from typing import Any

import torch

from moe_teach.chapters.ch08_real_models.checkpoint_file import File
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, require, require_tensors
from moe_teach.judging.reasons import Why, likely

EXERCISE = Exercise(
    id="8.1",
    name="fuse_experts",
    title="Fuse the experts of Mixtral",
    points=2,
    difficulty=2,
    importance=5,
    minutes=15,
    hints=(
        "Everything you need to know stands in the names. Which part of a name is the same for all "
        "experts of a layer, with the dot behind it? How many names begin with it, and how many "
        "matrices has an expert?",
        "A list of all matrices, and then `torch.stack`, holds everything twice. Make the fused "
        "tensor when the first matrix of its kind is there (`matrix.new_empty(n_experts, "
        "*matrix.shape)`), and copy each one into its place.",
        'prefix = f"model.layers.{layer}.block_sparse_moe.experts."; n_experts = '
        'sum(name.startswith(prefix) for name in names) // 3; for part in ("w1", "w3", "w2"): for '
        'e in range(n_experts): matrix = read(f"{prefix}{e}.{part}.weight"); fused[e] = matrix',
    ),
    explanation="Numbers in names are text: sorted as text, 10 stands before 2, and layer 1 is the "
    "beginning of layer 11. Neither raises an error with eight experts and nine layers, the sizes "
    "of a first test. The names w1, w2 and w3 go back to Mistral's own code, where w1 is the gate, "
    "w3 the up matrix and w2 the way down. Copied one by one, loading takes the model and one "
    "matrix; stacked, it takes twice the layer for a moment.",
)
PARTS = ("w_gate", "w_up", "w_down")
Case = tuple[int, int, int, int, torch.dtype, tuple[int, ...]]
# layer that is asked for, experts, D, F, dtype, other layers in the file
CASES: tuple[Case, ...] = (
    (0, 1, 3, 2, torch.float32, (1,)),
    (1, 8, 4, 5, torch.float32, (0, 10, 11)),
    (2, 13, 3, 7, torch.bfloat16, (12, 20, 21)),
    (11, 12, 5, 5, torch.float32, (1, 111)),  # square: the shapes tell nothing
)


def opened(case: Case, seed: int) -> File:
    """Make the file of a case; other layers have other numbers of experts, so that they count."""
    layer, n_experts, d_model, d_ff, dtype, others = case
    layers = {layer: n_experts, **dict.fromkeys(others, n_experts + 1)}
    return File(layers, d_model, d_ff, seed, dtype=dtype)


def _asked(answer: Any, case: Case, seed: int) -> tuple[Any, File]:
    file = opened(case, seed)
    got = answer(list(file.names), file.read, case[0])
    require_tensors(got, PARTS, file.facts(case[0]))
    return got, file


@EXERCISE.stage("shapes")
def _shapes(answer: Any, seed: int) -> None:
    for case in CASES:
        layer = case[0]
        got, file = _asked(answer, case, seed)
        for name, part, right in zip(PARTS, got, file.fused(layer), strict=True):
            require(
                part.shape[:1] == right.shape[:1],
                f"Layer {layer} has {len(right)} experts in this file, and the first axis of "
                f"`{name}` does not say so.",
                cause="A prefix without its last dot also fits other layers, an expert has three "
                "matrices, or `torch.cat` joined along an axis that should have been new.",
                cure='Count the names that begin with f"model.layers.{layer}.block_sparse_moe.'
                'experts." and divide by 3.',
                expected=Words(f"{tuple(right.shape)}"),
                got=Words(f"{tuple(part.shape)}"),
                example=file.facts(layer),
            )
            require(
                part.shape == right.shape,
                f"`{name}` has another shape than the matrices of the file in a row.",
                cause="w1 and w3 are (F, D) in the file and w2 is (D, F): nothing is turned.",
                cure="w1 is w_gate, w3 is w_up, w2 is w_down; copy each as it is.",
                expected=Words(f"{tuple(right.shape)}"),
                got=Words(f"{tuple(part.shape)}"),
                example=file.facts(layer),
            )
            require(
                part.dtype == right.dtype,
                f"`{name}` has another dtype than the file.",
                cause="The fused tensor was made with torch's default dtype.",
                cure="matrix.new_empty(...) takes over the dtype.",
                expected=Words(str(right.dtype)),
                got=Words(str(part.dtype)),
                example=file.facts(layer),
            )


def _slips(file: File, layer: int, n_experts: int) -> list[tuple[Any, Why]]:
    """What known mistakes give, and what to say to them."""
    prefix = file.prefix(layer) + "experts."
    here = [n for n in file.names if n.startswith(prefix) and n.endswith("w1.weight")]
    as_met = [int(name.split(".")[5]) for name in here]
    in_text_order = sorted(range(n_experts), key=str)
    by_number = "Ask for them by number, for e in range(n_experts)."
    met = "The experts stand in the order in which the file lists them."
    return [
        (file.fused(layer, (1, 0, 2)), Why("w1 and w3 changed places.", "w1 is the gate.")),
        (
            file.fused(layer, order=in_text_order),
            Why("The experts are sorted as text: 10 comes before 2.", by_number),
        ),
        (file.fused(layer, order=as_met), Why(met, by_number)),
    ]


@EXERCISE.stage("the numbers")
def _numbers(answer: Any, seed: int) -> None:
    other = Why("Another layer was read, or a place of the result was left unfilled.")
    for case in CASES:
        layer = case[0]
        got, file = _asked(answer, case, seed)
        right = file.fused(layer)
        require(
            close(tuple(got), right),
            "These are not the matrices of the layer that was asked for, expert by expert.",
            **likely(tuple(got), right, _slips(file, layer, case[1]), other),
            expected=right,
            got=tuple(got),
            example=file.facts(layer),
        )


@EXERCISE.stage("one at a time")
def _one_at_a_time(answer: Any, seed: int) -> None:
    layer = CASES[2][0]
    got, file = _asked(answer, CASES[2], seed)
    needed = 3 * len(got[0])
    asks_router = file.prefix(layer) + "gate.weight" in file.read_names
    require(
        len(file.read_names) == needed,
        f"The experts of the layer are {needed} matrices, and {len(file.read_names)} were read.",
        cause="The router's matrix was asked how many experts there are. The names say that."
        if asks_router and len(file.read_names) == needed + 1
        else "Every call of `read` goes to the disk: tensors were read twice, or tensors of "
        "other layers or kinds.",
        cure="Find out by the names what is needed, and read each of them once.",
        example=file.facts(layer),
    )
    require(
        file.most_at_once <= 3,
        f"{file.most_at_once} matrices were in memory at the same time, besides the result.",
        cause="A list keeps all of them until `torch.stack` has made the copy: that is the layer "
        "twice.",
        cure="Make the fused tensor first, and copy every matrix into its place: fused[e] = "
        "read(...).",
        expected=Words("3 at most"),
        got=Words(f"{file.most_at_once}"),
        example=file.facts(layer),
    )
