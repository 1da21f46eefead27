"""Exercise 9.6: wrong answers with what they must be told, and other right ones."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.analysis.kernel_watch import KernelFault, watch
from moe_teach.chapters.ch09_triton_dispatch.is_right import EXERCISE

SHAPES = ((5, 3, 2), (9, 5, 0), (4, 4, 3))  # tokens, experts, numbers between the rows


def _logits(n_tokens: int, n_experts: int, gap: int) -> list[Tensor]:
    wide = torch.zeros(n_tokens, n_experts + gap)
    tries = [wide, wide - 5, torch.randn_like(wide), -(10.0 ** torch.rand_like(wide) * 9e4)]
    return [each[:, :n_experts] for each in tries]


def _launched(kernel: Any, logits: Tensor, ids: Tensor) -> Any:
    n_tokens, n_experts = logits.shape
    power = 1 << (n_experts - 1).bit_length()
    with watch(logits=logits, ids=ids) as seen:
        grid = (-(-n_tokens // 4),)
        kernel[grid](logits, ids, n_tokens, n_experts, logits.stride(0), BLOCK_T=4, EXPERTS=power)
    return seen


def _is_clean(kernel: Any, logits: Tensor, *, races: bool = True) -> bool:
    ids = torch.full((len(logits),), -7, dtype=torch.int32)
    try:
        seen = _launched(kernel, logits, ids)
    except KernelFault:
        return False
    return torch.equal(ids.long(), logits.argmax(dim=1)) and not (races and seen.races())


@EXERCISE.right
def is_right(kernel: Any) -> bool:
    return all(_is_clean(kernel, each) for shape in SHAPES for each in _logits(*shape))


@EXERCISE.right
def with_three_cases(kernel: Any) -> bool:
    wide = torch.tensor([[-3.0, -2.0, -2.0, 9.0], [-4e4, -5e5, -4e4, 8.0]]).repeat(3, 1)
    return all(_is_clean(kernel, logits) for logits in (wide[:, :3], wide[:5, :3], wide[1:, :3]))


@EXERCISE.right
def in_one_launch(kernel: Any) -> bool:
    logits = -(10.0 ** torch.arange(5)[:, None]).expand(5, 5).contiguous()
    return _is_clean(kernel, logits[:, :3])


@EXERCISE.wrong(stage="the kernel above", says="an expert that does not exist")
def tries_random_logits(kernel: Any) -> bool:
    generator = torch.Generator().manual_seed(0)
    return all(_is_clean(kernel, torch.randn(n, 8, generator=generator)) for n in (5, 9))


@EXERCISE.wrong(stage="other values", says="small and not small enough")
def tries_small_negative_logits(kernel: Any) -> bool:
    logits = -torch.rand(5, 5)[:, :3]
    return _is_clean(kernel, logits)


@EXERCISE.wrong(stage="other values", says="Of equal logits")
def never_tries_equal_logits(kernel: Any) -> bool:
    logits = -torch.arange(20.0).flip(0).view(5, 4)[:, :3] * 1e4
    return _is_clean(kernel, logits)


@EXERCISE.wrong(stage="other shapes", says="for the distance of the rows")
def tries_whole_tensors_only(kernel: Any) -> bool:
    return all(_is_clean(kernel, each) for each in _logits(5, 3, 0))


@EXERCISE.wrong(stage="other shapes", says="first block of tokens")
def tries_one_program_only(kernel: Any) -> bool:
    return all(_is_clean(kernel, each) for each in _logits(3, 3, 1))


@EXERCISE.wrong(stage="strangers' memory", says="no value shows")
def looks_at_a_margin_alone(kernel: Any) -> bool:
    for logits in _logits(5, 3, 2):
        memory = torch.full((13,), -7, dtype=torch.int32)
        kernel[(2,)](logits, memory, 5, 3, logits.stride(0), BLOCK_T=4, EXPERTS=4)
        if not torch.equal(memory[:5].long(), logits.argmax(1)) or (memory[5:] != -7).any():
            return False
    return True


@EXERCISE.wrong(stage="strangers' memory", says="behind the end of `expert_ids`")
def looks_at_the_values_alone(kernel: Any) -> bool:
    for logits in _logits(5, 3, 2):
        memory = torch.full((13,), -7, dtype=torch.int32)
        kernel[(2,)](logits, memory, 5, 3, logits.stride(0), BLOCK_T=4, EXPERTS=4)
        if not torch.equal(memory[:5].long(), logits.argmax(1)):
            return False
    return True


@EXERCISE.wrong(stage="open order", says="stores -1 into the first place")
def forgets_the_races(kernel: Any) -> bool:
    return all(_is_clean(kernel, each, races=False) for shape in SHAPES for each in _logits(*shape))


@EXERCISE.wrong(stage="right kernels", says="and replaces what they hold")
def forbids_open_lanes(kernel: Any) -> bool:
    wide = torch.zeros(5, 5)
    ids = torch.full((5,), -7, dtype=torch.int32)
    try:
        seen = _launched(kernel, wide[:, :3], ids)
    except KernelFault:
        return False
    return not seen.open_loads and is_right(kernel)


@EXERCISE.wrong(stage="right kernels", says="fills idle lanes")
def trusts_nobody(kernel: Any) -> bool:
    return False


@EXERCISE.wrong(stage="right kernels", says="without a return statement")
def only_asserts(kernel: Any) -> None:
    assert is_right(kernel)


@EXERCISE.wrong(stage="other shapes", says="raised KernelFault")
def lets_the_fault_out(kernel: Any) -> bool:
    for shape in SHAPES:
        for logits in _logits(*shape):
            ids = torch.full((len(logits),), -7, dtype=torch.int32)
            seen = _launched(kernel, logits, ids)
            if seen.races() or not torch.equal(ids.long(), logits.argmax(dim=1)):
                return False
    return True
