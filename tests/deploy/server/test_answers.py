"""The client that the world uses, against a live server; the model alone says what is right."""

import json

import openai
import pytest
import torch

from moe_teach.data.tokenizer import ByteTokenizer
from moe_teach.deploy.server.transcript import CUT
from moe_teach.nn.model import Model
from moe_teach.train.generate import generate
from tests.deploy.server.live import END, Live

BYTES = ByteTokenizer()
ASK = {"model": "tiny", "temperature": 0}


def alone(model: Model, prompt: str, n_tokens: int) -> list[int]:
    """What the model says to nobody but this prompt."""
    ids = generate(model, BYTES.encode(prompt), n_tokens, temperature=0.0)
    return ids[: ids.index(END) + 1] if END in ids else ids


def test_a_greedy_completion_is_what_the_model_says_alone(model: Model, live: Live) -> None:
    answer = live.client().completions.create(prompt="Hello", max_tokens=20, **ASK)

    expected = alone(model, "Hello", 20)
    assert answer.choices[0].text == BYTES.decode(expected)
    assert (answer.object, answer.model) == ("text_completion", "tiny")
    assert answer.usage.prompt_tokens == 5
    assert answer.usage.completion_tokens == len(expected)
    assert answer.usage.total_tokens == 5 + len(expected)
    assert answer.system_fingerprint == "moe-0123456789ab-v0"
    assert answer.moe == {"versions": [0]}


def test_a_stream_says_the_same_in_pieces_and_ends_as_it_should(live: Live) -> None:
    asked = {"prompt": "Hello", "max_tokens": 20, **ASK}
    whole = live.client().completions.create(**asked)
    with (
        live.http() as http,
        http.stream("POST", "/v1/completions", json=asked | {"stream": True}) as answer,
    ):
        lines = [line for line in answer.iter_lines() if line]

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert lines[-1] == "data: [DONE]"
    choices = [json.loads(line[6:])["choices"][0] for line in lines[:-1]]
    assert "".join(choice["text"] for choice in choices) == whole.choices[0].text
    reasons = [choice["finish_reason"] for choice in choices]
    assert reasons == [None] * (len(reasons) - 1) + [whole.choices[0].finish_reason]


def test_a_chat_is_a_completion_of_what_the_template_makes_of_it(live: Live) -> None:
    client = live.client()
    parts = [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]
    messages = [{"role": "system", "content": "a"}, {"role": "user", "content": parts}]

    answer = client.chat.completions.create(messages=messages, max_completion_tokens=9, **ASK)
    plain = client.completions.create(prompt="a bc", max_tokens=9, **ASK)

    assert answer.choices[0].message.content == plain.choices[0].text
    assert answer.choices[0].message.role == "assistant"
    assert answer.usage == plain.usage


def test_a_streamed_chat_names_its_role_once_and_counts_when_asked(live: Live) -> None:
    chunks = list(
        live.client().chat.completions.create(
            messages=[{"role": "user", "content": "Hi"}],
            max_tokens=6,
            stream=True,
            stream_options={"include_usage": True},
            **ASK,
        )
    )

    deltas = [chunk.choices[0].delta for chunk in chunks[:-1]]
    assert [delta.role for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 6
    assert {chunk.usage for chunk in chunks[:-1]} == {None}


def test_a_chat_without_a_limit_speaks_as_long_as_there_is_room(model: Model, live: Live) -> None:
    answer = live.client().chat.completions.create(
        messages=[{"role": "user", "content": "x" * 100}], extra_body={"ignore_eos": True}, **ASK
    )

    assert answer.usage.completion_tokens == model.config.max_seq_len + 1 - 100
    assert answer.choices[0].finish_reason == "length"


def test_logprobs_are_those_of_the_model(model: Model, live: Live) -> None:
    answer = live.client().completions.create(prompt="abc", max_tokens=5, logprobs=0, **ASK)

    ids = BYTES.encode("abc") + alone(model, "abc", 5)
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    rows = range(2, len(ids) - 1)
    told = answer.choices[0].logprobs.token_logprobs
    assert told == pytest.approx([float(expected[i, ids[i + 1]]) for i in rows], abs=1e-4)


def test_logprobs_of_a_chat_come_with_their_tokens(live: Live) -> None:
    answer = live.client().chat.completions.create(
        messages=[{"role": "user", "content": "abc"}], max_tokens=5, logprobs=True, **ASK
    )

    told = answer.choices[0].logprobs.content
    assert "".join(one.token for one in told) == answer.choices[0].message.content
    assert all(one.logprob <= 0 for one in told)
    assert all(one.bytes is None or bytes(one.bytes).decode() == one.token for one in told)


def likeliest(model: Model, ids: list[int], n_prompt: int, n: int) -> list[dict[int, float]]:
    """The model's own n likeliest tokens after each prefix, best first."""
    with torch.no_grad():
        logprobs = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    best = logprobs[n_prompt - 1 : -1].sort(descending=True)
    return [
        dict(zip(tokens[:n], values[:n], strict=True))
        for tokens, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def adds(before: list[int], token_id: int) -> str:
    """The text that is certain with this byte, and was not before."""
    texts = [BYTES.decode(ids) for ids in (before, [*before, token_id])]
    shown, now = (text.removesuffix(CUT) for text in texts)
    return now[len(shown) :]


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_names_the_likeliest_tokens_when_asked(
    model: Model, live: Live, stream: bool
) -> None:
    asked = {"messages": [{"role": "user", "content": "abc"}], "max_tokens": 6, "logprobs": True}
    answer = live.client().chat.completions.create(**asked, top_logprobs=20, stream=stream, **ASK)

    parts = [one.choices[0] for one in answer] if stream else answer.choices
    told = [one for part in parts for one in part.logprobs.content]
    ids = BYTES.encode("abc") + alone(model, "abc", 6)
    assert len(told) == len(ids) - 3
    for place, expected in enumerate(likeliest(model, ids, 3, 20)):
        one = told[place]
        assert [other.logprob for other in one.top_logprobs] == pytest.approx(
            list(expected.values()), abs=1e-4
        )
        assert one.top_logprobs[0].logprob == one.logprob, "temperature 0 takes the likeliest"
        texts = [adds(ids[3 : 3 + place], token_id) for token_id in expected]
        assert [other.token for other in one.top_logprobs[1:]] == texts[1:]
        spelled = [other.bytes and bytes(other.bytes).decode() for other in one.top_logprobs[1:]]
        assert spelled == [None if text == "" or CUT in text else text for text in texts[1:]]


def test_a_completion_names_as_many_tokens_as_it_asks_for_and_its_own(
    model: Model, live: Live
) -> None:
    asked = {"model": "tiny", "prompt": "abc", "max_tokens": 20, "temperature": 1.5, "seed": 4}
    asked["extra_body"] = {"ignore_eos": True, "moe_trace": True}
    answer = live.client().completions.create(**asked, logprobs=5)

    told = answer.choices[0].logprobs
    ids = BYTES.encode("abc") + [one["token_id"] for one in answer.moe["trace"]]
    were_likely = set()
    for place, expected in enumerate(likeliest(model, ids, 3, 5)):
        found, own = dict(told.top_logprobs[place]), ids[3 + place]
        assert found.pop(told.tokens[place]) == told.token_logprobs[place]
        were_likely.add(own in expected)
        expected.pop(own, None)
        assert len(found) == len(expected), "bytes without a text of their own are not lost"
        for token_id, value in expected.items():
            text = adds(ids[3 : 3 + place], token_id)
            named = found.get(f"token_id:{token_id}", found.get(text))
            assert named == pytest.approx(value, abs=1e-4)
    assert were_likely == {True, False}, "tokens among the likeliest five, and others"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"top_logprobs": 3}, "send logprobs: true as well"),
        ({"logprobs": True, "top_logprobs": 21}, "20"),
        ({"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
    ],
)
def test_alternatives_that_cannot_be_told_are_refused(wrong: dict, words: str, live: Live) -> None:
    messages = [{"role": "user", "content": "a"}]
    with pytest.raises(openai.BadRequestError, match=words):
        live.client().chat.completions.create(messages=messages, **ASK, **wrong)


def test_a_trace_names_the_experts_and_gates_that_the_router_chose(
    model: Model, live: Live
) -> None:
    answer = live.client().completions.create(
        prompt="abc", max_tokens=5, extra_body={"moe_trace": True}, **ASK
    )

    ids = BYTES.encode("abc") + alone(model, "abc", 5)
    with torch.no_grad():
        routings = model(torch.tensor([ids[:-1]])).routings
    trace = answer.moe["trace"]
    assert [one["token_id"] for one in trace] == ids[3:]
    for row, one in enumerate(trace, start=2):
        assert one["experts"] == [routing.expert_ids[row].tolist() for routing in routings]
        for gates, routing in zip(one["gates"], routings, strict=True):
            assert gates == pytest.approx(routing.gates[row].tolist(), abs=1e-4)


def test_a_seed_draws_the_same_text_again_and_no_seed_another(live: Live) -> None:
    def drawn(**more: object) -> str:
        asked = {"model": "tiny", "prompt": "abc", "max_tokens": 30, "temperature": 1.5}
        return live.client().completions.create(**asked, **more).choices[0].text

    assert drawn(seed=7) == drawn(seed=7)
    assert drawn() != drawn()


def test_a_stop_ends_the_text_before_itself(live: Live) -> None:
    client = live.client()
    text = client.completions.create(prompt="Hello", max_tokens=20, **ASK).choices[0].text
    stop = text[4:7]

    answer = client.completions.create(prompt="Hello", max_tokens=20, stop=stop, **ASK)

    assert answer.choices[0].text == text[: text.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


def test_the_model_is_listed_by_its_name(live: Live) -> None:
    client = live.client()

    assert [one.id for one in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").moe["n_experts"] == 4
    with pytest.raises(openai.NotFoundError, match="this server has 'tiny'"):
        client.models.retrieve("another/one")


def test_fields_it_never_heard_of_are_named_and_do_no_harm(live: Live) -> None:
    with live.http() as http:
        body = {**ASK, "prompt": "a", "max_tokens": 1, "user": "me", "teperature\n": 3}
        answer = http.post("/v1/completions", json=body)

    assert answer.status_code == 200
    assert answer.headers["x-moe-ignored"] == "teperature?, user"


@pytest.mark.parametrize(
    "neutral",
    [
        {"n": 1},
        {"presence_penalty": 0.0, "frequency_penalty": 0},
        {"logit_bias": {}},
        {"echo": False, "best_of": 1, "suffix": None},
        {"top_p": None, "stop": None, "seed": None, "stream": None},
        {"logprobs": 0, "stop": []},
    ],
)
def test_what_asks_for_nothing_special_is_accepted(neutral: dict, live: Live) -> None:
    answer = live.client().completions.create(
        model="tiny", prompt="a", max_tokens=1, extra_body=neutral
    )

    assert answer.usage.completion_tokens == 1
