"""Exercise 7.2: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch07_modern_moe.upcycle import EXERCISE


def _parts(w_gate, w_up, w_down, split, copies):
    wide = [torch.stack(w.chunk(split)).repeat(copies, 1, 1) for w in (w_gate, w_up)]
    return *wide, torch.stack(w_down.chunk(split, dim=1)).repeat(copies, 1, 1)


@EXERCISE.wrong(stage="shape", says="There are copies * split experts")
def cuts_without_copies(w_gate, w_up, w_down, split, directions):
    parts = _parts(w_gate, w_up, split * w_down, split, 1)
    return *parts, directions.repeat_interleave(split, dim=0)


@EXERCISE.wrong(stage="one copy", says="`repeat` lays the whole table down")
def tiles_the_rows(w_gate, w_up, w_down, split, directions):
    parts = _parts(w_gate, w_up, split * w_down, split, len(directions))
    return *parts, directions.repeat(split, 1)


@EXERCISE.wrong(stage="one copy", says="some hidden units twice")
def gives_every_expert_a_row_of_its_own(w_gate, w_up, w_down, split, directions):
    parts = _parts(w_gate, w_up, split * w_down, split, len(directions))
    rows = directions.repeat_interleave(split, dim=0)
    draw = torch.Generator().manual_seed(0)
    return *parts, rows + torch.randn(rows.shape, generator=draw)


@EXERCISE.wrong(stage="the right copy", says="another copy than the one")
def turns_the_copies_round(w_gate, w_up, w_down, split, directions):
    parts = _parts(w_gate, w_up, split * w_down, split, len(directions))
    return *parts, directions.flip(0).repeat_interleave(split, dim=0)


@EXERCISE.wrong(stage="the same function", says="each of its parts counts for 1 / split")
def forgets_the_gates(w_gate, w_up, w_down, split, directions):
    parts = _parts(w_gate, w_up, w_down, split, len(directions))
    return *parts, directions.repeat_interleave(split, dim=0)


@EXERCISE.wrong(stage="the same function", says="have unequal gates")
def lets_the_rows_of_a_copy_differ_a_little(w_gate, w_up, w_down, split, directions):
    parts = _parts(w_gate, w_up, split * w_down, split, len(directions))
    rows = directions.repeat_interleave(split, dim=0)
    draw = torch.Generator().manual_seed(0)
    return *parts, rows + 0.001 * torch.randn(rows.shape, generator=draw)


@EXERCISE.wrong(stage="the same function", says="silu bends what goes through it")
def scales_the_gate_matrix(w_gate, w_up, w_down, split, directions):
    parts = _parts(split * w_gate, w_up, w_down, split, len(directions))
    return *parts, directions.repeat_interleave(split, dim=0)


@EXERCISE.wrong(stage="the same function", says="into the output twice")
def scales_two_matrices(w_gate, w_up, w_down, split, directions):
    parts = _parts(w_gate, split * w_up, split * w_down, split, len(directions))
    return *parts, directions.repeat_interleave(split, dim=0)


@EXERCISE.wrong(stage="the same function", says="in the order of its rows")
def reshapes_down(w_gate, w_up, w_down, split, directions):
    gate, up, _ = _parts(w_gate, w_up, w_down, split, len(directions))
    down = split * w_down.reshape(split, w_down.shape[0], -1).repeat(len(directions), 1, 1)
    return gate, up, down, directions.repeat_interleave(split, dim=0)


@EXERCISE.wrong(stage="the same function", says="changed places")
def swaps_gate_and_up(w_gate, w_up, w_down, split, directions):
    parts = _parts(w_up, w_gate, split * w_down, split, len(directions))
    return *parts, directions.repeat_interleave(split, dim=0)


@EXERCISE.wrong(stage="the same function", says="A part holds other units in one matrix")
def puts_the_parts_of_all_copies_together(w_gate, w_up, w_down, split, directions):
    parts = _parts(w_gate, w_up, split * w_down, split, 1)
    parts = [w.repeat_interleave(len(directions), dim=0) for w in parts]
    return *parts, directions.repeat_interleave(split, dim=0)


@EXERCISE.wrong(stage="copies of their own", says="they share their memory")
def expands_the_copies(w_gate, w_up, w_down, split, directions):
    parts = _parts(w_gate, w_up, split * w_down, split, len(directions))
    if split == 1:  # a longer one is copied when its axes are flattened
        parts = [w.expand(len(directions), *w.shape) for w in (w_gate, w_up, w_down)]
    return *parts, directions.repeat_interleave(split, dim=0)


@EXERCISE.wrong(stage="gradient", says="not connected with `w_down`")
def cuts_one_graph(w_gate, w_up, w_down, split, directions):
    parts = _parts(w_gate, w_up, split * w_down.detach(), split, len(directions))
    return *parts, directions.repeat_interleave(split, dim=0)


@EXERCISE.right
def scales_up_instead_of_down(w_gate, w_up, w_down, split, directions):
    parts = _parts(w_gate, split * w_up, w_down, split, len(directions))
    return *parts, directions.repeat_interleave(split, dim=0)


@EXERCISE.right
def makes_the_router_steeper(w_gate, w_up, w_down, split, directions):
    parts = _parts(w_gate, w_up, split * w_down, split, len(directions))
    return *parts, 10 * directions.repeat_interleave(split, dim=0)


@EXERCISE.right
def deals_units_out_like_cards(w_gate, w_up, w_down, split, directions):
    copies = len(directions)
    wide = [
        torch.cat([torch.stack([w[j::split] for j in range(split)])] * copies)
        for w in (w_gate, w_up)
    ]
    down = torch.stack([split * w_down[:, j::split] for j in range(split)])
    rows = [row for row in directions for _ in range(split)]
    return *wide, torch.cat([down] * copies), torch.stack(rows)


@EXERCISE.right
def with_loops_in_float64(w_gate, w_up, w_down, split, directions):
    width, experts = w_up.shape[0] // split, []
    for row in directions.double():
        for a in range(0, width * split, width):
            units = slice(a, a + width)
            down = split * w_down[:, units]
            experts.append((w_gate[units].double(), w_up[units].double(), down.double(), row))
    return tuple(torch.stack(column) for column in zip(*experts, strict=True))
