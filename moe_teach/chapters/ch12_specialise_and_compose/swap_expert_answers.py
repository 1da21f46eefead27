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


@EXERCISE.wrong(stage="one slot", says="An expert has a tensor under `experts.` and `router.`")
def hands_back_no_router_row(state, layer, expert, module):
    new, old = _answer(state, layer, expert, module)
    return new, {name: row for name, row in old.items() if name.startswith("experts.")}


@EXERCISE.wrong(stage="one slot", says="an expert has a row in router.expert_bias")
def leaves_the_bias(state, layer, expert, module):
    new, old = _answer(state, layer, expert, module)
    bias = f"blocks.{layer}.ffn.router.expert_bias"
    return new | {bias: state[bias]}, old


@EXERCISE.wrong(stage="one slot", says="Another row was written")
def counts_from_one(state, layer, expert, module):
    return _answer(state, layer, expert - 1, module)


@EXERCISE.wrong(stage="one slot", says="These are full names")
def hands_back_full_names(state, layer, expert, module):
    new, old = _answer(state, layer, expert, module)
    return new, {f"blocks.{layer}.ffn.{name}": row for name, row in old.items()}


@EXERCISE.wrong(stage="one slot", says="still has the axis of experts")
def keeps_the_axis_of_experts(state, layer, expert, module):
    new, old = _answer(state, layer, expert, module)
    return new, {name: row[None] for name, row in old.items()}


@EXERCISE.wrong(stage="one slot", says="other names than the old one")
def returns_the_layer_alone(state, layer, expert, module):
    new, old = _answer(state, layer, expert, module)
    return {n: t for n, t in new.items() if n.startswith(f"blocks.{layer}.")}, old


@EXERCISE.wrong(stage="more tensors", says="is not what it should be")
def knows_four_names_by_heart(state, layer, expert, module):
    new, old = dict(state), {}
    for name in ("experts.w_up", "experts.w_down", "router.proj.weight", "router.expert_bias"):
        whole = state[f"blocks.{layer}.ffn.{name}"]
        old[name] = whole[expert].clone()
        new[f"blocks.{layer}.ffn.{name}"] = whole.clone()
        new[f"blocks.{layer}.ffn.{name}"][expert] = module[name]
    return new, old


@EXERCISE.wrong(stage="another dtype", says="as it was")
def hands_back_the_newcomers_dtype(state, layer, expert, module):
    new, old = _answer(state, layer, expert, module)
    return new, {name: row.to(module[name].dtype) for name, row in old.items()}


@EXERCISE.wrong(stage="what does not fit", says="the wrong way round")
def counts_numbers_in_place_of_shapes(state, layer, expert, module):
    head = f"blocks.{layer}.ffn."
    fitting = {}
    for name, row in module.items():
        row_here = state[head + name][expert] if head + name in state else row[None]
        if row.numel() != row_here.numel():
            raise ValueError(f"{name} has another size.")
        fitting[name] = row.reshape(row_here.shape)
    return _answer(state, layer, expert, fitting)


@EXERCISE.wrong(stage="what does not fit", says="one tensor too many")
def asks_only_whether_something_is_missing(state, layer, expert, module):
    head = f"blocks.{layer}.ffn."
    kinds = (head + "experts.", head + "router.")
    own = [n.removeprefix(head) for n in state if n.startswith(kinds)]
    if not own or any(name not in module for name in own):
        raise ValueError("Something is missing.")
    return _answer(state, layer, expert, {name: module[name] for name in own})


@EXERCISE.wrong(stage="one slot", says="a shared expert is nobody's row")
def counts_the_shared_expert_in(state, layer, expert, module):
    head = f"blocks.{layer}.ffn."
    if {n.removeprefix(head) for n in state if n.startswith(head)} != set(module):
        raise ValueError("The names differ.")
    return _answer(state, layer, expert, module)


@EXERCISE.right
def builds_new_tensors(state, layer, expert, module):
    head = f"blocks.{layer}.ffn."
    own = {
        n.removeprefix(head): t
        for n, t in state.items()
        if n.startswith((head + "experts.", head + "router."))
    }
    if {n: t[0].shape for n, t in own.items()} != {n: t.shape for n, t in module.items()}:
        raise ValueError("This is no expert of that layer.")
    new = {
        head + n: torch.stack(
            [module[n].to(t.dtype) if e == expert else row for e, row in enumerate(t)]
        )
        for n, t in own.items()
    }
    return {**state, **new}, {n: t[expert] for n, t in own.items()}


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
