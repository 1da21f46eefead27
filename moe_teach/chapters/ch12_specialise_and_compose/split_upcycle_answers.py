"""Exercise 12.1: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch12_specialise_and_compose.split_upcycle import EXERCISE


def _answer(w_up, w_gate, w_down, n_slices, n_copies, factor=None):
    up, gate = (w.unflatten(0, (n_slices, -1)).repeat(n_copies, 1, 1) for w in (w_up, w_gate))
    down = w_down.unflatten(1, (n_slices, -1)).movedim(1, 0).repeat(n_copies, 1, 1)
    return up, gate, down * (n_slices if factor is None else factor)


@EXERCISE.wrong(stage="the same answer", says="times what the dense layer did")
def forgets_the_factor(**given):
    return _answer(**given, factor=1)


@EXERCISE.wrong(stage="the same answer", says="times what the dense layer did")
def counts_the_copies_too(**given):
    return _answer(**given, factor=given["n_slices"] * given["n_copies"])


@EXERCISE.wrong(stage="the same answer", says="goes through the nonlinearity")
def puts_the_factor_before_the_nonlinearity(**given):
    up, gate, down = _answer(**given, factor=1)
    return up, gate * given["n_slices"], down


@EXERCISE.wrong(stage="the same answer", says="in another order than copy by copy")
def orders_slice_by_slice(w_up, w_gate, w_down, n_slices, n_copies):
    whole = _answer(w_up, w_gate, w_down, n_slices, n_copies)
    order = [c * n_slices + s for s in range(n_slices) for c in range(n_copies)]
    return tuple(tensor[order] for tensor in whole)


@EXERCISE.wrong(stage="the same answer", says="times what the dense layer did")
def divides_instead(**given):
    return _answer(**given, factor=1 / given["n_slices"])


@EXERCISE.wrong(stage="the same answer", says="goes through the nonlinearity")
def puts_the_factor_on_all_three(**given):
    return tuple(tensor * given["n_slices"] for tensor in _answer(**given, factor=1))


@EXERCISE.wrong(stage="the same answer", says="are exchanged")
def exchanges_up_and_gate(**given):
    up, gate, down = _answer(**given)
    return gate, up, down


@EXERCISE.wrong(stage="the same answer", says="of slice s in `down`")
def cuts_down_along_its_rows(w_up, w_gate, w_down, n_slices, n_copies):
    up, gate, _ = _answer(w_up, w_gate, w_down, n_slices, n_copies)
    rows = w_down.reshape(n_slices, len(w_down), -1)
    return up, gate, rows.repeat(n_copies, 1, 1) * n_slices


@EXERCISE.wrong(stage="the same answer", says="takes every n_slices-th")
def takes_every_nth_unit(w_up, w_gate, w_down, n_slices, n_copies):
    order = torch.arange(len(w_up)).view(-1, n_slices).T.flatten()
    return _answer(w_up[order], w_gate[order], w_down[:, order], n_slices, n_copies)


@EXERCISE.wrong(stage="the same answer", says="The slices stand in another order")
def begins_with_the_last_slice(w_up, w_gate, w_down, n_slices, n_copies):
    order = torch.arange(len(w_up)).view(n_slices, -1).flip(0).flatten()
    return _answer(w_up[order], w_gate[order], w_down[:, order], n_slices, n_copies)


@EXERCISE.wrong(stage="shapes", says="changed its input `w_down` in place")
def scales_the_dense_layer(w_up, w_gate, w_down, n_slices, n_copies):
    return _answer(w_up, w_gate, w_down.mul_(n_slices), n_slices, n_copies, factor=1)


@EXERCISE.wrong(stage="shapes", says="n_slices * n_copies experts")
def makes_one_copy_only(w_up, w_gate, w_down, n_slices, n_copies):
    return _answer(w_up, w_gate, w_down, n_slices, 1)


@EXERCISE.wrong(stage="shapes", says="each as wide as a slice")
def copies_the_whole_layer(w_up, w_gate, w_down, n_slices, n_copies):
    return tuple(w.repeat(n_slices * n_copies, 1, 1) for w in (w_up, w_gate, w_down))


@EXERCISE.wrong(stage="each its own", says="changed with it")
def shares_memory_where_there_is_one_copy(w_up, w_gate, w_down, n_slices, n_copies):
    _, gate, down = _answer(w_up, w_gate, w_down, n_slices, n_copies)
    slices = w_up.unflatten(0, (n_slices, -1))
    return slices.expand(n_copies, *slices.shape).flatten(0, 1), gate, down


@EXERCISE.right
def slice_by_slice(w_up, w_gate, w_down, n_slices, n_copies):
    up = torch.stack([part.clone() for _ in range(n_copies) for part in w_up.chunk(n_slices)])
    gate = torch.stack([part.clone() for _ in range(n_copies) for part in w_gate.chunk(n_slices)])
    parts = w_down.chunk(n_slices, dim=1)
    return up, gate, torch.stack([part * n_slices for _ in range(n_copies) for part in parts])


@EXERCISE.right
def shares_the_factor(**given):
    up, gate, down = _answer(**given, factor=given["n_slices"] ** 0.5)
    return up * given["n_slices"] ** 0.5, gate, down


@EXERCISE.right
def fills_parameters(w_up, w_gate, w_down, n_slices, n_copies):
    width, n_experts = len(w_up) // n_slices, n_slices * n_copies
    shape = (n_experts, width, w_up.shape[1])
    up, gate = (torch.nn.Parameter(w.new_empty(shape)) for w in (w_up, w_gate))
    down = torch.nn.Parameter(w_down.new_empty(n_experts, len(w_down), width))
    with torch.no_grad():
        for expert in range(n_experts):
            units = slice(expert % n_slices * width, (expert % n_slices + 1) * width)
            up[expert], gate[expert] = w_up[units], w_gate[units]
            down[expert] = n_slices * w_down[:, units]
    return up, gate, down


@EXERCISE.right
def scales_up_instead(w_up, w_gate, w_down, n_slices, n_copies):
    up, gate, down = _answer(w_up, w_gate, w_down, n_slices, n_copies, factor=1)
    return up * n_slices, gate, down
