"""A run that was killed and resumed ends exactly where an undisturbed one does."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.train.config import TrainConfig
from moe_teach.train.loop import train
from moe_teach.train.record import History
from moe_teach.train.state import step_of

CONFIG = TrainConfig(
    steps=11,
    warmup=3,
    batch_size=6,
    seq_len=7,
    lr=0.02,
    bias_update_rate=0.01,
    checkpoint_every=3,
    accumulate=2,
)
SHORT = replace(CONFIG, steps=5, checkpoint_every=2)
VICTIM = """
import os, signal, sys
import torch
sys.path.insert(0, sys.argv[2])
from conftest import TinyBatches, tiny_config
from moe_teach.train.config import TrainConfig
from moe_teach.train.loop import train
from moe_teach.train.seeding import seeded_model

torch.set_num_threads(1)

def die(record):
    if record.step == 7:
        os.kill(os.getpid(), signal.SIGKILL)

model = seeded_model(tiny_config(jitter=0.1), 0)
train(model, TinyBatches(), TrainConfig(**eval(sys.argv[3])), validation=[TinyBatches().at(99)],
      evaluate_every=2, checkpoint_dir=sys.argv[1], progress=False, on_step=die)
"""


def run(model, batches, folder, config=SHORT, **options):
    return train(
        model,
        batches,
        config,
        validation=[batches.at(99)],
        evaluate_every=2,
        checkpoint_dir=folder,
        progress=False,
        **options,
    )


def assert_same_weights(one, other):
    for (name, a), (_, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


def without_clock(path: Path) -> dict:
    stored = json.loads(path.read_text())
    del stored["tokens_per_second"], stored["cpu_seconds"]
    return stored


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_run_killed_in_mid_flight_resumes_to_the_same_bits(make_model, batches, tmp_path):
    arguments = (str(tmp_path / "a"), str(Path(__file__).parent), repr(CONFIG.as_dict()))
    victim = subprocess.run(
        [sys.executable, "-c", VICTIM, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert victim.returncode == -signal.SIGKILL, victim.stderr
    assert step_of(tmp_path / "a", "latest") == 6

    resumed, undisturbed = make_model(jitter=0.1, seed=5), make_model(jitter=0.1)
    one = run(resumed, batches, tmp_path / "a", CONFIG)
    other = run(undisturbed, batches, tmp_path / "b", CONFIG)

    assert one == other
    assert_same_weights(resumed, undisturbed)
    histories = [without_clock(tmp_path / name / "history.json") for name in "ab"]
    assert histories[0] == histories[1]


def test_a_finished_run_is_not_run_again(make_model, batches, tmp_path):
    first, second = make_model(), make_model(seed=1)
    history = run(first, batches, tmp_path)
    seen = []
    assert run(second, batches, tmp_path, on_step=seen.append) == history
    assert not seen
    assert_same_weights(first, second)


def test_beginning_anew_forgets_the_old_checkpoints(make_model, batches, tmp_path):
    run(make_model(), batches, tmp_path)
    shorter = replace(SHORT, steps=3)
    history = run(make_model(), batches, tmp_path, config=shorter, resume=False)
    assert len(history) == 3
    assert (step_of(tmp_path, "previous"), step_of(tmp_path, "latest")) == (2, 3)


def test_another_setting_or_other_data_or_another_model_is_refused(make_model, batches, tmp_path):
    run(make_model(), batches, tmp_path)
    with pytest.raises(ValueError, match=r"lr was 0\.02 and is 0\.01.*resume=False"):
        run(make_model(), batches, tmp_path, config=replace(SHORT, lr=0.01))
    shifted = type("Shifted", (), {"at": lambda _self, step: batches.at(step + 1)})()
    with pytest.raises(ValueError, match="trained on other batches"):
        train(make_model(), shifted, SHORT, checkpoint_dir=tmp_path, progress=False)
    with pytest.raises(ValueError, match="holds another model"):
        run(make_model(n_experts=6), batches, tmp_path)


def test_checkpointing_more_often_changes_nothing(make_model, batches, tmp_path):
    history = run(make_model(), batches, tmp_path)
    again = run(make_model(), batches, tmp_path, config=replace(SHORT, checkpoint_every=1))
    assert again.records == history.records


def test_a_damaged_checkpoint_costs_its_steps_and_nothing_else(make_model, batches, tmp_path):
    first, second = make_model(), make_model(seed=1)
    history = run(first, batches, tmp_path)
    (tmp_path / "checkpoint.json").write_text("{")
    seen = []
    assert run(second, batches, tmp_path, on_step=seen.append) == history
    assert [record.step for record in seen] == [4]
    assert_same_weights(first, second)


def test_tied_embeddings_survive_a_checkpoint(batches, tmp_path):
    from moe_teach.train.seeding import seeded_model

    tied = ModelConfig(
        n_layers=1,
        d_model=16,
        vocab_size=29,
        attention=AttentionConfig(n_heads=2, n_kv_heads=1, d_head=8),
        moe=MoEConfig(router=RouterConfig(n_experts=3, top_k=1), d_ff=8),
        tie_embeddings=True,
        max_seq_len=8,
    )
    one, other = seeded_model(tied, 0), seeded_model(tied, 1)
    run(one, batches, tmp_path)
    run(other, batches, tmp_path)
    assert_same_weights(one, other)
    assert other.unembedding.weight is other.embedding.weight


def test_a_history_in_the_making_can_be_read_beside_its_checkpoint(make_model, batches, tmp_path):
    lengths = []
    run(
        make_model(),
        batches,
        tmp_path,
        on_step=lambda record: (
            record.step == 3 and lengths.append(len(History.load(tmp_path / "history.json")))
        ),
    )
    assert lengths == [4]


def test_a_folder_in_a_home_that_does_not_exist_is_refused_in_a_sentence(make_model, batches):
    with pytest.raises(FileNotFoundError, match="name the folder without ~"):
        run(make_model(), batches, "~no-such-user/run")
