"""Exercise 4.4: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch04_dispatch.capacity_dispatch import EXERCISE


def _queue(ids, gates, policy, generator):
    match policy:
        case "first_come":
            return torch.arange(ids.numel())
        case "by_gate":
            return gates.flatten().argsort(descending=True)
        case "random":
            return torch.randperm(ids.numel(), generator=generator)
    raise ValueError(policy)


def _door(ids, queue, capacity):
    chosen = ids.flatten()
    kept = torch.zeros_like(chosen, dtype=torch.bool)
    for e in chosen.unique():
        kept[queue[chosen[queue] == e][:capacity]] = True
    return kept.view_as(ids)


@EXERCISE.wrong(stage="shape", says="One boolean for each choice")
def returns_the_numbers_of_the_served(expert_ids, gates, capacity, policy, generator=None):
    queue = _queue(expert_ids, gates, policy, generator)
    return _door(expert_ids, queue, capacity).flatten().nonzero()[:, 0]


@EXERCISE.wrong(stage="room", says="more than `capacity`")
def lets_one_too_many_in(expert_ids, gates, capacity, policy, generator=None):
    return _door(expert_ids, _queue(expert_ids, gates, policy, generator), capacity + 1)


@EXERCISE.wrong(stage="room", says="although its expert had room")
def one_limit_for_all_experts(expert_ids, gates, capacity, policy, generator=None):
    kept = torch.zeros(expert_ids.numel(), dtype=torch.bool)
    kept[_queue(expert_ids, gates, policy, generator)[:capacity]] = True
    return kept.view_as(expert_ids)


@EXERCISE.wrong(stage="first come", says="all first choices before all second")
def first_choices_first(expert_ids, gates, capacity, policy, generator=None):
    queue = _queue(expert_ids, gates, policy, generator)
    if policy == "first_come":
        queue = queue.view_as(expert_ids).T.flatten()
    return _door(expert_ids, queue, capacity)


@EXERCISE.wrong(stage="by gate", says="smallest gates were served first")
def sorts_upwards(expert_ids, gates, capacity, policy, generator=None):
    queue = _queue(expert_ids, gates, policy, generator)
    return _door(expert_ids, queue.flip(0) if policy == "by_gate" else queue, capacity)


@EXERCISE.wrong(stage="by gate", says="Single choices compete")
def sorts_whole_tokens(expert_ids, gates, capacity, policy, generator=None):
    queue = _queue(expert_ids, gates, policy, generator)
    if policy == "by_gate":
        places = torch.arange(expert_ids.numel()).view_as(expert_ids)
        queue = places[gates.amax(dim=1).argsort(descending=True)].flatten()
    return _door(expert_ids, queue, capacity)


@EXERCISE.wrong(stage="random", says="Hand `generator` on")
def forgets_the_generator(expert_ids, gates, capacity, policy, generator=None):
    return _door(expert_ids, _queue(expert_ids, gates, policy, None), capacity)


@EXERCISE.wrong(stage="random", says="serves the same choices")
def draws_with_a_fixed_seed(expert_ids, gates, capacity, policy, generator=None):
    fixed = torch.Generator().manual_seed(0)
    return _door(expert_ids, _queue(expert_ids, gates, policy, fixed), capacity)


@EXERCISE.wrong(stage="unknown policy", says="raise a `ValueError`")
def takes_anything_else_for_random(expert_ids, gates, capacity, policy, generator=None):
    known = policy if policy in ("first_come", "by_gate") else "random"
    return _door(expert_ids, _queue(expert_ids, gates, known, generator), capacity)


@EXERCISE.right
def by_cumulative_sums(expert_ids, gates, capacity, policy, generator=None):
    queue = _queue(expert_ids, gates, policy, generator)
    chosen = torch.nn.functional.one_hot(expert_ids.flatten()[queue])
    place = ((chosen.cumsum(0) - chosen) * chosen).sum(-1)
    kept = torch.empty(len(queue), dtype=torch.bool)
    kept[queue] = place < capacity
    return kept.view_as(expert_ids)


@EXERCISE.right
def one_choice_at_a_time(expert_ids, gates, capacity, policy, generator=None):
    served, kept = {}, torch.zeros_like(expert_ids, dtype=torch.bool)
    for i in _queue(expert_ids, gates, policy, generator).tolist():
        t, k = divmod(i, expert_ids.shape[1])
        e = int(expert_ids[t, k])
        served[e] = served.get(e, 0) + 1
        kept[t, k] = served[e] <= capacity
    return kept


def _with_random(shuffle):
    """Answer with another order under "random"; `shuffle` gets the choices, gates, generator."""

    def answer(expert_ids, gates, capacity, policy, generator=None):
        queue = _queue(expert_ids, gates, policy, generator)
        if policy == "random":
            queue = shuffle(expert_ids.numel(), gates.flatten(), generator)
        return _door(expert_ids, queue, capacity)

    answer.__name__ = shuffle.__name__.strip("_")
    return answer


def _rotate(n, gates, generator):
    return torch.arange(n).roll(int(torch.randint(n, (1,), generator=generator)))


def _favour_large_gates(n, gates, generator):
    return torch.multinomial(gates, n, generator=generator)


def _fix_what_was_not_given(n, gates, generator):
    return torch.randperm(n, generator=generator or torch.Generator().manual_seed(0))


def _seed_all(n, gates, generator):
    if generator is not None:
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
    return torch.randperm(n)


for _shuffle, _stage, _says in (
    (_rotate, "random", "get their places together"),
    (_favour_large_gates, "random", "the gates have no say"),
    (_fix_what_was_not_given, "its own generator", "Without a generator"),
    (_seed_all, "its own generator", "global random numbers moved on"),
):
    EXERCISE.wrong(stage=_stage, says=_says)(_with_random(_shuffle))


@EXERCISE.wrong(stage="unknown policy", says="Here is room for nobody")
def serves_nobody_before_it_looks(expert_ids, gates, capacity, policy, generator=None):
    if capacity == 0:
        return torch.zeros_like(expert_ids, dtype=torch.bool)
    return _door(expert_ids, _queue(expert_ids, gates, policy, generator), capacity)


@EXERCISE.wrong(stage="by gate", says="differ in the last digit")
def rounds_the_gates(expert_ids, gates, capacity, policy, generator=None):
    return _door(expert_ids, _queue(expert_ids, gates.half(), policy, generator), capacity)


@EXERCISE.wrong(stage="unknown policy", says="Look at the policy before anything else")
def looks_at_the_policy_late(expert_ids, gates, capacity, policy, generator=None):
    if capacity >= expert_ids.numel():
        return torch.ones_like(expert_ids, dtype=torch.bool)
    return _door(expert_ids, _queue(expert_ids, gates, policy, generator), capacity)


@EXERCISE.wrong(stage="unknown policy", says="a KeyError instead")
def lets_the_dictionary_complain(expert_ids, gates, capacity, policy, generator=None):
    known = {name: name for name in ("first_come", "by_gate", "random")}
    return _door(expert_ids, _queue(expert_ids, gates, known[policy], generator), capacity)


@EXERCISE.right
def by_counting_who_stands_ahead(expert_ids, gates, capacity, policy, generator=None):
    turn = torch.empty(expert_ids.numel(), dtype=torch.long)
    turn[_queue(expert_ids, gates, policy, generator)] = torch.arange(len(turn))
    chosen = expert_ids.flatten()
    ahead = (chosen[:, None] == chosen) & (turn < turn[:, None])
    return (ahead.sum(1) < capacity).view(expert_ids.shape)


@EXERCISE.right
def whole_tokens_shuffled(expert_ids, gates, capacity, policy, generator=None):
    # Different experts stand in a row, so each expert still meets its choices in any order.
    if policy != "random":
        return by_counting_who_stands_ahead(expert_ids, gates, capacity, policy, generator)
    n_tokens, top_k = expert_ids.shape
    queue = torch.randperm(n_tokens, generator=generator)[:, None] * top_k + torch.arange(top_k)
    return _door(expert_ids, queue.flatten(), capacity)
