"""Exercise 12.3: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch12_specialise_and_compose.merge_branches import EXERCISE


def _answer(branches, trunk, *, mark=".ffn.", shared=None, looks_at=None, stack=torch.stack):
    merged = {}
    for name, first in branches[0].items():
        own = [branch[name] for branch in branches]
        if mark in name:
            merged[name.replace(".ffn.", ".ffn.experts.").removesuffix(".weight")] = stack(own)
            continue
        if trunk == "frozen" and not all(torch.equal(first, t) for t in own[:looks_at]):
            raise ValueError(f"{name} differs between the branches.")
        mean = shared or (lambda own: torch.stack([t.double() for t in own]).mean(0))
        merged[name] = mean(own).to(first.dtype)
    return merged


@EXERCISE.wrong(stage="average", says="and is no feed-forward")
def takes_the_norm_for_a_feed_forward(branches, trunk):
    return _answer(branches, trunk, mark="ffn")


@EXERCISE.wrong(stage="average", says="the first branch's alone")
def keeps_the_first_trunk(branches, trunk):
    return _answer(branches, trunk, shared=lambda own: own[0])


@EXERCISE.wrong(stage="average", says="in another order")
def turns_the_branches_round(branches, trunk):
    return _answer(branches, trunk, stack=lambda own: torch.stack(own[::-1]))


@EXERCISE.wrong(stage="average", says="on a new first axis")
def joins_along_the_rows(branches, trunk):
    return _answer(branches, trunk, stack=torch.cat)


@EXERCISE.wrong(stage="other trunks", says="Nothing was compared")
def averages_a_trunk_that_should_be_one(branches, trunk):
    return _answer(branches, "average")


@EXERCISE.wrong(stage="other trunks", says="Only the first two")
def compares_two_branches_only(branches, trunk):
    return _answer(branches, trunk, looks_at=2)


@EXERCISE.wrong(stage="few bits", says="rounded at every step")
def adds_in_the_tensors_own_bits(branches, trunk):
    def mean(own):
        if own[0].dtype == torch.float32:
            return torch.stack([t.double() for t in own]).mean(0)
        return sum(own[1:], own[0]) / len(own)

    return _answer(branches, trunk, shared=mean)


@EXERCISE.wrong(stage="other trunks", says="Only the last branch")
def compares_the_first_and_the_last(branches, trunk):
    if trunk == "frozen":
        _answer([branches[0], branches[-1]], trunk)
    return _answer(branches, "average")


@EXERCISE.wrong(stage="other trunks", says="compared with a tolerance")
def compares_with_a_tolerance(branches, trunk):
    if trunk == "frozen":
        for name, first in branches[0].items():
            if ".ffn." not in name and not all(torch.allclose(b[name], first) for b in branches):
                raise ValueError(f"{name} differs between the branches.")
    return _answer(branches, "average")


@EXERCISE.wrong(stage="other trunks", says="does not say which tensor")
def refuses_without_a_name(branches, trunk):
    try:
        return _answer(branches, trunk)
    except ValueError:
        raise ValueError("The trunks differ.") from None


@EXERCISE.wrong(stage="average", says="still end in `.weight`")
def leaves_weight_at_the_end(branches, trunk):
    merged = _answer(branches, trunk)
    return {f"{n}.weight" if ".experts." in n else n: t for n, t in merged.items()}


@EXERCISE.wrong(stage="average", says="a mean in float64 must come back")
def stays_in_float64(branches, trunk):
    merged = _answer(branches, trunk)
    return {n: t if ".experts." in n else t.double() for n, t in merged.items()}


@EXERCISE.wrong(stage="average", says="these are missing")
def leaves_out_what_is_no_matrix_or_vector(branches, trunk):
    return {n: t for n, t in _answer(branches, trunk).items() if t.dim()}


@EXERCISE.wrong(stage="average", says="more than rounding")
def halves_again_and_again(branches, trunk):
    def mean(own):
        running = own[0].double()
        for tensor in own[1:]:
            running = (running + tensor.double()) / 2
        return running

    return _answer(branches, trunk, shared=mean)


@EXERCISE.wrong(stage="average", says="in place")
def adds_up_in_the_first_branch(branches, trunk):
    def mean(own):
        for tensor in own[1:]:
            own[0].add_(tensor)
        return own[0] / len(own)

    return _answer(branches, trunk, shared=mean)


@EXERCISE.right
def hands_on_a_frozen_trunk_itself(branches, trunk):
    merged = _answer(branches, trunk)
    return (
        merged
        if trunk == "average"
        else merged | {n: branches[0][n] for n in merged if n in branches[0]}
    )


@EXERCISE.right
def branch_by_branch(branches, trunk):
    return _answer(branches, trunk, shared=lambda own: sum(t.double() for t in own).div(len(own)))


@EXERCISE.right
def with_numpy(branches, trunk):
    import numpy as np

    def mean(own):
        return torch.from_numpy(np.asarray(np.mean([t.double().numpy() for t in own], axis=0)))

    return _answer(branches, trunk, shared=mean)
