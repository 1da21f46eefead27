"""Chapter 06: solutions are the library's rules, runs differ in what they say, and repeat."""

from dataclasses import asdict, replace

import pytest
import torch

from moe_teach.chapters import ch06_load_balancing as checks
from moe_teach.chapters.ch06_load_balancing.experiments import EXPERIMENTS, alike
from moe_teach.chapters.ch06_load_balancing.experiments import kinds as kinds
from moe_teach.chapters.ch06_load_balancing.experiments import replay as replay
from moe_teach.chapters.ch06_load_balancing.experiments import text as text
from moe_teach.course import materials
from moe_teach.course.experiments import stored
from moe_teach.ops.balance import load_entropy, max_violation, update_expert_bias
from moe_teach.ops.losses import load_balance_loss, router_z_loss
from moe_teach.types import Routing
from moe_teach.widgets.replay_record import Replay

SHORT = 12  # steps: enough to tell runs apart


@pytest.fixture
def reference():
    """The solution of an exercise, by its number."""
    return lambda number: materials.reference(checks.EXERCISES[number - 1])


@pytest.fixture
def routing():
    logits = torch.randn(23, 7) + torch.linspace(1, -1, 7)
    probs = logits.softmax(dim=-1)
    gates, expert_ids = probs.topk(3, dim=-1)
    return Routing(logits, probs, gates, expert_ids)


@pytest.fixture(scope="module")
def window():
    return text.text_data(0)[1][0]


def test_the_losses_of_the_exercises_are_the_librarys(reference, routing):
    balance, z = reference(1), reference(2)

    torch.testing.assert_close(
        balance(routing.probs, routing.expert_ids), load_balance_loss(routing)
    )
    torch.testing.assert_close(z(routing.logits), router_z_loss(routing))


def test_the_step_and_the_report_of_the_exercises_are_the_librarys(reference, routing):
    step, report = reference(3), reference(4)
    bias, counts = torch.randn(7), torch.bincount(routing.expert_ids.flatten(), minlength=7)

    torch.testing.assert_close(
        step(bias, routing.expert_ids, 0.1), update_expert_bias(bias, counts, 0.1)
    )
    said = report(counts[None])
    assert said["max_violation"] == pytest.approx(float(max_violation(routing)), rel=1e-5)
    assert said["entropy"] == pytest.approx(float(load_entropy(routing)), rel=1e-5)


def test_tokens_share_what_the_setting_says():
    plain, raised = (kinds.tokens_of_kinds(1, 50, shared) for shared in (0.0, 4.0))

    torch.testing.assert_close(raised.x, plain.x + 4.0)
    assert torch.equal(plain.label, raised.label) and torch.equal(plain.kind, raised.kind)
    assert set(plain.label.tolist()) == {0, 1}


@pytest.mark.parametrize("name", kinds.METHODS)
def test_a_run_of_the_toy_repeats_and_every_batch_is_counted_once(name):
    setting = replace(kinds.METHODS[name], steps=SHORT)
    first, again = (kinds.train_kinds(setting, seed=2) for _ in range(2))

    assert torch.equal(first.counts, again.counts) and first.accuracy == again.accuracy
    assert first.counts.shape == (SHORT, 8)
    assert set(first.counts.sum(dim=1).tolist()) == {kinds.BATCH}


def test_all_methods_meet_the_same_first_batch():
    plain, loss = (
        kinds.train_kinds(replace(kinds.METHODS[name], steps=SHORT), seed=2)
        for name in ("no balancing", "Switch loss")
    )

    assert torch.equal(plain.counts[0], loss.counts[0])
    assert not torch.equal(plain.counts, loss.counts)


def test_a_detached_loss_changes_nothing():
    cut = replace(kinds.REFERENCES["Switch loss, detached"], steps=SHORT)
    detached, plain = (kinds.train_kinds(s, 2) for s in (cut, kinds.Setting(steps=SHORT)))

    assert torch.equal(detached.weights, plain.weights)


def test_experts_that_choose_are_equally_busy_at_every_step():
    chosen = kinds.train_kinds(replace(kinds.METHODS["expert choice"], steps=SHORT), seed=2)

    assert set(chosen.counts.flatten().tolist()) == {kinds.BATCH // 8}


def test_experts_in_use_have_a_tenth_of_the_fair_share():
    counts = torch.tensor([900, 80, 20, 0])  # the limit is 25 of 1000
    run = kinds.Run(counts[None], 0.5, counts, torch.zeros(4, 16))

    assert run.alive == 2


def test_dead_experts_are_counted_over_all_layers():
    seen = text.summary(torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.99, 0.01, 0.0, 0.0]]))

    assert seen["dead"] == 3
    assert seen["max_violation"] == pytest.approx((0 + 2.96) / 2, abs=1e-3)


def test_only_expert_choice_lets_the_last_byte_reach_back(window):
    leaks = {
        name: text.share_of_leaks(text.text_model(text.TEXT[name], seed=0), window)
        for name in ("no balancing", "hash", "expert choice")
    }

    assert leaks["no balancing"] == leaks["hash"] == 0 < leaks["expert choice"]


def test_tokens_that_are_one_token_look_alike(window):
    model = text.text_model(text.TEXT["no balancing"], seed=0)
    same = replace(window, inputs=torch.full_like(window.inputs, 65))

    assert alike.likeness(model, same) == pytest.approx(1, abs=1e-3)
    assert alike.likeness(model, window) < 0.6
    assert not any(router._forward_pre_hooks for router in alike.routers_of(model))


def test_choosing_by_token_lasts_as_long_as_its_block(window):
    model = text.text_model(text.TEXT["expert choice"], seed=0).eval()
    with text.choosing_by_token(model), torch.no_grad():
        inside = model(window.inputs[:4]).routings[0].top_k
    with torch.no_grad():
        outside = model(window.inputs[:4]).routings[0].top_k

    assert (inside, outside) == (1, text.N_EXPERTS)


def test_a_run_of_the_language_model_repeats():
    setting = replace(text.TEXT["expert bias 0.001"], steps=20)
    first, again = (text.train_text(setting, seed=1)[1] for _ in range(2))

    assert first.records == again.records


def test_a_recorder_leaves_a_replay_and_does_not_disturb_the_run():
    setting = replace(text.TEXT["expert choice"], steps=20)
    recorder = replay.Recorder(20, seed=1, n_snapshots=2)
    _, watched = text.train_text(setting, seed=1, watch=recorder)
    _, alone = text.train_text(setting, seed=1)
    seen = Replay(**recorder.fields)

    assert watched.records == alone.records
    assert seen.steps == [10, 20] and seen.n_experts == text.N_EXPERTS
    assert "".join(seen.text) == replay.PROBE


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_stored_results_belong_to_the_settings_of_today(experiment):
    grid = stored(experiment.name)

    assert list(grid.names) == list(experiment.settings)
    for cell in grid.cells:
        assert cell.settings == asdict(experiment.settings[cell.name])
    for name in grid.names:
        assert [cell.seed for cell in grid.of(name)] == list(experiment.seeds)


def test_a_centred_router_sees_no_common_part_and_likeness_still_does(window):
    model = text.text_model(alike.AlikeSetting(), seed=0)
    before, seen = alike.likeness(model, window), []
    alike.centre_routers(model)
    for router in alike.routers_of(model):
        router.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].mean(dim=0)))

    assert alike.likeness(model, window) == pytest.approx(before, abs=0.02)
    assert len(seen) == 2 and all(mean.abs().max() < 1e-5 for mean in seen)
