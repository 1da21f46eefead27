"""What would have been: against models that were really built that way, and bit for bit undone."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from moe_teach.analysis.interventions.answers import answers_of
from moe_teach.analysis.interventions.capacity import drop_share_by_group, with_capacity
from moe_teach.analysis.interventions.knock_out import knock_out_damage, without_expert
from moe_teach.analysis.interventions.leak import leak
from moe_teach.analysis.interventions.neighbours import neighbour_effect
from moe_teach.analysis.interventions.paths import PathDivergence, path_divergence
from moe_teach.analysis.interventions.untrained import with_untrained_routers
from moe_teach.analysis.routes.recorder import record_routes
from moe_teach.data.batches import NO_TARGET, Batch
from moe_teach.nn.hash_router import use_hash_routers
from moe_teach.nn.model import Model
from tests.analysis.test_routes import NAMES, batch_of, model_of

KINDS = [
    {},
    {"normalize_gates": False},
    {"topk_first": True},
    {"score_fn": "sigmoid"},
    {"score_fn": "sigmoid", "gate_scale": 2.5, "normalize_gates": False},
    {"jitter": 0.1},
]


def decided(model: Model) -> Model:
    """Give routers and biases numbers that make real choices."""
    draw = torch.Generator().manual_seed(7)
    for block in model.blocks:
        router = block.ffn.router
        router.proj.weight.data.normal_(0, 0.5, generator=draw)
        router.expert_bias.normal_(0, 0.1, generator=draw)
    return model


def built_without(model: Model, layer: int, expert: int) -> Model:
    """Build a model of the same numbers that never had the expert."""
    config = model.config
    moe = config.moe
    smaller = replace(moe, router=replace(moe.router, n_experts=moe.router.n_experts - 1))
    rest = [i for i in range(moe.router.n_experts) if i != expert]
    other = Model(config).eval()
    other.load_state_dict(model.state_dict())
    ffn = Model(replace(config, moe=smaller)).eval().blocks[layer].ffn
    state = {name: tensor[rest] for name, tensor in model.blocks[layer].ffn.state_dict().items()}
    ffn.load_state_dict(state)
    other.blocks[layer].ffn = ffn
    return other


@pytest.mark.parametrize("top_k", [1, 2, 3])
@pytest.mark.parametrize("router", KINDS, ids=str)
def test_a_closed_expert_is_as_if_it_had_never_been_there(router, top_k):
    model, batch = decided(model_of(router=router, top_k=top_k)), batch_of()
    for layer, routing in enumerate(model(batch.inputs).routings):
        expert = int(routing.expert_ids.flatten().bincount().argmax())
        with without_expert(model, layer, expert):
            found = model(batch.inputs)
        assert (found.routings[layer].expert_ids != expert).all()
        expected = built_without(model, layer, expert)(batch.inputs)
        assert torch.allclose(found.logits, expected.logits, atol=1e-6)
        assert not torch.equal(found.logits, model(batch.inputs).logits)


def test_a_closed_expert_of_a_group_leaves_its_group_open():
    router = {"n_groups": 2, "top_groups": 1, "score_fn": "sigmoid"}
    model, batch = decided(model_of(router=router, top_k=1, n_experts=4)), batch_of(8, 9)
    with without_expert(model, 0, 2):
        chosen = model(batch.inputs).routings[0].expert_ids
    assert set(chosen.flatten().tolist()) >= {3}
    assert 2 not in chosen


def test_afterwards_the_model_is_bit_for_bit_what_it_was():
    model, batch = decided(model_of()).train(), batch_of()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    answer = model(batch.inputs)
    with pytest.raises(RuntimeError, match="on purpose"), without_expert(model, 0, 1):
        raise RuntimeError("on purpose")
    knock_out_damage(model, [batch], NAMES)
    again = model(batch.inputs)
    assert torch.equal(answer.logits, again.logits)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training


def test_what_cannot_be_closed_is_said():
    model = model_of(top_k=4)
    for what, place in [("no layer 2", (2, 0)), ("no expert 4", (0, 4)), ("only 3", (0, 0))]:
        with pytest.raises(ValueError, match=what), without_expert(model, *place):
            pass
    hashed = use_hash_routers(model_of())
    with (
        pytest.raises(ValueError, match="do not choose by a ranking"),
        without_expert(hashed, 0, 0),
    ):
        pass
    with (
        pytest.raises(ValueError, match="only 1"),
        without_expert(model_of(router={"n_groups": 2, "top_groups": 1}), 0, 0),
    ):
        pass


def test_damage_is_the_rise_of_the_loss_of_a_model_built_without():
    model = decided(model_of())
    one = batch_of(3, 5)
    two = batch_of(2, 5, seed=3)
    two = replace(two, targets=two.targets.clone())
    two.targets[0, 2:] = NO_TARGET  # rows of unequal length
    found = knock_out_damage(model, [one, two], NAMES)
    assert found.damage.shape == found.load.shape == (2, 4, 2)
    record = record_routes(model, [one, two], NAMES)
    for layer, expert, domain in itertools.product(range(2), range(4), range(2)):
        mine = record.expert_ids[record.domain_ids == domain, layer]
        share = float((mine == expert).double().mean())
        assert found.load[layer, expert, domain] == pytest.approx(share)
    for layer, expert in [(0, 1), (1, 2)]:
        other = built_without(model, layer, expert)
        for domain in range(2):
            losses = [[], []]
            for batch in (one, two):
                mine = batch.domain_ids == domain
                for side, subject in zip(losses, (model, other), strict=True):
                    logits = subject(batch.inputs[mine]).logits.detach().double()
                    nats = F.cross_entropy(
                        logits.transpose(1, 2), batch.targets[mine], reduction="none"
                    )
                    side.append(nats[batch.targets[mine] != NO_TARGET])
            before, after = (torch.cat(side).mean() for side in losses)
            assert found.damage[layer, expert, domain] == pytest.approx(
                float(after - before), abs=1e-6
            )
    interval = found.interval(0, 1, "even")
    assert interval.measured == pytest.approx(float(found.damage[0, 1, 0]))
    assert interval.low <= interval.high
    some = knock_out_damage(model, [one, two], NAMES, experts=[(1, 2)])
    assert torch.equal(some.damage[1, 2], found.damage[1, 2])
    assert some.damage[0].isnan().all()


def test_answers_are_of_the_tokens_that_were_asked_for():
    model, batch = decided(model_of()), batch_of(2, 4)
    batch = replace(batch, targets=batch.targets.clone())
    batch.targets[0, 1] = NO_TARGET
    found = answers_of(model, [batch, batch])
    assert found.sequence_ids.tolist() == [0] * 3 + [1] * 4 + [2] * 3 + [3] * 4
    assert found.domain_ids.tolist() == [0] * 3 + [1] * 4 + [0] * 3 + [1] * 4
    likeliest = model(batch.inputs).logits.argmax(-1)[batch.targets != NO_TARGET]
    assert found.predicted.tolist() == 2 * likeliest.tolist()
    nothing = Batch(batch.inputs, torch.full_like(batch.targets, NO_TARGET), batch.domain_ids)
    with pytest.raises(ValueError, match="No batch asks"):
        answers_of(model, [nothing])


@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_drop_shares_are_counted_by_queueing(factor):
    model, batch = decided(model_of()), batch_of(4, 6)
    limited = with_capacity(model, factor)
    record = record_routes(limited, [batch], NAMES)
    found = drop_share_by_group(record)
    capacity = -(-int(factor * 2) * 24 * 2 // (2 * 4))
    taken, dropped = [0] * 4, [0, 0]
    for token, row in enumerate(record.expert_ids[:, 0].tolist()):
        for expert in row:
            taken[expert] += 1
            dropped[token // 6 % 2] += taken[expert] > capacity
    assert found.dropped[0].tolist() == dropped
    assert found.chosen.tolist() == [[24, 24]] * 2
    assert torch.allclose(found.overall, found.dropped.sum(0).double() / 48)
    assert (found.share == 0).all() == (factor == 4.0)
    assert model.blocks[0].ffn.capacity_factor is None
    assert limited.blocks[0].ffn.router.proj.weight is model.blocks[0].ffn.router.proj.weight


def test_without_a_capacity_nobody_is_turned_away():
    model, batch = decided(model_of(capacity_factor=0.5)), batch_of()
    assert drop_share_by_group(record_routes(model, [batch], NAMES)).dropped.sum() > 0
    record = record_routes(with_capacity(model, None), [batch], NAMES)
    found = drop_share_by_group(record, record.positions)
    assert found.share.shape == (2, 5)
    assert (found.share == 0).all()
    with pytest.raises(ValueError, match="group from 0 to 2"):
        drop_share_by_group(record, record.positions, 3)
    with pytest.raises(ValueError, match="positive"):
        with_capacity(model, 0.0)


def test_a_capacity_that_is_put_on_takes_the_place_of_the_models_own():
    model, batch = decided(model_of(capacity=2, drop_policy="by_gate")), batch_of(4, 6)
    assert drop_share_by_group(record_routes(model, [batch], NAMES)).dropped.sum() > 0
    free = record_routes(with_capacity(model, None), [batch], NAMES)
    assert drop_share_by_group(free).dropped.sum() == 0

    record = record_routes(with_capacity(model, 0.5), [batch], NAMES)
    ids, kept = record.expert_ids[:, 0].flatten(), record.kept[:, 0].flatten()
    for expert in range(4):
        turns = kept[ids == expert].tolist()
        assert turns == sorted(turns, reverse=True)  # first come, as it is the default


def test_who_is_served_by_gate_has_the_larger_one():
    model, batch = decided(model_of()), batch_of(4, 6)
    record = record_routes(with_capacity(model, 0.5, "by_gate"), [batch], NAMES)
    ids, kept, gates = (
        part[:, 0].flatten() for part in (record.expert_ids, record.kept, record.gates)
    )
    assert not kept.all()
    for expert in range(4):
        mine = ids == expert
        if bool((mine & ~kept).any()):
            assert gates[mine & kept].min() >= gates[mine & ~kept].max()


def test_neighbours_change_answers_only_where_there_is_a_capacity():
    model = decided(model_of())
    texts, one, other = (batch_of(4, 12, seed=s).inputs for s in (1, 2, 3))
    none = neighbour_effect(model, texts, one, other)
    assert none.changed_share == 0
    assert none.total_variation.max() < 1e-6
    limited = with_capacity(model, 0.5)
    some = neighbour_effect(limited, texts, one, other)
    assert some.total_variation.max() > 1e-3
    direct = [limited(torch.cat([n, texts])).logits[4:].argmax(-1) for n in (one, other)]
    assert torch.equal(some.changed, direct[0] != direct[1])
    probs = [limited(torch.cat([n, texts])).logits[4:].detach().softmax(-1) for n in (one, other)]
    moved = (probs[0] - probs[1]).clamp_min(0).sum(-1)  # what one side has more, the other has less
    assert torch.allclose(some.total_variation, moved.double(), atol=1e-6)
    assert neighbour_effect(limited, texts, one, one).total_variation.max() == 0


def test_neighbours_of_another_number_are_refused(as_a_user):
    texts = batch_of(2, 5).inputs
    with pytest.raises(ValueError, match="one shape"):
        neighbour_effect(model_of(), texts, texts, texts[:1])
    with pytest.raises(ValueError, match="no texts"):
        neighbour_effect(model_of(), texts[:0], texts, texts)


def recorded(model: Model, ids: torch.Tensor):
    return record_routes(model, [Batch(ids, ids, torch.zeros(len(ids), dtype=torch.long))])


def test_paths_differ_by_the_share_of_other_experts():
    model = decided(model_of())
    ids = batch_of(3, 6).inputs
    changed = ids.clone()
    changed[:, 0] = (changed[:, 0] + 1) % 16
    ones, others = recorded(model, ids), recorded(model, changed)
    found = path_divergence(ones, others)
    for layer in range(2):
        for pair in range(3):
            rows = range(6 * pair, 6 * pair + 6)
            gaps = [
                1
                - len(
                    set(ones.expert_ids[t, layer].tolist())
                    & set(others.expert_ids[t, layer].tolist())
                )
                / 2
                for t in rows
            ]
            assert found.paired[layer, pair] == pytest.approx(sum(gaps) / 6)
            assert found.same_token[layer, pair] == pytest.approx(sum(gaps[1:]) / 5)
    assert found.random.mean() > found.paired.mean()
    itself = path_divergence(ones, ones)
    assert (itself.paired == 0).all()
    assert (itself.random > 0).any()
    interval = found.interval(0)
    assert interval.low <= float(found.paired[0].mean()) <= interval.high


def test_an_interval_is_of_the_field_that_is_asked_for_and_of_the_pairs_that_have_it():
    values = torch.tensor([[0.5, 0.5, 0.5], [1.0, 1.0, 0.25], [torch.nan, 0.2, 0.4]]).double()
    found = PathDivergence(*values[:, None])
    assert found.interval(0).measured == 0.5
    assert found.interval(0, "random").measured == 0.75
    assert found.interval(0, "same_token").measured == pytest.approx(0.3)
    assert not math.isnan(found.interval(0, "same_token").high)


def test_versions_of_unequal_length_meet_at_the_end_that_is_asked_for():
    model = decided(model_of())
    ids = batch_of(2, 6).inputs
    whole = recorded(model, ids)
    tails = whole.only(whole.positions >= 2)
    assert (path_divergence(whole, tails, from_end=True).paired == 0).all()
    heads = whole.only(whole.positions < 4)
    assert (path_divergence(whole, heads).paired == 0).all()
    assert (path_divergence(whole, tails).paired > 0).any()
    with pytest.raises(ValueError, match="different models"):
        path_divergence(whole, recorded(decided(model_of(seed=1)), ids))
    with pytest.raises(ValueError, match="same sequence_ids"):
        path_divergence(whole, whole.only(whole.sequence_ids == 0))


def test_routes_that_spell_the_token_leak_it_and_others_do_not():
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 6, (12, 40), generator=draw)
    model = use_hash_routers(model_of(n_experts=4), seed=3)
    record = recorded(model, ids)
    found = leak(record, steps=100)
    n_ways = len({tuple(row) for row in record.expert_ids.sort(-1).values.flatten(1).tolist()})
    assert found.accuracy == 1 if n_ways == 6 else found.accuracy > 0.6
    assert found.majority < 0.35
    assert (found.n_train, found.n_held_out) == (360, 120)
    noise = replace(record, token_ids=record.token_ids[torch.randperm(480, generator=draw)])
    assert leak(noise, steps=100).accuracy < 0.35
    # What was learned by heart does not count: every text has words of its own.
    own = replace(record, token_ids=record.sequence_ids)
    assert leak(own, steps=20).accuracy == 0
    assert leak(record, steps=20) == leak(record, steps=20)
    with pytest.raises(ValueError, match="not among them"):
        leak(record, (2,))
    with pytest.raises(ValueError, match="not 1"):
        leak(record.only(record.sequence_ids == 0))


def test_a_layer_that_says_nothing_leaks_what_is_most_frequent():
    ids = torch.randint(0, 6, (12, 40), generator=torch.Generator().manual_seed(0))
    ids[:, ::2] = 5  # more than half of all
    record = recorded(use_hash_routers(model_of(n_experts=4), seed=3), ids)
    mute = record.expert_ids.clone()
    mute[:, 1] = torch.arange(2)
    record = replace(record, expert_ids=mute)
    told, silent = (leak(record, (layer,), steps=100) for layer in range(2))
    assert silent.accuracy == silent.majority < told.accuracy

    # What is most frequent in the texts to learn from need not be in those that are held out.
    own = replace(record, token_ids=record.sequence_ids)
    assert leak(own, steps=5).majority == 0


def test_untrained_routers_are_others_in_the_same_model():
    model = decided(model_of())
    state = torch.get_rng_state()
    other = with_untrained_routers(model)
    assert torch.equal(state, torch.get_rng_state())
    for name, tensor in model.state_dict().items():
        same = torch.equal(tensor, other.state_dict()[name])
        assert same == (".router." not in name), name
    again = with_untrained_routers(model)
    assert all(map(torch.equal, again.state_dict().values(), other.state_dict().values()))
    third = with_untrained_routers(model, seed=1)
    weights = [one.blocks[0].ffn.router.proj.weight for one in (other, third)]
    assert not torch.equal(*weights)
