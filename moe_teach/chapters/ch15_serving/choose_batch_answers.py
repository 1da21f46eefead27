"""Exercise 15.6: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch15_serving.choose_batch import EXERCISE


def _oldest(waited):
    return waited.argsort(descending=True, stable=True).tolist()


def _due(waited, n_slots, patience):
    return [i for i in _oldest(waited) if waited[i] >= patience][:n_slots]


@EXERCISE.wrong(stage="goal", says="The goal is at most")
def first_come_first_served(expert_ids, waited, n_slots, patience):
    return _oldest(waited)[:n_slots]


@EXERCISE.wrong(stage="nobody waits for ever", says="was left behind")
def never_looks_at_the_clock(expert_ids, waited, n_slots, patience):
    return expert_ids[:, 0].argsort(stable=True).tolist()[:n_slots]


@EXERCISE.wrong(stage="a batch", says="different ones")
def only_those_who_must(expert_ids, waited, n_slots, patience):
    return _due(waited, n_slots, patience)


@EXERCISE.wrong(stage="a batch", says="plain integers")
def a_tensor(expert_ids, waited, n_slots, patience):
    return waited.argsort(descending=True)[:n_slots]


@EXERCISE.wrong(stage="goal", says="The goal is at most")
def by_the_first_choice_alone(expert_ids, waited, n_slots, patience):
    chosen = _due(waited, n_slots, patience)
    order = expert_ids[:, 0].argsort(stable=True).tolist()
    return chosen + [i for i in order if i not in chosen][: n_slots - len(chosen)]


@EXERCISE.right
def by_the_most_shared(expert_ids, waited, n_slots, patience):
    chosen = _due(waited, n_slots, patience) or _oldest(waited)[:1]
    awake = set(expert_ids[chosen].flatten().tolist())
    while len(chosen) < n_slots:
        left = [i for i in _oldest(waited) if i not in chosen]
        chosen.append(max(left, key=lambda i: len(awake & set(expert_ids[i].tolist()))))
        awake |= set(expert_ids[chosen[-1]].tolist())
    return chosen


@EXERCISE.right
def the_best_of_all_beginnings(expert_ids, waited, n_slots, patience):
    wishes, due = [set(ids) for ids in expert_ids.tolist()], _due(waited, n_slots, patience)

    def grown(chosen):
        chosen = list(chosen)
        awake = set().union(*(wishes[i] for i in chosen))
        while len(chosen) < n_slots:
            left = [i for i in _oldest(waited) if i not in chosen]
            chosen.append(min(left, key=lambda i: len(wishes[i] - awake)))
            awake |= wishes[chosen[-1]]
        return len(awake), chosen

    beginnings = [due] if due else [[i] for i in _oldest(waited)[:6]]
    return min(map(grown, beginnings))[1]
