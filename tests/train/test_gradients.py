"""Cutting a batch into pieces changes the memory of a step and nothing else."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from moe_teach.data.batches import NO_TARGET, Batch
from moe_teach.train.config import TrainConfig
from moe_teach.train.gradients import accumulate_gradients
from moe_teach.train.ranks import Ranks, shard

ALONE = Ranks()


def settings(**changes) -> TrainConfig:
    defaults = {
        "steps": 1,
        "warmup": 0,
        "batch_size": 6,
        "seq_len": 7,
        "load_balance_coef": 0.5,
        "z_loss_coef": 0.1,
    }
    return TrainConfig(**{**defaults, **changes})


def gradients(model, batch, config, ranks=ALONE):
    model.zero_grad(set_to_none=True)
    measured = accumulate_gradients(model, batch, config, ranks, 0)
    return measured, {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("n_parts", [2, 3, 6])
@pytest.mark.parametrize("factor", [0.0, 0.5], ids=["unbalanced", "balanced"])
def test_micro_batches_give_the_gradients_of_the_large_batch(make_model, batches, n_parts, factor):
    model, batch = make_model().double(), batches.at(0)
    batch.targets[0, :3] = NO_TARGET  # the parts do not have equally many targets
    one, expected = gradients(model, batch, settings(load_balance_coef=factor))
    many, got = gradients(model, batch, settings(load_balance_coef=factor, accumulate=n_parts))

    for name in expected:
        torch.testing.assert_close(got[name], expected[name], atol=1e-12, rtol=1e-9, msg=name)
    for name in ("task", "load_balance", "z"):
        torch.testing.assert_close(getattr(many, name), getattr(one, name))
    for a, b in zip(many.counts, one.counts, strict=True):
        assert torch.equal(a, b)


class ThreadRanks(Ranks):
    """Processes played by threads: the sum meets at a barrier."""

    def __init__(self, rank, desk, barrier):
        super().__init__(rank, len(desk))
        object.__setattr__(self, "meet", (desk, barrier))

    def sum_(self, tensors):
        desk, barrier = self.meet
        desk[self.rank] = [tensor.clone() for tensor in tensors]
        barrier.wait()
        totals = [sum(column) for column in zip(*desk, strict=True)]
        barrier.wait()
        for tensor, total in zip(tensors, totals, strict=True):
            tensor.copy_(total)


@pytest.mark.parametrize("scope", ["batch", "sequence"])
@pytest.mark.parametrize("n_parts", [1, 2])
def test_many_processes_give_the_gradients_of_one(make_model, batches, scope, n_parts):
    batch = batches.at(0)
    config = settings(batch_size=12, balance_scope=scope, accumulate=n_parts)
    batch.targets[0, :3] = NO_TARGET
    batch = Batch(batch.inputs.repeat(2, 1), batch.targets.repeat(2, 1), batch.domain_ids.repeat(2))
    one, expected = gradients(make_model().double(), batch, config)
    n_ranks = 3
    desk, barrier = [None] * n_ranks, threading.Barrier(n_ranks, timeout=30)

    models = [make_model().double() for _ in range(n_ranks)]  # threads share one generator

    def work(rank):
        return gradients(models[rank], batch, config, ThreadRanks(rank, desk, barrier))

    with ThreadPoolExecutor(n_ranks) as pool:
        for many, got in pool.map(work, range(n_ranks)):
            for name in expected:
                torch.testing.assert_close(got[name], expected[name], atol=1e-12, rtol=1e-9)
            for name in ("task", "load_balance", "z"):
                torch.testing.assert_close(getattr(many, name), getattr(one, name))
            assert all(map(torch.equal, many.counts, one.counts))


def test_the_control_counting_each_micro_batch_alone_gives_other_gradients(make_model, batches):
    model, batch = make_model().double(), batches.at(0)
    _, expected = gradients(model, batch, settings())
    _, got = gradients(model, batch, settings(accumulate=3, balance_scope="micro_batch"))
    router = "blocks.0.ffn.router.proj.weight"
    assert not torch.allclose(got[router], expected[router], atol=1e-6)


def test_a_sequence_scope_does_not_depend_on_micro_batches(make_model, batches):
    model, batch = make_model().double(), batches.at(0)
    _, expected = gradients(model, batch, settings(balance_scope="sequence"))
    _, got = gradients(model, batch, settings(balance_scope="sequence", accumulate=3))
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], atol=1e-12, rtol=1e-9, msg=name)


def test_counting_ahead_draws_the_same_noise_as_learning(make_model, batches):
    """With router noise the counts would otherwise belong to other choices."""
    model, batch = make_model(noisy=True, jitter=0.3).train(), batches.at(0)
    seen = []
    keep = model.blocks[0].ffn.router.register_forward_hook(
        lambda _module, _inputs, routing: seen.append(routing.expert_ids)
    )
    gradients(model, batch, settings(accumulate=2))
    keep.remove()
    ahead, learning = seen[:2], seen[2:]
    assert all(torch.equal(a, b) for a, b in zip(ahead, learning, strict=True))


def test_noise_depends_on_the_step_and_disturbs_nobody_else(make_model, batches):
    model, batch = make_model(jitter=0.3).train(), batches.at(0)
    state = torch.get_rng_state()
    config = settings()
    first = accumulate_gradients(model, batch, config, ALONE, 4)
    again = accumulate_gradients(model, batch, config, ALONE, 4)
    other = accumulate_gradients(model, batch, config, ALONE, 5)

    assert first.z == again.z != other.z
    assert torch.equal(torch.get_rng_state(), state)


def test_bfloat16_is_used_where_it_is_asked_for(make_model, batches):
    model, batch = make_model(), batches.at(0)
    exact, _ = gradients(model, batch, settings(dtype="float32"))
    auto, _ = gradients(model, batch, settings(dtype="auto"))
    rounded, grads = gradients(model, batch, settings(dtype="bfloat16"))

    assert exact.task == auto.task  # no GPU here
    assert rounded.task != exact.task
    torch.testing.assert_close(rounded.task, exact.task, atol=0.05, rtol=0.0)
    assert all(grad.dtype == torch.float32 for grad in grads.values())


@pytest.mark.parametrize("n_parts", [1, 2, 3, 6])
def test_shards_in_order_are_the_batch(n_parts):
    rows = torch.arange(12).reshape(6, 2)
    parts = [shard(rows, index, n_parts) for index in range(n_parts)]
    assert torch.equal(torch.cat(parts), rows)
    assert len({len(part) for part in parts}) == 1


def test_an_uneven_cut_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="cannot be cut into 4 equal parts"):
        shard(torch.zeros(6, 2), 0, 4)
