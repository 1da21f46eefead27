"""The measure of exercise 2.8: what paints right, and what nobody can surpass."""

import torch

from moe_teach.chapters.ch02_mixtures import own_error
from moe_teach.chapters.ch02_mixtures.experiments import CENTRES, draw_world, stacked


def of_the_truth(seed):
    """Give the true maps, fitted to the training places, and a router that knows the centres."""
    train, _ = draw_world(seed)
    maps = [
        torch.linalg.lstsq(
            train.x.T[train.region == one], train.y.T[train.region == one]
        ).solution.T
        for one in range(6)
    ]
    router = torch.cat([2 * CENTRES, -CENTRES.square().sum(dim=1, keepdim=True)], dim=1)
    return torch.stack(maps), router


def test_the_truth_paints_nearly_everything_right():
    seeds = own_error.worlds_of(0)
    experts, router = map(torch.stack, zip(*map(of_the_truth, seeds), strict=True))
    new = stacked(tuple(draw_world(seed)[1] for seed in seeds))

    share = own_error._painted_right(experts, router, new).mean().item()

    assert 0.985 < share < 0.997


def test_a_router_that_points_elsewhere_paints_hardly_anything_right():
    experts, router = map(torch.stack, zip(of_the_truth(10_000), strict=True))
    new = stacked((draw_world(10_000)[1],))

    assert own_error._painted_right(experts, router.flip(1), new).item() < 0.3


def test_checks_with_other_seeds_meet_other_worlds():
    assert not set(own_error.worlds_of(0)) & set(own_error.worlds_of(1))


def test_adam_steps_as_that_of_torch():
    random = torch.Generator().manual_seed(0)
    start = torch.randn(2, 5, generator=random)
    theirs = start.clone().requires_grad_()
    ours = own_error._Adam(start.clone().requires_grad_())
    optimiser = torch.optim.Adam([theirs], lr=0.05)
    for _ in range(20):
        theirs.grad = torch.randn(2, 5, generator=random)
        ours.step(theirs.grad)
        optimiser.step()

    torch.testing.assert_close(ours.weight, theirs, rtol=0, atol=1e-7)
