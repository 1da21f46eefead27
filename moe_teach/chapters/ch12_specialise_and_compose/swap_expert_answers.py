"""Exercise 12.4: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch12_specialise_and_compose.swap_expert import EXERCISE


def _answer(state, layer, expert, module, *, head=None, copy=torch.clone, parts="er", late=False):
    head = head or f"blocks.{layer}.ffn."
    kinds = tuple(head + kind for kind in ("experts.", "router.") if kind[0] in parts)
    own = [name for name in state if name.startswith(kinds)]
    if set(module) != {n.removeprefix(head) for n in own} and parts == "er":
        raise ValueError("The module has other tensors than an expert of this layer.")
    new = dict(state)
    old = {name.removeprefix(head): state[name][expert].clone() for name in own}
    for name in own:
        row = module[name.removeprefix(head)]
        if row.shape != state[name].shape[1:]:
            raise ValueError(f"{name} has another shape.")
        new[name] = copy(state[name])
        new[name][expert] = row
    if late:
        old = {name.removeprefix(head): new[name][expert].clone() for name in own}
    return new, old


@EXERCISE.wrong(stage="one slot", says="an expert has a row in router")
def leaves_the_routers_row(state, layer, expert, module):
    return _answer(state, layer, expert, module, parts="e")


@EXERCISE.wrong(stage="one slot", says="changed its input `state` in place")
def writes_into_the_given_state(state, layer, expert, module):
    return _answer(state, layer, expert, module, copy=lambda tensor: tensor)


@EXERCISE.wrong(stage="one slot", says="is not the expert that was there")
def reads_after_writing(state, layer, expert, module):
    return _answer(state, layer, expert, module, late=True)


@EXERCISE.wrong(stage="one slot", says="layer 11's names begin with blocks.1")
def takes_layer_11_for_layer_1(state, layer, expert, module):
    new, old = _answer(state, layer, expert, module)
    for name in state:
        part = name.partition(".ffn.")[2]
        if name.startswith(f"blocks.{layer}") and part in module:
            new[name] = state[name].clone()
            new[name][expert] = module[part]
    return new, old


@EXERCISE.wrong(stage="another dtype", says="made tensors of a bfloat16 model wider")
def joins_pieces(state, layer, expert, module):
    new, old = _answer(state, layer, expert, module)
    for part, row in module.items():
        name = f"blocks.{layer}.ffn.{part}"
        whole = state[name]
        new[name] = torch.cat([whole[:expert], row[None], whole[expert + 1 :]])
    return new, old


@EXERCISE.wrong(stage="what does not fit", says="a vector in place of a matrix")
def asks_for_no_shape(state, layer, expert, module):
    head = f"blocks.{layer}.ffn."
    new, old = dict(state), {}
    for part, row in module.items():
        old[part] = state[head + part][expert].clone()
        new[head + part] = state[head + part].clone()
        new[head + part][expert] = row
    return new, old


@EXERCISE.right
def copies_everything(state, layer, expert, module):
    new, old = _answer({n: t.clone() for n, t in state.items()}, layer, expert, module)
    return {name: new[name] for name in sorted(new)}, old


@EXERCISE.right
def with_where(state, layer, expert, module):
    _, old = _answer(state, layer, expert, module)
    new = dict(state)
    for part, row in module.items():
        whole = state[f"blocks.{layer}.ffn.{part}"]
        here = torch.arange(len(whole)).eq(expert).view(-1, *[1] * row.dim())
        new[f"blocks.{layer}.ffn.{part}"] = torch.where(here, row.to(whole.dtype), whole)
    return new, old
