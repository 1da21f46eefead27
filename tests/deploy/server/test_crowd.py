"""Many at once: a bounded queue, and a slot that is free again as soon as nobody listens."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from moe_teach.data.tokenizer import ByteTokenizer
from moe_teach.deploy.engine.engine import Engine
from moe_teach.deploy.engine.requests import Token
from moe_teach.nn.model import Model
from moe_teach.train.generate import generate
from tests.deploy.server.live import Live, running

BODY = {"model": "tiny", "prompt": "abc", "max_tokens": 50, "temperature": 0, "ignore_eos": True}


class Gated(Engine):
    """Makes a step only when the test lets it, or when the gate stands open."""

    gate: threading.Semaphore
    is_open = False

    def step(self) -> list[Token]:
        if Gated.is_open or Gated.gate.acquire(timeout=0.01):
            return super().step()
        return []  # so that orders are obeyed while the gate is shut


@pytest.fixture
def gated(model: Model) -> Iterator[Live]:
    Gated.gate, Gated.is_open = threading.Semaphore(0), False
    with running(model, Gated, n_slots=1, max_waiting=1) as server:
        yield server
        Gated.is_open = True


def eventually(told: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not told():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def engine_of(live: Live) -> Engine:
    return live.service.worker._engine


def test_a_full_queue_says_when_to_come_back(gated: Live) -> None:
    with ThreadPoolExecutor(3) as pool, gated.http() as http:
        taken = [pool.submit(http.post, "/v1/completions", json=BODY)]
        eventually(lambda: engine_of(gated).n_waiting + engine_of(gated).n_running == 1)
        Gated.gate.release()
        eventually(lambda: engine_of(gated).n_running == 1)
        taken.append(pool.submit(http.post, "/v1/completions", json=BODY))
        eventually(lambda: engine_of(gated).n_waiting == 1)

        with pytest.raises(openai.RateLimitError, match="ask again later") as refused:
            gated.client().completions.create(model="tiny", prompt="x", max_tokens=1)
        Gated.is_open = True

        assert [one.result().status_code for one in taken] == [200, 200]
    assert int(refused.value.response.headers["retry-after"]) >= 1
    outcome = '{endpoint="/v1/completions",outcome="429"}'
    assert gated.metric(f"moe_requests_total{outcome}") == 1


def test_who_leaves_in_the_middle_of_a_stream_gives_the_slot_back(gated: Live) -> None:
    Gated.gate.release(3)
    with gated.http() as http:
        with http.stream("POST", "/v1/completions", json=BODY | {"stream": True}) as answer:
            next(answer.iter_lines())
            eventually(lambda: engine_of(gated).n_running == 1)
        eventually(lambda: engine_of(gated).n_running == 0)

    assert engine_of(gated).stats.n_finished["cancelled"] == 1
    outcome = '{endpoint="/v1/completions",outcome="disconnected"}'
    eventually(lambda: gated.metric(f"moe_requests_total{outcome}") == 1)
    assert gated.service.worker.n_open == 0


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_before_the_first_token_gives_the_place_back(gated: Live, stream: bool) -> None:
    with gated.http() as http, pytest.raises(httpx.ReadTimeout):
        http.post("/v1/completions", json=BODY | {"stream": stream}, timeout=0.3)

    eventually(lambda: not engine_of(gated).has_work)
    eventually(lambda: gated.service.worker.n_open == 0)


def test_a_stop_text_gives_the_slot_back_before_the_last_token(gated: Live) -> None:
    Gated.is_open = True
    client = gated.client()
    text = client.completions.create(extra_body={"ignore_eos": True}, **_plain()).choices[0].text

    client.completions.create(extra_body={"ignore_eos": True}, stop=text[2:5], **_plain())

    eventually(lambda: not engine_of(gated).has_work)
    assert engine_of(gated).stats.n_finished["cancelled"] == 1


def test_everybody_gets_their_own_answer_whoever_else_asks(model: Model, live: Live) -> None:
    prompts = [chr(97 + i) * (1 + i % 7) for i in range(24)]

    with live.http() as http, ThreadPoolExecutor(24) as pool:

        def ask(prompt: str) -> str:
            body = BODY | {"prompt": prompt, "max_tokens": 12}
            return http.post("/v1/completions", json=body).json()["choices"][0]["text"]

        told = list(pool.map(ask, prompts))

    tokenizer = ByteTokenizer()
    alone = [generate(model, tokenizer.encode(p), 12, temperature=0.0) for p in prompts]
    assert told == [tokenizer.decode(ids) for ids in alone]


def test_an_engine_that_fails_tells_everybody_and_the_server_says_so(model: Model) -> None:
    class Failing(Engine):
        def step(self) -> list[Token]:
            raise RuntimeError("the model broke")

    with running(model, Failing) as broken, broken.http() as http:
        first = http.post("/v1/completions", json=BODY)
        second = http.post("/v1/completions", json=BODY)
        health, ready = http.get("/health"), http.get("/ready")

    assert (first.status_code, second.status_code) == (500, 503)
    assert "engine failed" in first.json()["error"]["message"]
    assert (health.status_code, ready.status_code) == (500, 503)


def _plain() -> dict:
    return {name: value for name, value in BODY.items() if name != "ignore_eos"}
