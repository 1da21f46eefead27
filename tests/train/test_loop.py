"""The loop learns, records, evaluates, and stops with a sentence when a number breaks."""

import math
from dataclasses import replace

import pytest
import torch

from moe_teach.train.config import TrainConfig
from moe_teach.train.loop import Trainer, TrainingStopped, train
from moe_teach.train.record import History
from moe_teach.train.state import load_weights, step_of
from tests.train.breaking import BreakingBatches


def settings(**changes) -> TrainConfig:
    defaults = {"steps": 30, "warmup": 3, "batch_size": 6, "seq_len": 7, "lr": 0.02}
    return TrainConfig(**{**defaults, **changes})


@pytest.mark.parametrize("moe", [True, False], ids=["experts", "dense"])
def test_the_loop_learns_to_count(make_model, batches, moe):
    model = make_model(moe)
    validation = [batches.at(10_000)]
    history = train(
        model, batches, settings(), evaluate_every=10, validation=validation, progress=False
    )

    assert history.column("step") == list(range(30))
    assert history.records[0].task_loss == pytest.approx(math.log(29), abs=0.1)
    assert history.records[-1].task_loss < 2.3
    assert [step for step, _ in history.validation] == [9, 19, 29]
    assert history.validation[-1][1] < 2.3


def test_every_record_tells_about_every_layer(make_model, batches):
    seen = []
    config = settings(steps=3)
    history = train(make_model(), batches, config, progress=False, on_step=seen.append)

    assert tuple(seen) == history.records
    for record in seen:
        assert len(record.loads) == len(record.max_violation) == 2
        for loads, violation in zip(record.loads, record.max_violation, strict=True):
            assert sum(loads) == pytest.approx(1, abs=1e-5)
            assert max(loads) * 5 - 1 == pytest.approx(violation, abs=1e-4)
        assert record.grad_norm > 0
        assert record.tokens_per_second > 0


def test_two_runs_are_equal_and_another_seed_of_noise_is_not(make_model, batches):
    runs = [
        train(make_model(jitter=0.2), batches, settings(steps=4, seed=seed), progress=False)
        for seed in (0, 0, 1)
    ]
    assert runs[0] == runs[1]
    assert runs[0].records != runs[2].records


def test_clipping_bounds_the_step_and_zero_means_off(make_model, batches):
    for clip, norm_after in ((1e-3, 1e-3), (0.0, None)):
        trainer = Trainer(make_model(), settings(clip=clip))
        record = trainer.advance(batches.at(0))
        norm = torch.stack([p.grad.norm() for p in trainer.model.parameters()]).norm().item()
        assert norm == pytest.approx(norm_after or record.grad_norm, rel=1e-3)
        assert record.grad_norm > 1e-3


def test_a_nan_loss_stops_with_a_sentence_and_the_last_good_checkpoint(
    make_model, batches, tmp_path
):
    model = make_model()
    config = settings(steps=9, checkpoint_every=2)
    with pytest.raises(TrainingStopped, match="step 6, because task_loss is nan") as stop:
        train(
            model,
            BreakingBatches(batches, model, 6),
            config,
            checkpoint_dir=tmp_path,
            progress=False,
        )

    # The checkpoint after 6 steps holds what failed at the next one, so it is not called good.
    assert f"The last good checkpoint, of step 4, is in {tmp_path}" in str(stop.value)
    assert "or, of a recipe, FILE.toml:previous to a command." in str(stop.value)
    fresh = make_model(seed=1)
    load_weights(tmp_path, fresh, "previous")
    history = train(make_model(), batches, replace(config, checkpoint_every=0), progress=False)
    assert Trainer(fresh, config).advance(batches.at(4)).task_loss == history.records[4].task_loss


def test_a_router_that_meets_nan_stops_training_in_the_same_way(make_model, batches):
    model = make_model()
    breaking = BreakingBatches(batches, model, 2)
    model.unembedding = torch.nn.Linear(16, 29, bias=False)
    breaking.model = type("Holder", (), {"unembedding": model.embedding})
    with pytest.raises(TrainingStopped, match=r"step 2\. The router logits.*no checkpoint_dir"):
        train(model, breaking, settings(), progress=False)


def test_a_first_batch_that_does_not_fit_is_the_callers_own_error(make_model, batches):
    with pytest.raises(ValueError, match="6 sequences of 7 tokens, but the configuration says"):
        train(make_model(), batches, settings(seq_len=8), progress=False)

    class Foreign:
        def at(self, step):
            batch = batches.at(step)
            return replace(batch, inputs=batch.inputs + 29)

    with pytest.raises(ValueError, match="the tokenizer the model was built for"):
        train(make_model(), Foreign(), settings(), progress=False)


def test_a_history_comes_back_from_its_file_exactly(make_model, batches, tmp_path):
    validation = [batches.at(99)]
    config = settings(steps=5)
    history = train(make_model(), batches, config, validation=validation, progress=False)
    history.save(tmp_path / "deep" / "history.json")

    assert History.load(tmp_path / "deep" / "history.json") == history
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["history.json"]


def test_checkpoints_are_written_when_due_and_the_last_two_are_kept(make_model, batches, tmp_path):
    config = settings(steps=7, checkpoint_every=2)
    train(make_model(), batches, config, checkpoint_dir=tmp_path, progress=False)
    assert (step_of(tmp_path, "previous"), step_of(tmp_path, "latest")) == (6, 7)
    assert len(History.load(tmp_path / "history.json")) == 7
