"""Measuring a model and letting it speak."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from moe_teach.analysis.load import loads_of
from moe_teach.data.batches import NO_TARGET
from moe_teach.nn.model import ModelOutput
from moe_teach.ops.balance import load
from moe_teach.train.config import TrainConfig
from moe_teach.train.evaluate import evaluate
from moe_teach.train.generate import generate
from moe_teach.train.loop import Trainer


def test_evaluation_weighs_every_token_once(make_model, batches):
    """Batches of unequal size and domain, some targets masked: all compared with one sum."""
    model = make_model()
    fixed = [batches.at(1), batches.at(2)]
    fixed[0].targets[::2, :5] = NO_TARGET
    found = evaluate(model, fixed, batches.domains)

    nats, domains = [], []
    for batch in fixed:
        logits = model(batch.inputs).logits.flatten(0, 1)
        losses = F.cross_entropy(logits, batch.targets.flatten(), reduction="none")
        kept = batch.targets.flatten() != NO_TARGET
        nats.append(losses[kept])
        domains.append(batch.domain_ids.repeat_interleave(7)[kept])
    nats, domains = torch.cat(nats), torch.cat(domains)
    assert found.loss == pytest.approx(nats.mean().item(), rel=1e-6)
    assert list(found.loss_per_domain) == ["by one", "by two"]
    for index, loss in enumerate(found.loss_per_domain.values()):
        assert loss == pytest.approx(nats[domains == index].mean().item(), rel=1e-6)


def test_loads_are_summed_over_all_batches_and_not_read_off_the_last(make_model, batches):
    model = make_model().eval()
    fixed = [batches.at(1), batches.at(2), batches.at(3)]
    found = evaluate(model, fixed)

    for layer in range(2):
        counts = sum(
            torch.bincount(model(batch.inputs).routings[layer].expert_ids.flatten(), minlength=5)
            for batch in fixed
        )
        assert found.loads[layer] == pytest.approx(load(counts).tolist())
        by_domain = [found.loads_per_domain[name][layer] for name in ("0", "1")]
        mean = [(a + b) / 2 for a, b in zip(*by_domain, strict=True)]
        assert found.loads[layer] == pytest.approx(mean)


def test_nothing_to_evaluate_is_said(make_model, batches):
    batch = batches.at(0)
    batch.targets.fill_(NO_TARGET)
    for fixed in ([], [batch]):
        with pytest.raises(ValueError, match="nothing to evaluate"):
            evaluate(make_model(), fixed)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 1.7])
def test_the_cache_changes_nothing_but_the_time(make_model, temperature):
    model = make_model().double()
    options = {"temperature": temperature, "seed": 3}
    cached = generate(model, [1, 2, 3], 20, **options)
    assert cached == generate(model, [1, 2, 3], 20, use_cache=False, **options)
    assert len(cached) == 20


def test_seeds_and_top_k_steer_the_choice(make_model):
    model = make_model().train()
    texts = [generate(model, [4], 15, seed=seed) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]
    assert generate(model, [4], 15, top_k=1) == generate(model, [4], 15, temperature=0.0)
    assert model.training


class FixedModel(nn.Module):
    """Say the same logits whatever it reads."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, token_ids, cache):
        return ModelOutput(self.logits.expand(*token_ids.shape, -1), ())


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_sampling_follows_the_models_probabilities(temperature):
    model = FixedModel(torch.tensor([0.0, 1.0, 2.0, -1.0]))
    probs = (model.logits / temperature).softmax(-1).tolist()
    drawn = generate(model, [0], 400, temperature=temperature, use_cache=False)
    shares = torch.bincount(torch.tensor(drawn), minlength=4) / 400
    # With 400 draws a share of p strays by at most 5 standard deviations.
    for share, p in zip(shares.tolist(), probs, strict=True):
        assert share == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / 400))


@pytest.mark.parametrize(
    ("arguments", "options", "word"),
    [
        (([], 3), {}, "nothing to continue"),
        (([1], 3), {"temperature": -1.0}, "temperature"),
        (([1], 3), {"top_k": 0}, "top_k"),
        (([1], 40), {}, "at most 32"),
    ],
)
def test_impossible_wishes_are_refused_in_a_sentence(make_model, arguments, options, word):
    with pytest.raises(ValueError, match=word):
        generate(make_model(), *arguments, **options)


@pytest.mark.parametrize("policy", ["first_come", "by_gate", "random"])
def test_a_capacity_turns_no_token_of_a_text_away(make_model, policy):
    model = make_model(capacity_factor=0.5, drop_policy=policy).double()
    cached = generate(model, [1, 2, 3], 12, temperature=0.0)
    assert cached == generate(model, [1, 2, 3], 12, temperature=0.0, use_cache=False)
    assert [block.ffn.capacity_factor for block in model.blocks] == [0.5, 0.5]


def test_experts_that_choose_need_to_see_the_text(make_model):
    model = make_model(choice="expert")
    with pytest.raises(ValueError, match="use_cache=False"):
        generate(model, [1, 2, 3], 4)
    assert len(generate(model, [1, 2, 3], 4, use_cache=False)) == 4


@pytest.mark.parametrize(
    "noise",
    [
        {"jitter": 0.3},
        {"noisy": True},
        {"choice": "expert"},
        {"capacity_factor": 0.5, "drop_policy": "random"},
    ],
    ids=str,
)
def test_evaluation_draws_nothing(make_model, batches, noise):
    model = make_model(**noise).train()
    assert len({evaluate(model, [batches.at(0)]).loss for _ in range(3)}) == 1


def test_where_experts_choose_their_choice_is_reported(make_model, batches):
    model, batch = make_model(choice="expert").eval(), batches.at(0)
    found, kept = evaluate(model, [batch]), model(batch.inputs).routings[0].kept
    of_row = torch.arange(6) % 2
    for domain in (0, 1):
        counts = kept.view(6, 7, 5)[of_row == domain].sum(dim=(0, 1))
        assert found.loads_per_domain[str(domain)][0] == pytest.approx(load(counts).tolist())
    assert found.loads_per_domain["0"] != found.loads_per_domain["1"]
    for row, ours in zip(
        loads_of(model, [batch], ("a", "b"))[0].load_per_domain, "01", strict=True
    ):
        assert row.tolist() == pytest.approx(found.loads_per_domain[ours][0])


def test_a_token_outside_the_vocabulary_is_refused_before_it_travels(make_model, batches):
    model, batch = make_model(), batches.at(0)
    batch.inputs[0, 0] = 29
    for asked in (
        lambda: evaluate(model, [batch]),
        lambda: Trainer(model, TrainConfig(steps=1, warmup=0, batch_size=6, seq_len=7)).advance(
            batch
        ),
        lambda: generate(model, [1, -1], 3),
    ):
        with pytest.raises(ValueError, match="Token ids must lie between 0 and 28"):
            asked()
