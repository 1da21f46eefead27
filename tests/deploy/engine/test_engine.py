"""Slots, queue, stopping, traces, counts and replaced experts."""

from dataclasses import replace

import pytest
import torch

from moe_teach.deploy.engine.engine import Engine
from moe_teach.deploy.engine.requests import EngineFull, Request, Sampling
from moe_teach.train.generate import generate
from moe_teach.types import ExpertWeights
from tests.deploy.engine.tiny import VOCABULARY, ids, request, served, tiny


def test_a_slot_used_again_knows_nothing_of_who_had_it_before(model):
    engine = Engine(model, n_slots=1)
    engine.submit(request("long", range(20), max_tokens=8))
    engine.submit(request("short", [7], max_tokens=8))
    fresh = Engine(model, n_slots=1)
    fresh.submit(request("short", [7], max_tokens=8))
    assert served(engine)["short"] == served(fresh)["short"]


def test_a_long_prompt_does_not_hold_up_those_who_speak(model):
    engine = Engine(model, n_slots=2, prefill_chunk=4)
    engine.submit(request("first", [1], max_tokens=10))
    engine.step()
    engine.submit(request("long", range(20), max_tokens=2))
    speakers = [[token.request_id for token in engine.step()] for _ in range(5)]
    assert speakers == [["first"]] * 4 + [["first", "long"]]


def test_the_newcomer_takes_the_slot_in_the_step_after_it_is_free(model):
    engine = Engine(model, n_slots=1)
    engine.submit(request("a", max_tokens=1))
    engine.submit(request("b", max_tokens=1))
    assert [token.request_id for token in engine.step()] == ["a"]
    assert (engine.n_running, engine.n_waiting) == (0, 1)
    assert [token.request_id for token in engine.step()] == ["b"]
    assert engine.step() == [] and not engine.has_work


def test_cancelling_frees_the_slot_at_once(model):
    engine = Engine(model, n_slots=1)
    for name in "abc":
        engine.submit(request(name, max_tokens=9))
    engine.step()
    engine.cancel("a")
    engine.cancel("b")
    engine.cancel("never heard of")
    assert (engine.n_running, engine.n_waiting) == (0, 1)
    assert set(served(engine)) == {"c"}
    engine.cancel("c")
    assert engine.stats.n_finished == {"stop": 0, "length": 1, "cancelled": 2}


def test_a_full_queue_says_so_and_takes_requests_again_later(model):
    engine = Engine(model, n_slots=1, max_waiting=1)
    engine.submit(request("a", max_tokens=1))
    engine.submit(request("b", max_tokens=1))
    with pytest.raises(EngineFull, match="ask again later"):
        engine.submit(request("c"))
    engine.step()
    engine.submit(request("c", max_tokens=1))
    assert set(served(engine)) == {"b", "c"}
    nobody_waits = Engine(model, n_slots=1, max_waiting=0)
    nobody_waits.submit(request("a"))
    with pytest.raises(EngineFull):
        nobody_waits.submit(request("b"))


def test_a_stop_id_ends_the_text_and_is_its_last_token(model):
    text = generate(model, [1, 2, 3], 8, temperature=0.0)
    stop = text[3]
    engine = Engine(model)
    engine.submit(request(max_tokens=8, stop_ids=frozenset({stop})))
    tokens = served(engine)["a"]
    assert ids(tokens) == text[: text.index(stop) + 1]
    assert [token.finish for token in tokens][-1] == "stop"
    assert not any(token.finish for token in tokens[:-1])


def test_a_trace_names_the_experts_of_the_position_that_predicted(model):
    engine = Engine(model, n_slots=2, prefill_chunk=2)
    engine.submit(request("watched", [4, 5, 6], max_tokens=4, trace=True))
    engine.submit(request("other", [9, 8, 7, 6], max_tokens=4))
    answers = served(engine)
    assert all(token.experts is None and token.gates is None for token in answers["other"])
    text = [4, 5, 6, *ids(answers["watched"])[:-1]]
    routings = model(torch.tensor([text])).routings
    for place, token in enumerate(answers["watched"], start=2):
        assert token.experts == tuple(tuple(r.expert_ids[place].tolist()) for r in routings)
        for gates, routing in zip(token.gates, routings, strict=True):
            assert gates == pytest.approx(routing.gates[place].tolist())


def test_logprobs_are_the_models_own_whatever_the_sampling(model):
    engine = Engine(model)
    engine.submit(request(max_tokens=6, temperature=1.5, top_k=4, top_p=0.9))
    tokens = served(engine)["a"]
    logits = model(torch.tensor([[1, 2, 3, *ids(tokens)[:-1]]])).logits[0, 2:]
    expected = logits.log_softmax(-1)[torch.arange(6), ids(tokens)]
    assert [token.logprob for token in tokens] == pytest.approx(expected.tolist())


def test_alternatives_are_the_likeliest_tokens_of_the_model_for_who_asked_for_some(model):
    engine = Engine(model, n_slots=3)
    wishes = {"max_tokens": 4, "temperature": 1.5, "top_k": 2}
    for name, n in (("none", 0), ("three", 3), ("too many", VOCABULARY + 9)):
        engine.submit(replace(request(name, **wishes), n_alternatives=n))
    answers = served(engine)
    assert all(token.alternatives is None for token in answers["none"])
    for name, n in (("three", 3), ("too many", VOCABULARY)):
        text = [1, 2, 3, *ids(answers[name])[:-1]]
        expected = model(torch.tensor([text])).logits[0, 2:].log_softmax(-1)
        for row, token in zip(expected, answers[name], strict=True):
            best = row.argsort(descending=True)[:n].tolist()
            assert [token_id for token_id, _ in token.alternatives] == best
            told = [logprob for _, logprob in token.alternatives]
            assert told == pytest.approx(row[best].tolist())
            assert dict(token.alternatives).get(token.token_id, token.logprob) == token.logprob


def test_a_negative_number_of_alternatives_is_refused(as_a_user):
    with pytest.raises(ValueError, match="must not be negative, but it is -1"):
        replace(request(), n_alternatives=-1)


def test_what_was_read_is_counted(model):
    engine = Engine(model, n_slots=2, prefill_chunk=4)
    engine.submit(request("a", range(6), max_tokens=3))
    engine.submit(request("b", [1], max_tokens=2))
    served(engine)
    stats = engine.stats
    assert stats.n_prefilled == 7 and stats.n_decoded == 3
    assert stats.n_steps == len(stats.steps)
    for layer in stats.tokens_per_expert:
        assert sum(layer) == 2 * (stats.n_prefilled + stats.n_decoded)
    for step in stats.steps:
        n_rows = step.n_prefilled + step.n_decoded
        assert all(2 <= n <= min(5, 2 * n_rows) for n in step.distinct_experts)
    assert [step.n_prefilled for step in stats.steps][:2] == [4, 3]


def test_the_model_that_was_given_stays_as_it_was():
    model = tiny(capacity_factor=0.5).train()
    engine = Engine(model)
    engine.submit(request())
    served(engine)
    assert all(module.training for module in model.modules())
    assert [block.ffn.capacity_factor for block in model.blocks] == [0.5, 0.5]
    weights = {id(p) for p in model.parameters()}
    assert {id(p) for p in engine._model.parameters()} == weights, "shared and not copied"


def test_a_failing_step_loses_nothing(model, monkeypatch):
    engine, alone = Engine(model, prefill_chunk=2), generate(model, [1, 2, 3], 5, temperature=0.0)
    engine.submit(request())
    engine.step()
    real = engine._forward

    def broken(*arguments):
        raise RuntimeError("out of memory")

    for way in (broken, real) * 5:
        monkeypatch.setattr(engine, "_forward", way)
        if way is broken:
            with pytest.raises(RuntimeError, match="out of memory"):
                engine.step()
        elif engine.has_work:
            alone_tokens = engine.step()
            assert [t.token_id for t in alone_tokens] == alone[: len(alone_tokens)]
            alone = alone[len(alone_tokens) :]
    assert alone == []


def expert(model, layer=0, which=2, scale=1.0):
    own = model.blocks[layer].ffn.experts
    rows = (m.detach()[which : which + 1] * scale for m in (own.w_up, own.w_down, own.w_gate))
    return ExpertWeights(*rows)


def test_a_replaced_expert_answers_from_the_next_step_on_and_can_be_taken_back():
    model = tiny()
    before = generate(model, [1, 2, 3], 6, temperature=0.0)
    engine = Engine(model)
    assert engine.replace_expert(1, 2, expert(model, 1, 2, -2.0)) == 1
    assert engine.replace_expert(0, 0, expert(model, 0, 1)) == 2
    engine.submit(request(max_tokens=6))
    tokens = served(engine)["a"]
    assert ids(tokens) == generate(model, [1, 2, 3], 6, temperature=0.0) != before
    assert {token.version for token in tokens} == {2}
    assert (engine.roll_back(), engine.roll_back()) == (3, 4)
    engine.submit(request(max_tokens=6))
    assert ids(served(engine)["a"]) == before
    with pytest.raises(ValueError, match="nothing to roll back"):
        engine.roll_back()


def test_each_token_says_which_weights_predicted_it():
    model = tiny()
    engine = Engine(model)
    engine.submit(request(max_tokens=3))
    tokens = engine.step()
    engine.replace_expert(0, 0, expert(model))
    tokens += engine.step() + engine.step()
    assert [token.version for token in tokens] == [0, 1, 1]


@pytest.mark.parametrize(
    ("place", "change", "word"),
    [
        ((2, 0), {}, "2, counted from 0"),
        ((-1, 0), {}, "no MoE layer -1"),
        ((0, 5), {}, "numbered 0 to 4"),
        ((0, 0), {"w_up": torch.zeros(1, 16, 12, dtype=torch.float64)}, "of shape"),
        ((0, 0), {"w_up": torch.zeros(12, 16, dtype=torch.float64)}, "of shape"),
        ((0, 0), {"w_down": torch.zeros(1, 16, 12)}, "float64"),
        ((0, 0), {"w_gate": None}, "w_gate is missing"),
        ((0, 0), {"w_down": torch.full((1, 16, 12), torch.nan, dtype=torch.float64)}, "NaN"),
    ],
)
def test_an_expert_that_does_not_fit_changes_nothing(as_a_user, place, change, word):
    model = tiny()
    engine = Engine(model)
    parts = {name: getattr(expert(model), name) for name in ("w_up", "w_down", "w_gate")}
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(ValueError, match=word):
        engine.replace_expert(*place, ExpertWeights(**{**parts, **change}))
    assert engine.version == 0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: request(prompt=[]), "empty prompt"),
        (lambda: request(prompt=[VOCABULARY]), "between 0 and 28"),
        (lambda: request(prompt=[-1]), "between 0 and 28"),
        (lambda: request(prompt=range(20), max_tokens=14), "it can add 13, not 14"),
        (lambda: request(prompt=[1] * 40), "it can add 0"),
        (lambda: request(max_tokens=0), "max_tokens"),
        (lambda: request(temperature=-1.0), "temperature"),
        (lambda: request(temperature=float("nan")), "temperature"),
        (lambda: request(top_k=0), "top_k"),
        (lambda: request(top_p=0.0), "top_p"),
        (lambda: request(top_p=1.1), "top_p"),
        (lambda: request("taken"), "waits or runs already"),
    ],
)
def test_impossible_requests_are_refused_in_a_sentence(model, make, word):
    engine = Engine(model)
    engine.submit(request("taken"))
    with pytest.raises(ValueError, match=word):
        engine.submit(make())
    assert engine.n_waiting == 1


def test_the_longest_text_that_fits_is_answered(model):
    engine = Engine(model)
    engine.submit(request(prompt=[3] * 20, max_tokens=13))
    assert len(served(engine)["a"]) == 13


def test_models_and_sizes_that_cannot_serve_are_refused(model):
    with pytest.raises(ValueError, match="choice='token'"):
        Engine(tiny(choice="expert"))
    for wrong in ({"n_slots": 0}, {"prefill_chunk": 0}, {"max_waiting": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Engine(model, **wrong)


def test_the_records_start_as_they_were_promised():
    assert Sampling() == Sampling(max_tokens=64, temperature=1.0, top_k=None, top_p=1.0, seed=0)
    assert Request(id="a", prompt=(1,)).sampling == Sampling()
