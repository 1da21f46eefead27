"""Who may ask, and how much at once."""

import logging
import time
from collections.abc import Iterator

import httpx
import openai
import pytest

from moe_teach.deploy.server.options import Options
from moe_teach.nn.model import Model
from tests.deploy.server.live import Live, running

BODY = {"model": "tiny", "prompt": "abc", "max_tokens": 1}


@pytest.fixture(scope="module")
def locked(model: Model) -> Iterator[Live]:
    limits = {"max_body": 2000, "max_prompt": 20, "max_tokens": 30, "body_seconds": 0.5}
    with running(model, api_key="open sesame", **limits) as server:
        yield server


@pytest.mark.parametrize(
    "key", ["", "Bearer wrong", "Bearer open sesam", "Bearer open sesame!", "Basic b3Blbg=="]
)
def test_a_key_is_asked_for_and_a_wrong_one_refused(key: str, locked: Live) -> None:
    answer = httpx.get(f"{locked.url}/v1/models", headers={"authorization": key})

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "Authorization: Bearer KEY" in answer.json()["error"]["message"]


def test_the_right_key_opens_and_the_client_understands_a_wrong_one(locked: Live) -> None:
    assert locked.client().completions.create(**BODY).usage.completion_tokens == 1
    with pytest.raises(openai.AuthenticationError):
        locked.client(api_key="nothing").completions.create(**BODY)


@pytest.mark.parametrize("path", ["/metrics", "/v1/models", "/admin/roll-back", "/v1/nothing"])
def test_everything_but_health_and_the_empty_page_needs_the_key(path: str, locked: Live) -> None:
    assert httpx.get(f"{locked.url}{path}").status_code == 401


@pytest.mark.parametrize("path", ["/health", "/ready", "/", "/page.js", "/page.css"])
def test_health_and_the_page_need_none(path: str, locked: Live) -> None:
    assert httpx.get(f"{locked.url}{path}").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "[", "192.168.0.1"])
def test_without_a_key_only_names_of_this_machine_are_answered(host: str, live: Live) -> None:
    answer = httpx.get(f"{live.url}/v1/models", headers={"host": host})

    assert answer.status_code == 403
    assert "--api-key" in answer.json()["error"]["message"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
def test_without_a_key_pages_of_others_are_not_answered(origin: str, live: Live) -> None:
    answer = httpx.post(f"{live.url}/v1/completions", json=BODY, headers={"origin": origin})

    assert answer.status_code == 403


def test_the_servers_own_page_is_answered(live: Live) -> None:
    answer = httpx.post(f"{live.url}/v1/completions", json=BODY, headers={"origin": live.url})

    assert answer.status_code == 200


def test_a_body_that_is_too_large_is_refused_whatever_its_header_says(locked: Live) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(30):
            yield b" " * 100

    with locked.http() as http:
        told = http.post("/v1/completions", content=b" " * 3000)
        untold = http.post("/v1/completions", content=pieces())

    assert (told.status_code, untold.status_code) == (413, 413)
    assert "up to 2,000 bytes" in untold.json()["error"]["message"]


def test_a_body_that_does_not_come_is_not_waited_for(locked: Live) -> None:
    def slow() -> Iterator[bytes]:
        yield b"{"
        time.sleep(1.5)
        yield b"}"

    with locked.http() as http:
        answer = http.post("/v1/completions", content=slow())

    assert answer.status_code == 408


def test_limits_on_prompt_and_answer_are_told(locked: Live) -> None:
    client = locked.client()

    with pytest.raises(openai.BadRequestError, match="21 tokens, and this server reads at most 20"):
        client.completions.create(**BODY | {"prompt": "x" * 21})
    with pytest.raises(openai.BadRequestError, match="adds at most 30"):
        client.completions.create(**BODY | {"max_tokens": 31})
    chat = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "x"}],
        extra_body={"ignore_eos": True},
    )
    assert chat.usage.completion_tokens == 30


def test_no_word_of_a_prompt_or_an_answer_is_logged(
    live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "a secret that nobody may read"
    with caplog.at_level(logging.DEBUG), live.http() as http:
        said = http.post("/v1/completions", json=BODY | {"prompt": secret, "max_tokens": 20})
        http.post("/v1/completions", json=BODY | {"prompt": secret, "temperature": "hot"})
        http.post("/v1/completions", content=f'{{"prompt": "{secret}"'.encode())

    ours = [record.getMessage() for record in caplog.records if "httpx" not in record.name]
    assert any("tokens read" in message for message in ours)
    assert secret not in "\n".join(ours)
    assert said.json()["choices"][0]["text"] not in "\n".join(ours)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "example.org", "::"])
def test_nobody_listens_to_other_machines_without_a_key(host: str) -> None:
    with pytest.raises(ValueError, match="give it a key with --api-key"):
        Options(host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_this_machine_needs_no_key(host: str) -> None:
    assert Options(host=host).api_key is None


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"api_key": " "}, "must not be empty"),
        ({"api_key": "schlüssel"}, "ASCII"),
        ({"port": 70000}, "0 to 65535"),
        ({"n_slots": 0}, "n_slots must be at least 1"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"drain_seconds": -1.0}, "must not be negative"),
        ({"max_waiting": -1}, "must not be negative"),
    ],
)
def test_impossible_options_are_refused_in_words(wrong: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Options(**wrong)
