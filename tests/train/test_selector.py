"""A selector is a part of the loop: it chooses by score, and a resumed run chooses the same."""

from dataclasses import replace

import pytest
import torch

from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.cost.compute import forward_flops
from moe_teach.data.batches import NO_TARGET, Batch, Batches
from moe_teach.nn.model import Model
from moe_teach.train.config import TrainConfig
from moe_teach.train.loop import train
from moe_teach.train.selector import ScoreSelector, row_losses, scoring_flops, selected

CONFIG = ModelConfig(
    vocab_size=16,
    n_layers=1,
    d_model=8,
    attention=AttentionConfig(n_heads=1, n_kv_heads=1, d_head=8),
    moe=MoEConfig(router=RouterConfig(n_experts=2, top_k=1, jitter=0.1), d_ff=8),
)
TRAIN = TrainConfig(steps=6, batch_size=2, seq_len=8, lr=1e-2, warmup=0)


def model_of(seed: int = 0) -> Model:
    torch.manual_seed(seed)
    return Model(CONFIG)


def stream(n_rows: int = 6) -> Batches:
    """Half counting, which can be learned, half noise, which cannot."""
    generator = torch.Generator().manual_seed(0)
    texts = {
        "counting": torch.arange(3000) % 8,
        "noise": torch.randint(0, 16, (3000,), generator=generator),
    }
    return Batches(texts, n_rows, 8, seed=0)


def contents(model: Model) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@pytest.fixture(scope="module")
def reference() -> Model:
    model = model_of(7)
    counting = Batches({"counting": torch.arange(3000) % 8}, 4, 8, seed=1)
    train(model, counting, replace(TRAIN, steps=60, batch_size=4), progress=False)
    return model.eval()


@pytest.mark.parametrize("rule", ["even", "learnability", "easy", "hard"])
def test_a_run_that_was_stopped_chooses_and_learns_what_it_would_have(tmp_path, reference, rule):
    def run(folder, stop_at: int | None = None):
        model = model_of()
        torch.rand(3 if stop_at else 1)  # whatever was drawn before must not matter
        selector = ScoreSelector(rule, 6, reference, seed=3)
        config = replace(TRAIN, checkpoint_every=2)

        def stopping(record):
            if record.step + 1 == stop_at:
                raise KeyboardInterrupt

        train(
            model,
            stream(),
            config,
            checkpoint_dir=folder,
            progress=False,
            on_step=stopping if stop_at else None,
            selector=selector,
        )
        return contents(model)

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", stop_at=5)
    resumed = run(tmp_path / "cut")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_another_selector_is_another_run(tmp_path):
    def begin(selector):
        train(
            model_of(), stream(), TRAIN, checkpoint_dir=tmp_path, progress=False, selector=selector
        )

    begin(ScoreSelector("even", 6))
    for other in (
        ScoreSelector("hard", 6),
        ScoreSelector("even", 6, seed=1),
        ScoreSelector("even", 6, scale=2.0),
    ):
        with pytest.raises(ValueError, match="trained on other batches"):
            begin(other)


def test_another_reference_is_another_run_where_the_rule_asks_one():
    def names(rule):
        return {ScoreSelector(rule, 6, model_of(seed)).name for seed in (1, 1, 2)}

    assert len(names("learnability")) == len(names("easy")) == 2
    assert len(names("even")) == len(names("hard")) == 1


def test_learnability_finds_what_can_be_learned_and_hardness_the_noise(reference):
    candidates = stream(40).at(0)
    shares = {}
    for rule in ("even", "learnability", "easy", "hard"):
        selector = ScoreSelector(rule, 40, reference, scale=50.0)
        # A learner that knows some of it finds the noise harder.
        chosen = selector.choose(reference if rule == "hard" else model_of(), candidates, 10, 0)
        shares[rule] = float((candidates.domain_ids[chosen] == 0).double().mean())
    assert shares["learnability"] == shares["easy"] == 1.0
    assert shares["hard"] == 0.0
    assert 0 < shares["even"] < 1


def test_steps_draw_anew_and_the_same_step_draws_the_same():
    candidates, selector = stream(40).at(0), ScoreSelector("even", 40, seed=1)
    one, same, other = (
        selector.choose(model_of(), candidates, 10, step).tolist() for step in (4, 4, 5)
    )
    assert one == same != other
    assert ScoreSelector("even", 40, seed=2).choose(model_of(), candidates, 10, 4).tolist() != one


def test_a_scale_of_nothing_draws_evenly():
    candidates, model = stream(40).at(0), model_of()
    blind, even = (
        ScoreSelector(rule, 40, scale=scale).choose(model, candidates, 10, 0).tolist()
        for rule, scale in (("hard", 0.0), ("even", 8.0))
    )
    assert blind == even


def test_a_rows_loss_is_the_mean_over_what_is_asked():
    model = model_of().train()
    batch = stream(3).at(0)
    targets = batch.targets.clone()
    targets[0, :5] = NO_TARGET
    targets[1] = NO_TARGET
    found = row_losses(model, replace(batch, targets=targets))
    logits = model.eval()(batch.inputs).logits.log_softmax(-1)
    picked = -logits.gather(2, batch.targets[..., None])[..., 0].detach()
    assert float(found[0]) == pytest.approx(float(picked[0, 5:].mean()), abs=1e-5)
    assert float(found[1]) == 0
    assert float(found[2]) == pytest.approx(float(picked[2].mean()), abs=1e-5)
    model.train()
    row_losses(model, batch)
    assert model.training


def test_a_choice_keeps_rows_whole():
    candidates = stream(6).at(0)
    real = torch.rand(6, 8) > 0.3
    batch = selected(ScoreSelector("even", 6), model_of(), replace(candidates, real=real), 2, 0)
    for i in range(2):
        places = (candidates.inputs == batch.inputs[i]).all(1).nonzero().flatten()
        assert any(torch.equal(batch.real[i], real[place]) for place in places)
        assert any(torch.equal(batch.targets[i], candidates.targets[place]) for place in places)


def test_what_scoring_costs_is_counted():
    once = forward_flops(CONFIG, 4) * 8
    bills = {
        rule: scoring_flops(rule, CONFIG, CONFIG, 8)
        for rule in ("even", "hard", "easy", "learnability")
    }
    assert bills == {"even": 0, "hard": once, "easy": once, "learnability": 2 * once}


def test_mistakes_are_answered_in_sentences(reference):
    with pytest.raises(ValueError, match="give the model that was trained before"):
        ScoreSelector("learnability", 6)
    rows = torch.zeros(3, 8, dtype=torch.long)
    few = Batch(rows, rows, torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="looks at 6 rows, and the batches have 3"):
        selected(ScoreSelector("even", 6), model_of(), few, 2, 0)
