"""Chapter 06's long runs: a stack is the toy, and each control takes away one thing."""

from dataclasses import replace

import pytest
import torch

from moe_teach.chapters.ch06_load_balancing.experiments import (
    EXPERIMENTS,
    causal,
    kinds,
    longer,
    stack,
    text,
    text_longer,
)
from moe_teach.course.experiments import stored
from moe_teach.train.bias import routers_of
from moe_teach.train.horizons import best_rates

SEEDS, STEPS = (2, 5), 25
TWINS = {
    "no balancing": stack.Trial(),
    "Switch loss": stack.Trial(load_balance_coef=0.1),
    "z-loss": stack.Trial(z_loss_coef=0.01),
    "expert bias": stack.Trial(bias_update_rate=0.01),
    "expert choice": stack.Trial(router="expert choice"),
    "dealt like cards": stack.Trial(router="by sample"),
}


@pytest.mark.parametrize("name", TWINS)
def test_a_run_of_a_stack_is_a_run_of_the_toy(name):
    stacked = longer.train_stack(TWINS[name], kinds.LEARNING_RATE, SEEDS, (STEPS,))

    for run, seed in zip(stacked, SEEDS, strict=True):
        alone = kinds.train_kinds(replace(kinds.METHODS[name], steps=STEPS), seed)
        assert run["accuracy"] == [pytest.approx(alone.accuracy, abs=2e-3)]
        assert run["alive"] == [alone.alive]


def step_of(trial):
    """Gradients of one step: router, and first layer by expert (E, D, F)."""
    made, samples = stack.begin(trial, (0,))
    for part in (made.router, made.w_up, made.w_down):
        part.requires_grad_()
    rows = torch.arange(60)[None]
    batch = longer._batch(samples, rows)
    loss, taken, _ = stack.step_loss(made, batch, torch.Generator())
    router, up = torch.autograd.grad(loss.sum(), [made.router, made.w_up], allow_unused=True)
    return router, up[0].unflatten(1, (8, -1)).transpose(0, 1), taken[0].sum(dim=0) > 0


def test_all_experts_learn_while_the_routers_gradient_stays_as_it_was():
    router, up, asked = step_of(stack.Trial())
    same, everyone, _ = step_of(stack.Trial(learners="all"))

    torch.testing.assert_close(same, router)
    assert (up.abs().amax(dim=(1, 2)) > 0).tolist() == asked.tolist()
    assert not asked.all() and (everyone.abs().amax(dim=(1, 2)) > 0).all()


def test_a_router_that_is_told_hears_of_experts_that_nobody_asked():
    made, samples = stack.begin(stack.Trial(told=True), (0,))
    made.router.requires_grad_()
    batch = longer._batch(samples, torch.arange(60)[None])
    loss, taken, _ = stack.step_loss(made, batch, torch.Generator())
    (gradient,) = torch.autograd.grad(loss.sum(), [made.router])

    idle = taken[0].sum(dim=0) == 0
    assert idle.any() and (gradient[0][:, idle].abs().amax(dim=0) > 1e-6).all()


@pytest.mark.parametrize(
    ("who", "router", "experts"), [("router", True, False), ("experts", False, True)]
)
def test_centring_takes_the_mean_from_one_side_only(who, router, experts):
    made, samples = stack.begin(stack.Trial(centred=who), (0,))
    x = samples.x[:, : kinds.N_TRAIN]
    means = [made.seen_by(side, x).mean(dim=1).abs().max() < 1e-3 for side in ("router", "experts")]

    assert [bool(mean) for mean in means] == [router, experts]


def test_experts_that_do_not_learn_are_not_moved():
    assert len(stack.begin(stack.Trial(learners="none"), (0,))[0].parameters) == 1


def test_narrow_logits_are_rounded_and_wide_ones_are_not():
    made, samples = stack.begin(stack.Trial(narrow=True), (0,))
    rounded, exact = made.logits(samples.x), made.logits(samples.x, narrow=False)

    assert torch.equal(rounded, rounded.bfloat16().float())
    assert 0 < (rounded - exact).abs().max() < 0.02 * exact.abs().max()


def test_thresholds_take_whom_experts_took_and_look_at_nobody_else():
    window = text.text_data(0)[1][0]
    model = text.text_model(text.TEXT["expert choice"], seed=0)
    thresholds = causal.Thresholds()
    with thresholds.watching(model):
        model(window.inputs)
    model.eval()
    with torch.no_grad():
        together = model(window.inputs).routings[0]
        with thresholds.choosing(model):
            apart = model(window.inputs).routings[0]
            leaks = text.share_of_leaks(model, window)
            assert text.share_of_leaks(model, window) == leaks == 0

    assert (apart.kept == together.kept).float().mean() > 0.99
    assert not any(router._forward_hooks for router in routers_of(model))


def test_a_test_in_between_leaves_the_thresholds_alone():
    window = text.text_data(0)[1][0]
    model = text.text_model(text.TEXT["expert choice"], seed=0)
    thresholds = causal.Thresholds()
    with thresholds.watching(model):
        model(window.inputs)
        before = thresholds.of[0].clone()
        with torch.no_grad():
            model(window.inputs + 1)

    assert torch.equal(thresholds.of[0], before)


@pytest.mark.parametrize("name", ["06_text_rates", "06_text_horizons"])
def test_stored_runs_of_the_language_model_are_all_there(name):
    experiment = next(one for one in EXPERIMENTS if one.name == name)
    wanted = [(key, seed) for key in experiment.settings for seed in experiment.seeds]
    assert [(cell.name, cell.seed) for cell in stored(name).cells] == wanted


def test_rates_of_the_language_model_are_those_that_the_search_found():
    assert best_rates(stored("06_text_rates"), "loss", lowest=True) == text_longer.BEST
