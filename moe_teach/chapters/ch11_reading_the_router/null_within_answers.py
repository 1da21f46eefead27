"""Exercise 11.2: deals that break something else, and others that are right."""

import numpy as np
import torch

from moe_teach.chapters.ch11_reading_the_router.null_within import EXERCISE


@EXERCISE.wrong(stage="the same labels, in the same groups", says="are no longer theirs")
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


@EXERCISE.wrong(stage="every deal as likely", says="in 3 of their 6 orders")
def rotated(labels, given, generator):
    def order(n):
        return (torch.arange(n) + int(torch.randint(n, (1,), generator=generator))) % n

    return _by_group(labels, given, order)


@EXERCISE.wrong(stage="every deal as likely", says="in 1 of their 6 orders")
def sets_the_generator_back(labels, given, generator):
    generator.manual_seed(0)
    return _by_group(labels, given, lambda n: torch.randperm(n, generator=generator))


@EXERCISE.wrong(stage="every deal as likely", says="always dealt in the same way")
def one_deal_for_every_group(labels, given, generator):
    seed = int(torch.randint(2**31, (1,), generator=generator))

    def order(n):
        return torch.randperm(n, generator=torch.Generator().manual_seed(seed))

    return _by_group(labels, given, order)


@EXERCISE.wrong(stage="other places", says="Only neighbours")
def within_runs(labels, given, generator):
    run = (given.diff(prepend=given[:1]) != 0).cumsum(0)
    return _by_group(labels, run, lambda n: torch.randperm(n, generator=generator))


@EXERCISE.wrong(stage="its own luck", says="from the global generator")
def by_the_global_generator(labels, given, generator):
    return _by_group(labels, given, torch.randperm)


@EXERCISE.wrong(stage="the same labels, in the same groups", says="came as a list")
def as_a_list(labels, given, generator):
    return labels.tolist()


@EXERCISE.wrong(stage="the same labels, in the same groups", says="own shape and dtype")
def as_floats(labels, given, generator):
    return _by_group(labels, given, lambda n: torch.randperm(n, generator=generator)).float()


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
