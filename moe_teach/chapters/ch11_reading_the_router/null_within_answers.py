"""Exercise 11.2: deals that break something else, and others that are right."""

import numpy as np
import torch

from moe_teach.chapters.ch11_reading_the_router.null_within import EXERCISE


@EXERCISE.wrong(stage="the same labels, in the same groups", says="dealt among all tokens")
def among_all_tokens(labels, given, generator):
    return labels[torch.randperm(len(labels), generator=generator)]


@EXERCISE.wrong(stage="the same labels, in the same groups", says="not the same labels")
def with_replacement(labels, given, generator):
    out = labels.clone()
    for value in given.unique():
        places = (given == value).nonzero()[:, 0]
        draws = torch.randint(len(places), (len(places),), generator=generator)
        out[places] = labels[places[draws]]
    return out


def _by_group(labels, given, order):
    out = labels.clone()
    for value in given.unique():
        places = (given == value).nonzero()[:, 0]
        out[places] = labels[places[order(len(places))]]
    return out


@EXERCISE.wrong(stage="every deal as likely", says="3 of 6 orders")
def rotated(labels, given, generator):
    def order(n):
        return (torch.arange(n) + int(torch.randint(n, (1,), generator=generator))) % n

    return _by_group(labels, given, order)


@EXERCISE.wrong(stage="its own luck", says="Two generators of different seeds")
def sets_the_generator_back(labels, given, generator):
    generator.manual_seed(0)
    return _by_group(labels, given, lambda n: torch.randperm(n, generator=generator))


@EXERCISE.wrong(stage="every deal as likely", says="used for every group")
def one_deal_for_every_group(labels, given, generator):
    seed = int(torch.randint(2**31, (1,), generator=generator))

    def order(n):
        return torch.randperm(n, generator=torch.Generator().manual_seed(seed))

    return _by_group(labels, given, order)


@EXERCISE.wrong(stage="other places", says="neighbours never have the same")
def within_runs(labels, given, generator):
    run = (given.diff(prepend=given[:1]) != 0).cumsum(0)
    return _by_group(labels, run, lambda n: torch.randperm(n, generator=generator))


@EXERCISE.wrong(stage="its own luck", says="from the global generator")
def by_the_global_generator(labels, given, generator):
    return _by_group(labels, given, torch.randperm)


@EXERCISE.wrong(stage="the same labels, in the same groups", says="came as a list")
def as_a_list(labels, given, generator):
    return labels.tolist()


@EXERCISE.wrong(stage="the same labels, in the same groups", says="came back as torch.float32")
def as_floats(labels, given, generator):
    return _by_group(labels, given, lambda n: torch.randperm(n, generator=generator)).float()


@EXERCISE.wrong(stage="the same labels, in the same groups", says="came back as torch.int64")
def as_places_are(labels, given, generator):
    return _by_group(labels.long(), given, lambda n: torch.randperm(n, generator=generator))


@EXERCISE.wrong(stage="the same labels, in the same groups", says="a tensor of shape (")
def the_first_group_alone(labels, given, generator):
    own = labels[given == given[0]]
    return own[torch.randperm(len(own), generator=generator)]


@EXERCISE.wrong(stage="the same labels, in the same groups", says="changed its input")
def in_place(labels, given, generator):
    labels.copy_(_by_group(labels, given, lambda n: torch.randperm(n, generator=generator)))
    return labels


@EXERCISE.wrong(stage="the same labels, in the same groups", says="joined one after another")
def joined(labels, given, generator):
    groups = [labels[given == value] for value in given.unique()]
    return torch.cat([own[torch.randperm(len(own), generator=generator)] for own in groups])


@EXERCISE.wrong(stage="the same labels, in the same groups", says="`given` was dealt")
def the_other_column(labels, given, generator):
    return _by_group(given, labels, lambda n: torch.randperm(n, generator=generator))


@EXERCISE.wrong(stage="the same labels, in the same groups", says="These are places")
def places(labels, given, generator):
    numbers = torch.arange(len(labels))
    return _by_group(numbers, given, lambda n: torch.randperm(n, generator=generator))


@EXERCISE.wrong(stage="the same labels, in the same groups", says="float32 does not tell apart")
def by_float_keys(labels, given, generator):
    mixed = (given + 0.9 * torch.rand(len(labels), generator=generator)).argsort()
    dealt = torch.empty_like(labels)
    dealt[given.argsort(stable=True)] = labels[mixed]
    return dealt


@EXERCISE.wrong(stage="other places", says="Only some of a group")
def one_pair(labels, given, generator):
    dealt = labels.clone()
    for value in given.unique():
        first, *_, last = (given == value).nonzero()[:, 0].tolist() * 2
        dealt[first], dealt[last] = labels[last], labels[first]
    return dealt


@EXERCISE.wrong(stage="every deal as likely", says="2 of 6 orders")
def everybody_moves(labels, given, generator):
    def order(n):
        mixed = list(range(n))
        for i in range(n - 1, 0, -1):
            j = int(torch.randint(i, (1,), generator=generator))
            mixed[i], mixed[j] = mixed[j], mixed[i]
        return torch.tensor(mixed)

    return _by_group(labels, given, order)


@EXERCISE.wrong(stage="long groups", says="n ** n paths")
def swaps_with_anybody(labels, given, generator):
    def order(n):
        mixed = list(range(n))
        for i, j in enumerate(torch.randint(n, (n,), generator=generator).tolist()):
            mixed[i], mixed[j] = mixed[j], mixed[i]
        return torch.tensor(mixed)

    return _by_group(labels, given, order)


@EXERCISE.wrong(stage="every deal as likely", says="Of 120 groups of two labels, 0")
def pairs_stay(labels, given, generator):
    def order(n):
        return torch.randperm(n, generator=generator) if n > 2 else torch.arange(n)

    return _by_group(labels, given, order)


@EXERCISE.wrong(stage="its own luck", says="A copy of it was used")
def by_a_copy(labels, given, generator):
    copy = torch.Generator()
    copy.set_state(generator.get_state())
    return _by_group(labels, given, lambda n: torch.randperm(n, generator=copy))


@EXERCISE.right
def group_by_group(labels, given, generator):
    return _by_group(labels, given, lambda n: torch.randperm(n, generator=generator))


@EXERCISE.right
def by_random_keys(labels, given, generator):
    keys = torch.rand(len(labels), generator=generator, dtype=torch.float64).numpy()
    numbers = given.numpy()
    out = torch.empty_like(labels)
    mixed = np.lexsort((keys, numbers))
    out[torch.from_numpy(np.argsort(numbers, kind="stable"))] = labels[torch.from_numpy(mixed)]
    return out


@EXERCISE.right
def by_fisher_and_yates(labels, given, generator):
    def order(n):
        mixed = list(range(n))
        for i in range(n - 1):
            j = i + int(torch.randint(n - i, (1,), generator=generator))
            mixed[i], mixed[j] = mixed[j], mixed[i]
        return torch.tensor(mixed)

    return _by_group(labels, given, order)
