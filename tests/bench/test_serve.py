"""The load lab reads the clock right, and the storm sees what is wrong."""

import asyncio
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import pytest

from moe_teach.bench.serve.client import Heard, hear
from moe_teach.bench.serve.faults import Storm
from moe_teach.bench.serve.load import closed, level_of, opened, percentiles
from moe_teach.bench.serve.oracle import right_answers
from moe_teach.data.tokenizer import ByteTokenizer
from moe_teach.deploy.engine.engine import Engine
from moe_teach.nn.model import Model
from tests.deploy.server.live import Live, running, tiny_model

BODY = {"model": "tiny", "prompt": "abc", "max_tokens": 8, "temperature": 0, "ignore_eos": True}


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model()


@pytest.fixture(scope="module")
def live(model: Model) -> Iterator[Live]:
    with running(model, n_slots=4) as server:
        yield server


def port_of(live: Live) -> int:
    return int(live.url.rpartition(":")[2])


def heard(due: float, times: list[float], n_tokens: int) -> Heard:
    line = b'data: {"choices": [{"text": "a"}]}'
    usage = b'data: {"choices": [], "usage": {"completion_tokens": %d}}' % n_tokens
    lines = [line] * len(times) + [usage, b"data: [DONE]"]
    return Heard(due, 200, [*times, times[-1], times[-1]], lines, times[-1])


def test_a_stream_is_heard_to_its_end(live: Live) -> None:
    one = asyncio.run(hear(port_of(live), BODY))

    assert (one.status, one.n_tokens) == (200, 8)
    assert 0 < one.first < one.whole
    assert one.text == live.client().completions.create(**_plain()).choices[0].text


def test_what_the_clock_says_is_read_off_right() -> None:
    one, other = heard(10.0, [10.5, 11.0, 11.5], 3), heard(11.0, [12.0, 14.0], 2)

    level = level_of([one, other, Heard(12.0, status=429)])

    assert (one.first, one.between, one.whole) == (0.5, 0.5, 1.5)
    assert (level.n_requests, level.n_failed) == (3, 1)
    assert level.tokens_per_second == 5 / 4.0
    assert level.first[0] == 0.75
    assert level.whole[0] == 2.25


def test_percentiles_lie_between_the_values() -> None:
    assert percentiles([7.0]) == (7.0, 7.0, 7.0)
    assert percentiles([float(v) for v in range(101)]) == pytest.approx((50, 95, 99))


def test_a_closed_loop_never_has_more_on_the_way_than_it_was_told(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_way, most = 0, 0

    async def counted(*given: Any) -> Heard:
        nonlocal on_the_way, most
        on_the_way += 1
        most = max(most, on_the_way)
        try:
            return await hear(*given)
        finally:
            on_the_way -= 1

    monkeypatch.setattr("moe_teach.bench.serve.load.hear", counted)

    answers = asyncio.run(closed(port_of(live), [BODY] * 7, 3))

    assert most == 3
    assert len(answers) == 7


def test_an_open_loop_asks_when_it_is_due_whoever_is_still_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(port: int, body: Any, due: float) -> Heard:
        await asyncio.sleep(0.3)
        return Heard(due)

    monkeypatch.setattr("moe_teach.bench.serve.load.hear", never)

    start = time.perf_counter()
    runs = [asyncio.run(opened(0, [BODY] * 20, 200.0, seed)) for seed in (1, 1, 2)]

    after = [[one.due - run[0].due for one in run] for run in runs]
    assert after[0] == pytest.approx(after[1], abs=1e-9)
    assert after[0] != pytest.approx(after[2], abs=1e-3)
    assert time.perf_counter() - start < 20 * 0.3


def test_a_storm_tells_a_false_answer(model: Model, live: Live) -> None:
    answers = right_answers(model, ByteTokenizer(), 6, ["abc"])
    false = [dataclasses.replace(answers[0], text=answers[0].text + "!")]
    storm = Storm(live.url, "tiny", false, model.config.max_seq_len)

    report = asyncio.run(storm.run(8, seed=1))

    assert any(one.startswith(("whole: false", "streamed: false")) for one in report.wrong)


def test_a_storm_tells_a_slot_that_is_not_given_back(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "cancel", lambda self, request_id: None)
    monkeypatch.setattr(Storm, "_patience", 0.2)
    answers = right_answers(model, ByteTokenizer(), 100, ["abc"])
    with running(model) as leaky:
        storm = Storm(leaky.url, "tiny", answers, model.config.max_seq_len)
        storm._weights = (0, 0, 1, 0, 0, 0, 0)

        report = asyncio.run(storm.run(3))

    assert any("not given back" in one for one in report.wrong)


def _plain() -> dict[str, Any]:
    plain = {name: value for name, value in BODY.items() if name != "ignore_eos"}
    return plain | {"extra_body": {"ignore_eos": True}}
