"""Exercise 8.1: wrong answers with what they must be told, and other right ones."""

import re

import torch

from moe_teach.chapters.ch08_real_models.fuse_experts import EXERCISE


def _prefix(layer):
    return f"model.layers.{layer}.block_sparse_moe.experts."


def _count(names, layer):
    return sum(name.startswith(_prefix(layer)) for name in names) // 3


def _fused(read, prefix, numbers, part):
    fused = None
    for place, e in enumerate(numbers):
        matrix = read(f"{prefix}{e}.{part}.weight")
        if fused is None:
            fused = matrix.new_empty(len(numbers), *matrix.shape)
        fused[place] = matrix
    return fused


def _all(names, read, layer, parts=("w1", "w3", "w2"), numbers=None):
    numbers = range(_count(names, layer)) if numbers is None else numbers
    return tuple(_fused(read, _prefix(layer), numbers, part) for part in parts)


@EXERCISE.wrong(stage="shapes", says="`torch.cat` joined along an axis")
def joins_instead_of_stacking(names, read, layer):
    return tuple(part.flatten(0, 1) for part in _all(names, read, layer))


@EXERCISE.wrong(stage="shapes", says="nothing is turned")
def turns_the_way_down(names, read, layer):
    gate, up, down = _all(names, read, layer)
    return gate, up, down.mT


@EXERCISE.wrong(stage="shapes", says="new_empty")
def makes_everything_float32(names, read, layer):
    return tuple(part.float() for part in _all(names, read, layer))


@EXERCISE.wrong(stage="shapes", says="A prefix without its last dot")
def counts_the_gates_of_similar_layers(names, read, layer):
    found = [n for n in names if n.startswith(f"model.layers.{layer}") and "w1" in n]
    own = _count(names, layer)
    return _all(names, read, layer, numbers=[e % own for e in range(len(found))])


@EXERCISE.wrong(stage="the numbers", says="w1 and w3 changed places")
def takes_w1_for_up(names, read, layer):
    return _all(names, read, layer, parts=("w3", "w1", "w2"))


@EXERCISE.wrong(stage="shapes", says="w3 is w_up, w2 is w_down")
def takes_them_in_the_order_of_their_numbers(names, read, layer):
    return _all(names, read, layer, parts=("w1", "w2", "w3"))


@EXERCISE.wrong(stage="the numbers", says="10 comes before 2")
def sorts_the_names(names, read, layer):
    numbers = sorted({n.split(".")[5] for n in names if n.startswith(_prefix(layer))})
    return _all(names, read, layer, numbers=numbers)


@EXERCISE.wrong(stage="the numbers", says="in which the file lists them")
def takes_them_as_they_come(names, read, layer):
    here = [n for n in names if n.startswith(_prefix(layer)) and n.endswith("w1.weight")]
    return _all(names, read, layer, numbers=[n.split(".")[5] for n in here])


@EXERCISE.wrong(stage="one at a time", says="in memory at the same time")
def stacks_a_list(names, read, layer):
    prefix, count = _prefix(layer), _count(names, layer)
    return tuple(
        torch.stack([read(f"{prefix}{e}.{part}.weight") for e in range(count)])
        for part in ("w1", "w3", "w2")
    )


@EXERCISE.wrong(stage="one at a time", says="Every call of `read` goes to the disk")
def reads_the_whole_file_first(names, read, layer):
    for name in names:
        read(name)
    return _all(names, read, layer)


@EXERCISE.wrong(stage="one at a time", says="The router's matrix was asked")
def asks_the_router_how_many(names, read, layer):
    prefix = f"model.layers.{layer}.block_sparse_moe."
    n_experts = len(read(prefix + "gate.weight"))
    fused = []
    for part in ("w1", "w3", "w2"):
        first = read(f"{prefix}experts.0.{part}.weight")
        fused.append(first.new_empty(n_experts, *first.shape))
        fused[-1][0] = first
        for e in range(1, n_experts):
            fused[-1][e] = read(f"{prefix}experts.{e}.{part}.weight")
    return tuple(fused)


@EXERCISE.right
def by_a_pattern(names, read, layer):
    pattern = re.compile(rf"model\.layers\.{layer}\.block_sparse_moe\.experts\.(\d+)\.w(\d)\.")
    found = {match.groups(): n for n in names if (match := pattern.match(n))}
    n_experts = 1 + max(int(e) for e, _ in found)
    fused = {}
    for (e, part), name in found.items():
        matrix = read(name)
        fused.setdefault(part, matrix.new_zeros(n_experts, *matrix.shape))[int(e)] = matrix
    return fused["1"], fused["3"], fused["2"]


@EXERCISE.right
def expert_by_expert(names, read, layer):
    prefix, count, fused = _prefix(layer), _count(names, layer), []
    for e in range(count):
        for place, part in enumerate(("w1", "w3", "w2")):
            matrix = read(f"{prefix}{e}.{part}.weight")
            if e == 0:
                fused.append(torch.empty((count, *matrix.shape), dtype=matrix.dtype))
            fused[place][e].copy_(matrix)
    return tuple(fused)
