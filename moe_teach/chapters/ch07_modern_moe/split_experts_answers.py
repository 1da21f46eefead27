"""Exercise 7.2: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch07_modern_moe.split_experts import EXERCISE


def _rows(w, split):
    n_experts, d_ff, d_model = w.shape
    return w.reshape(n_experts * split, d_ff // split, d_model)


@EXERCISE.wrong(stage="shape", says="copies of the experts")
def copies_the_whole(w_gate, w_up, w_down, split):
    return tuple(w.repeat_interleave(split, dim=0) for w in (w_gate, w_up, w_down))


@EXERCISE.wrong(stage="one expert", says="in the order of memory")
def reshapes_all_three(w_gate, w_up, w_down, split):
    n_experts, d_model, d_ff = w_down.shape
    down = w_down.reshape(n_experts * split, d_model, d_ff // split)
    return _rows(w_gate, split), _rows(w_up, split), down


@EXERCISE.wrong(stage="one expert", says="summed, not averaged")
def shares_out_the_output(w_gate, w_up, w_down, split):
    down = torch.stack(w_down.chunk(split, dim=2), dim=1).flatten(0, 1) / split
    return _rows(w_gate, split), _rows(w_up, split), down


@EXERCISE.wrong(stage="one expert", says="the *same* units")
def deals_units_out_in_one_matrix_only(w_gate, w_up, w_down, split):
    dealt = torch.stack([w_gate[:, j::split] for j in range(split)], dim=1)
    down = torch.stack(w_down.chunk(split, dim=2), dim=1).flatten(0, 1)
    return dealt.flatten(0, 1), _rows(w_up, split), down


@EXERCISE.wrong(stage="one expert", says="changed places")
def swaps_gate_and_up(w_gate, w_up, w_down, split):
    down = torch.stack(w_down.chunk(split, dim=2), dim=1).flatten(0, 1)
    return _rows(w_up, split), _rows(w_gate, split), down


@EXERCISE.wrong(stage="shape", says="lies on its side")
def forgets_to_turn_down_back(w_gate, w_up, w_down, split):
    return _rows(w_gate, split), _rows(w_up, split), _rows(w_down.mT.contiguous(), split)


@EXERCISE.wrong(stage="side by side", says="first the first part of every expert")
def stacks_by_part(w_gate, w_up, w_down, split):
    return (
        torch.cat(w_gate.chunk(split, dim=1)),
        torch.cat(w_up.chunk(split, dim=1)),
        torch.cat(w_down.chunk(split, dim=2)),
    )


@EXERCISE.wrong(stage="side by side", says="in all three matrices")
def orders_one_matrix_by_part(w_gate, w_up, w_down, split):
    return _rows(w_gate, split), _rows(w_up, split), torch.cat(w_down.chunk(split, dim=2))


@EXERCISE.wrong(stage="transposed weights", says="cannot be cut by `view`")
def views_the_rows(w_gate, w_up, w_down, split):
    n_experts, d_ff, d_model = w_gate.shape
    shape = n_experts * split, d_ff // split, d_model
    down = torch.stack(w_down.chunk(split, dim=2), dim=1).flatten(0, 1)
    return w_gate.view(shape), w_up.view(shape), down


@EXERCISE.wrong(stage="gradient", says="The result carries no gradient")
def works_on_numbers(w_gate, w_up, w_down, split):
    down = torch.stack(w_down.detach().chunk(split, dim=2), dim=1).flatten(0, 1)
    return _rows(w_gate.detach(), split), _rows(w_up.detach(), split), down


@EXERCISE.wrong(stage="gradient", says="not connected with `w_down`")
def copies_one_matrix_without_its_graph(w_gate, w_up, w_down, split):
    down = torch.stack(w_down.detach().chunk(split, dim=2), dim=1).flatten(0, 1)
    return _rows(w_gate, split), _rows(w_up, split), down


@EXERCISE.right
def shuffles_the_units_first(w_gate, w_up, w_down, split):
    order = torch.randperm(w_up.shape[1])
    down = torch.stack(w_down[:, :, order].chunk(split, dim=2), dim=1).flatten(0, 1)
    return _rows(w_gate[:, order], split), _rows(w_up[:, order], split), down


@EXERCISE.right
def into_empty_tensors(w_gate, w_up, w_down, split):
    n_experts, d_ff, d_model = w_gate.shape
    width = d_ff // split
    gate, up = (torch.empty(n_experts * split, width, d_model) for _ in range(2))
    down = torch.empty(n_experts * split, d_model, width)
    for e in range(n_experts):
        for j in range(split):
            part, units = e * split + j, slice(j * width, (j + 1) * width)
            gate[part], up[part] = w_gate[e, units], w_up[e, units]
            down[part] = w_down[e, :, units]
    return gate, up, down


@EXERCISE.right
def deals_units_out_like_cards(w_gate, w_up, w_down, split):
    wide = [
        torch.stack([w[:, j::split] for j in range(split)], dim=1).flatten(0, 1)
        for w in (w_gate, w_up)
    ]
    down = torch.stack([w_down[:, :, j::split] for j in range(split)], dim=1).flatten(0, 1)
    return *wide, down


@EXERCISE.right
def with_loops(w_gate, w_up, w_down, split):
    width = w_up.shape[1] // split
    parts = [
        (w_gate[e, a : a + width], w_up[e, a : a + width], w_down[e, :, a : a + width])
        for e in range(len(w_up))
        for a in range(0, width * split, width)
    ]
    return tuple(torch.stack(column) for column in zip(*parts, strict=True))


@EXERCISE.right
def by_transposing_down(w_gate, w_up, w_down, split):
    down = _rows(w_down.transpose(1, 2), split).transpose(1, 2)
    return _rows(w_gate.double(), split), _rows(w_up.double(), split), down.double()
