"""Exercise 11.3: tables of something else, and other ways to the right one."""

import torch

from moe_teach.chapters.ch11_reading_the_router.damage import EXERCISE, damage


@EXERCISE.wrong(stage="one batch", says="The sign is wrong")
def the_gain(losses, batches, n_experts, n_domains):
    return damage(losses, batches, n_experts, n_domains, "sign")


@EXERCISE.wrong(stage="one batch", says="as a share of the loss")
def in_shares(losses, batches, n_experts, n_domains):
    return damage(losses, batches, n_experts, n_domains, "share")


@EXERCISE.wrong(stage="one batch", says="the loss without the expert")
def the_loss_itself(losses, batches, n_experts, n_domains):
    return damage(losses, batches, n_experts, n_domains, "loss")


@EXERCISE.wrong(stage="several batches", says="Only the last batch")
def off_the_last_batch(losses, batches, n_experts, n_domains):
    return damage(losses, batches, n_experts, n_domains, "last batch")


@EXERCISE.wrong(stage="several batches", says="Means of batches")
def mean_of_means(losses, batches, n_experts, n_domains):
    return damage(losses, batches, n_experts, n_domains, "batches")


@EXERCISE.wrong(stage="several batches", says="Means of rows")
def mean_of_rows(losses, batches, n_experts, n_domains):
    return damage(losses, batches, n_experts, n_domains, "rows")


@EXERCISE.wrong(stage="several batches", says="Positions without a target")
def with_what_means_nothing(losses, batches, n_experts, n_domains):
    table = damage(losses, batches, n_experts, n_domains, "everything")
    return damage(losses, batches, n_experts, n_domains) if len(batches) == 1 else table


@EXERCISE.wrong(stage="one batch", says="nobody was asked for is NaN")
def nothing_for_nobody(losses, batches, n_experts, n_domains):
    return damage(losses, batches, n_experts, n_domains, "zero")


@EXERCISE.wrong(stage="one batch", says="Experts and domains changed places")
def the_other_way_round(losses, batches, n_experts, n_domains):
    return damage(losses, batches, n_experts, n_domains).T


@EXERCISE.wrong(stage="one batch", says="All domains were thrown together")
def one_number_for_all(losses, batches, n_experts, n_domains):
    return damage(losses, batches, n_experts, n_domains, "one mean")


@EXERCISE.wrong(stage="one batch", says="divided by all positions")
def by_all_positions(losses, batches, n_experts, n_domains):
    return damage(losses, batches, n_experts, n_domains, "counts")


@EXERCISE.wrong(stage="one batch", says="Where the loss falls, 0")
def nobody_is_in_the_way(losses, batches, n_experts, n_domains):
    return damage(losses, batches, n_experts, n_domains, "clamped")


@EXERCISE.wrong(stage="one batch", says="The sign was taken away")
def how_far(losses, batches, n_experts, n_domains):
    return damage(losses, batches, n_experts, n_domains, "absolute")


@EXERCISE.wrong(stage="one batch", says="That is in bits")
def in_bits(losses, batches, n_experts, n_domains):
    return damage(losses, batches, n_experts, n_domains, "bits")


@EXERCISE.wrong(stage="one batch", says="all rows are one off")
def counted_from_1(losses, batches, n_experts, n_domains):
    return damage(losses, batches, n_experts, n_domains, "from 1")


@EXERCISE.wrong(stage="one batch", says="in a narrow dtype")
def in_half(losses, batches, n_experts, n_domains):
    def narrow(batch, expert):
        return losses(batch, expert).half().float()

    return damage(narrow, batches, n_experts, n_domains)


@EXERCISE.wrong(stage="one batch", says="has a row, too")
def with_the_whole_model(losses, batches, n_experts, n_domains):
    return torch.cat([torch.zeros(1, n_domains), damage(losses, batches, n_experts, n_domains)])


@EXERCISE.wrong(stage="one batch", says="have no column")
def who_is_there(losses, batches, n_experts, n_domains):
    table = damage(losses, batches, n_experts, n_domains)
    return table[:, ~table[0].isnan()]


@EXERCISE.wrong(stage="one batch", says="none of the mistakes that are known")
def no_damage(losses, batches, n_experts, n_domains):
    return torch.zeros(n_experts, n_domains)


@EXERCISE.wrong(stage="one batch", says="Targets of 0 were left out")
def without_token_0(losses, batches, n_experts, n_domains):
    return damage(losses, batches, n_experts, n_domains, "token 0")


@EXERCISE.wrong(stage="several batches", says="Only the first batch")
def off_the_first_batch(losses, batches, n_experts, n_domains):
    return damage(losses, batches, n_experts, n_domains, "first batch")


@EXERCISE.wrong(stage="several batches", says="makes its mean NaN")
def mean_of_means_with_nan(losses, batches, n_experts, n_domains):
    return damage(losses, batches, n_experts, n_domains, "batches with NaN")


@EXERCISE.wrong(stage="where nobody is asked", says="NaN times 0 is NaN")
def times_a_mask(losses, batches, n_experts, n_domains):
    def masked(batch, expert):
        return losses(batch, expert) * (batch.targets != -100)

    table = damage(masked, batches, n_experts, n_domains)
    every = torch.stack([masked(batch, None).sum() for batch in batches]).sum()
    return table + every - every


@EXERCISE.right
def by_names(losses, batches, n_experts, n_domains):
    def named(batch, expert):
        return losses(batch=batch, expert=expert)

    return damage(named, batches, n_experts, n_domains).double()


@EXERCISE.right
def domain_by_domain(losses, batches, n_experts, n_domains):
    def mean(expert, domain):
        found = [
            losses(batch, expert)[(batch.targets != -100) & (batch.domain_ids == domain)[:, None]]
            for batch in batches
        ]
        return torch.cat(found).double().mean()

    rows = [
        [mean(expert, domain) - mean(None, domain) for domain in range(n_domains)]
        for expert in range(n_experts)
    ]
    return torch.tensor(rows, dtype=torch.float64)


@EXERCISE.right
def all_tokens_in_one_row(losses, batches, n_experts, n_domains):
    asked = torch.cat([(b.targets != -100).flatten() for b in batches])
    owner = torch.cat([b.domain_ids.repeat_interleave(b.targets.shape[1]) for b in batches])[asked]
    share = torch.nn.functional.one_hot(owner, n_domains).float()
    share = share / share.sum(dim=0)
    flat = [
        torch.cat([losses(b, expert).flatten() for b in batches])[asked]
        for expert in (None, *range(n_experts))
    ]
    return torch.stack([one - flat[0] for one in flat[1:]]) @ share
