"""Traces recorded, mixed and drawn, and what they do in a cache."""

from dataclasses import replace

import pytest
import torch

from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.deploy.store.foresight import Forecast, as_before, by_load, favourites, forecast
from moe_teach.deploy.store.policies import LRU, Key
from moe_teach.deploy.store.simulator import simulate
from moe_teach.deploy.store.trace import (
    Choice,
    Trace,
    drawn,
    in_one_batch,
    record_trace,
    shuffled,
    taking_turns,
)
from moe_teach.nn.model import Model
from moe_teach.types import Routing

CONFIG = ModelConfig(
    n_layers=5,
    d_model=16,
    vocab_size=31,
    attention=AttentionConfig(n_heads=2, n_kv_heads=1, d_head=8),
    moe=MoEConfig(router=RouterConfig(n_experts=6, top_k=2), d_ff=8),
    n_dense_layers=1,
    d_ff_dense=8,
    max_seq_len=8,
)
TEXT = torch.arange(19) * 7 % 31


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    made = Model(CONFIG)
    for block in made.blocks[1:]:
        torch.nn.init.normal_(block.ffn.router.proj.weight)  # decided, so that rounding is not
    return made


def test_one_pass_records_what_decoding_token_by_token_chooses(model):
    trace = record_trace(model, TEXT)
    assert (len(trace), trace.n_layers, trace.n_experts) == (19, 4, 6)
    chosen = []
    with torch.no_grad():
        for window in TEXT.split(8):
            cache = model.new_cache()
            for token in window:
                routings = model.eval()(token.view(1, 1), cache).routings
                chosen.append(torch.stack([routing.expert_ids[0] for routing in routings]))
    assert torch.equal(trace.expert_ids, torch.stack(chosen))


def test_recording_leaves_the_model_in_the_mode_it_was_in(model):
    model.train()
    record_trace(model, TEXT[:1])
    assert model.training


def test_a_trace_tells_its_choices_in_plain_numbers(model):
    trace = record_trace(model, TEXT[:3])
    choices = list(trace.choices())
    assert len(choices) == 3 * 4
    assert choices[5] == Choice(1, 1, 1, tuple(trace.expert_ids[1, 1].tolist()))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"moe": None, "d_ff_dense": 8}, "no MoE layer"),
        ({"moe": replace(CONFIG.moe, capacity_factor=1.0)}, "set capacity_factor"),
        (
            {"moe": replace(CONFIG.moe, router=replace(CONFIG.moe.router, choice="expert"))},
            "the experts choose",
        ),
    ],
    ids=["dense", "capacity", "expert choice"],
)
def test_what_decoding_would_choose_otherwise_is_not_recorded(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        record_trace(Model(replace(CONFIG, **change)), TEXT)


def test_nothing_cannot_be_recorded(model):
    with pytest.raises(ValueError, match="at least one token"):
        record_trace(model, TEXT[:0])


def test_users_take_turns_or_share_a_batch():
    ann, bob = drawn(3, 1, 8, 1, seed=1), drawn(5, 1, 8, 1, seed=2)
    turns, batch = taking_turns([ann, bob]), in_one_batch([ann, bob])
    assert turns.expert_ids[0::2].equal(ann.expert_ids)
    assert turns.expert_ids[1::2].equal(bob.expert_ids[:3])
    assert turns.n_steps == 6
    assert batch.expert_ids.equal(turns.expert_ids)
    assert batch.step.tolist() == [0, 0, 1, 1, 2, 2]
    wanted = [set(experts) for _, _, experts in batch.requests()]
    assert wanted == [set(pair.flatten().tolist()) for pair in batch.expert_ids.split(2)]


def test_traces_of_different_models_do_not_mix():
    with pytest.raises(ValueError, match="shapes differ"):
        taking_turns([drawn(3, 1, 8, 1), drawn(3, 2, 8, 1)])
    with pytest.raises(ValueError, match="at least one trace"):
        in_one_batch([])


def test_shuffling_keeps_the_load():
    trace = drawn(50, 2, 8, 2, skew=1.0)
    other = shuffled(trace)
    assert torch.equal(other.load(), trace.load())
    assert not torch.equal(other.expert_ids, trace.expert_ids)
    torch.testing.assert_close(trace.load().sum(-1), torch.ones(2))


def test_a_drawn_trace_is_even_or_skewed_as_asked():
    even, skewed = drawn(4000, 1, 8, 1), drawn(4000, 1, 8, 1, skew=1.0)
    assert even.load().max() < 1.2 / 8
    harmonic = sum(1 / rank for rank in range(1, 9))
    assert float(skewed.load().max()) == pytest.approx(1 / harmonic, abs=0.03)


def test_even_routing_hits_as_often_as_the_cache_is_large():
    replay = simulate(drawn(1500, 2, 16, 2), LRU(per_layer=True), 2 * 4, 1)
    assert replay.hit_rate == pytest.approx(4 / 16, abs=0.03)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"expert_ids": torch.zeros(0, 1, 1, dtype=torch.long)}, "at least one token"),
        ({"expert_ids": torch.zeros(2, 1, 1, dtype=torch.long)}, "each of the 2 tokens"),
        ({"step": torch.tensor([0, 2, 1])}, "must not decrease"),
        ({"n_experts": 1}, "between 0 and 0"),
    ],
)
def test_an_impossible_trace_is_refused(change, sentence, as_a_user):
    ids = torch.tensor([[[0]], [[1]], [[0]]])
    sound = {"expert_ids": ids, "step": torch.arange(3), "token_ids": torch.arange(3)}
    with pytest.raises(ValueError, match=sentence):
        Trace(**{**sound, "n_experts": 2, **change})


def test_a_replay_counts_experts_bytes_and_seconds():
    ids = torch.tensor([[[0]], [[1]], [[0]], [[2]]])
    trace = Trace(ids, torch.tensor([0, 0, 1, 2]), torch.arange(4), 3)
    replay = simulate(trace, LRU(), 25, 10)
    assert replay.misses.tolist() == [[2], [0], [1]]
    assert replay.hits.tolist() == [[0], [1], [0]]
    assert replay.hit_rate == 1 / 4
    assert replay.hit_rate_of_layer.tolist() == [1 / 4]
    assert replay.moved_bytes == 30
    assert replay.least_seconds(5.0) == replay.waiting_seconds(5.0) == 6.0
    assert replay.resident_bytes.flatten().tolist() == [20, 20, 20]
    with pytest.raises(ValueError, match="positive number of bytes"):
        replay.least_seconds(0.0)


def test_sizes_may_differ_from_expert_to_expert():
    ids = torch.tensor([[[0]], [[1]], [[0]]])
    trace = Trace(ids, torch.arange(3), torch.arange(3), 2)
    replay = simulate(trace, LRU(), 8, {Key(0, 0): 3, Key(0, 1): 5})
    assert replay.waited_bytes.flatten().tolist() == [3, 5, 0]
    with pytest.raises(ValueError, match="at least one byte"):
        simulate(trace, LRU(), 8, 0)


def test_perfect_foresight_waits_only_where_nobody_can_guess():
    trace = drawn(30, 3, 8, 2)
    known = trace.expert_ids.clone()
    known[:, 0] = -1
    foresight = Forecast(known, 1)
    # Room for what one layer uses and the next one will.
    replay = simulate(trace, LRU(), 4, 1, forecast=foresight)
    assert replay.misses[:, 1:].sum() == 0
    assert replay.guessed[:, 0].sum() == 0
    assert torch.equal(replay.foreseen, replay.guessed)
    assert replay.moved_bytes == int(replay.misses.sum() + replay.guessed.sum())
    assert foresight.recall(trace)[1:].tolist() == [1.0, 1.0]


def test_wrong_guesses_are_read_for_nothing():
    ids = torch.tensor([[[0], [0]]] * 4)
    trace = Trace(ids, torch.arange(4), torch.arange(4), 3)
    wrong = Forecast(torch.tensor([[[-1], [1]]] * 4), 1)
    replay = simulate(trace, LRU(), 2, 1, forecast=wrong)
    alone = simulate(trace, LRU(), 2, 1)
    assert replay.foreseen.sum() == 0
    assert replay.moved_bytes > alone.moved_bytes
    assert wrong.recall(trace)[1] == 0.0


def test_guesses_of_a_batch_are_merged_the_surest_of_each_first():
    trace = in_one_batch([drawn(1, 2, 8, 1), drawn(1, 2, 8, 1, seed=3)])
    told = Forecast(torch.tensor([[[-1, -1], [4, 5]], [[-1, -1], [6, 4]]]), 1)
    assert told.guesses(trace) == {(0, 0): [], (0, 1): [4, 6, 5]}


@pytest.mark.parametrize("distance", [1, 3])
def test_a_router_asked_early_is_the_router_of_the_later_layer(model, distance):
    trace = record_trace(model.eval(), TEXT)
    guesses = forecast(model, TEXT, distance)
    assert guesses.expert_ids.shape == (19, 4, 2)
    assert bool((guesses.expert_ids[:, :distance] == -1).all())
    streams = []
    hook = model.blocks[1].ffn_norm.register_forward_pre_hook(lambda _, x: streams.append(x[0]))
    with torch.no_grad(), hook:
        model(TEXT[None, :8])
    later = model.blocks[1 + distance]  # the first block is dense
    asked = later.ffn.router(later.ffn_norm(streams[0])[0]).expert_ids
    told = guesses.expert_ids[:8, distance]
    assert torch.equal(told.sort(-1).values, asked.sort(-1).values)
    assert guesses.recall(trace)[distance:].min() > 0


def test_a_layer_that_adds_nothing_is_seen_through(model):
    clear = Model(CONFIG).eval()
    for name, parameter in clear.named_parameters():
        if "o_proj" in name or "w_down" in name:
            torch.nn.init.zeros_(parameter)
    trace = record_trace(clear, TEXT)
    assert forecast(clear, TEXT, 2).recall(trace)[2:].tolist() == [1.0, 1.0]


def test_more_guesses_follow_the_chosen_by_probability():
    probs = torch.tensor([[0.1, 0.4, 0.2, 0.3]])
    chosen = torch.tensor([[0, 1]])  # a bias may choose whom probability does not
    routing = Routing(probs.log(), probs, probs[:, :2], chosen)
    assert favourites(routing, 3).tolist() == [[1, 0, 3]]
    assert favourites(routing, 1).tolist() == [[1]]
    with pytest.raises(ValueError, match="5 cannot be guessed"):
        favourites(routing, 5)


@pytest.mark.parametrize("distance", [0, 4])
def test_a_distance_that_reaches_no_layer_is_refused(model, distance):
    with pytest.raises(ValueError, match="choose 1 to 3"):
        forecast(model, TEXT, distance)


def test_controls_know_the_load_or_the_token_before():
    trace = drawn(50, 2, 8, 2, skew=1.5)
    favourite = by_load(trace, trace, 2)
    expected = trace.load()[1].topk(2).values.sum()
    torch.testing.assert_close(favourite.recall(trace)[1], expected)
    before = as_before(trace).expert_ids
    assert torch.equal(before[1:, 1], trace.expert_ids[:-1, 1])
    assert bool((before[0] == -1).all())


def test_a_forecast_of_another_text_is_refused():
    guesses = Forecast(torch.zeros(2, 1, 1, dtype=torch.long), 1)
    with pytest.raises(ValueError, match="both must come from one model and text"):
        simulate(drawn(3, 1, 4, 1), LRU(), 4, 1, forecast=guesses)
