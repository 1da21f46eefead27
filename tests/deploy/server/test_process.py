"""A server as a process: it is told to stop, it is killed, it comes back."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from moe_teach.bench.serve.oracle import right_answers
from moe_teach.cli import main
from moe_teach.deploy.engine.engine import Engine
from moe_teach.deploy.engine.requests import Token
from moe_teach.nn.model import Model
from moe_teach.train.shipped import load_shipped
from tests.deploy.server.live import running

LONG = {"model": "four_domains", "prompt": "import os\n", "max_tokens": 200, "ignore_eos": True}


class Slow(Engine):
    """Takes its time, so that there is something to interrupt."""

    def step(self) -> list[Token]:
        time.sleep(0.02)
        return super().step()


@contextmanager
def a_process(port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "moe_teach.cli", "serve", "--port", str(port)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ
    )
    try:
        url = process.stdout.readline().split()[2].rstrip(";")
        while httpx.get(f"{url}/ready", timeout=60).status_code != 200:
            assert process.poll() is None
            time.sleep(0.05)
        yield process, url
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_killed_server_comes_back_and_a_told_one_finishes_what_it_began() -> None:
    model, tokenizer, _ = load_shipped()
    (right,) = right_answers(model, tokenizer, 12, ["55 + 87 ="])
    asked = {"model": "four_domains", "prompt": right.prompt, "temperature": 0}

    broken = pytest.raises(httpx.RemoteProtocolError)
    long = {"json": LONG | {"stream": True}, "timeout": 60}
    with (
        a_process() as (process, url),
        broken,
        httpx.stream("POST", f"{url}/v1/completions", **long) as s,
    ):
        for _ in s.iter_lines():
            process.kill()
    port = int(url.rpartition(":")[2])
    with a_process(port) as (process, again), httpx.Client(timeout=60) as http:
        body = asked | {"max_tokens": right.n_tokens}
        answer = http.post(f"{again}/v1/completions", json=body).json()
        with httpx.stream("POST", f"{again}/v1/completions", **long) as s:
            lines = s.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        status = process.wait(timeout=30)

    assert again == url
    assert answer["choices"][0]["text"] == right.text
    assert rest[-1] == "data: [DONE]"
    assert status == 0


def test_a_server_that_was_told_to_stop_finishes_and_takes_nothing_new(model: Model) -> None:
    body = {"model": "tiny", "prompt": "abc", "max_tokens": 60, "ignore_eos": True}
    with (
        running(model, Slow) as live,
        live.http() as http,
        http.stream("POST", "/v1/completions", json=body | {"stream": True}) as answer,
    ):
        lines = answer.iter_lines()
        next(lines)
        live.server.handle_exit(signal.SIGTERM, None)
        while http.get("/ready").status_code == 200:
            time.sleep(0.01)
        refused, health = http.post("/v1/completions", json=body), http.get("/health")
        rest = [line for line in lines if line]

    assert refused.status_code == 503
    assert "being stopped" in refused.json()["error"]["message"]
    assert int(refused.headers["retry-after"]) > 0
    assert health.status_code == 200
    assert rest[-1] == "data: [DONE]"


@pytest.mark.parametrize("stream", [True, False])
def test_who_is_not_done_by_the_deadline_is_told_in_words(model: Model, stream: bool) -> None:
    body = {"model": "tiny", "prompt": "abc", "max_tokens": 120, "ignore_eos": True}
    with running(model, Slow, drain_seconds=0.1) as live, live.http() as http:
        threading.Timer(0.5, live.server.handle_exit, (signal.SIGTERM, None)).start()
        answer = http.post("/v1/completions", json=body | {"stream": stream})

    assert answer.status_code == (200 if stream else 503)
    assert "this answer is not finished" in answer.text
    assert "[DONE]" not in answer.text


def test_a_model_that_cannot_be_loaded_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(tmp_path / "nothing"), "--port", "0"]) == 2
    assert "There is no model at" in capsys.readouterr().err


def test_an_address_that_is_taken_is_a_sentence(capsys: pytest.CaptureFixture[str], live) -> None:
    port = live.url.rpartition(":")[2]

    assert main(["serve", "--port", port]) == 2
    assert "cannot listen at 127.0.0.1" in capsys.readouterr().err


def test_other_machines_are_not_served_without_a_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOE_TEACH_API_KEY", raising=False)

    assert main(["serve", "--host", "0.0.0.0", "--port", "0"]) == 2
    assert "--api-key" in capsys.readouterr().err
