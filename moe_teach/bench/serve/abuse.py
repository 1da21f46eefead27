"""Requests that nobody should send, and the statuses that each may be refused with."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TEXT, CHAT = "/v1/completions", "/v1/chat/completions"
_HELLO = [{"role": "user", "content": "Hello"}]


@dataclass(frozen=True)
class Wrong:
    """A bad request: where it goes, what it holds, how it may be refused."""

    name: str
    path: str
    content: Callable[[str, int], bytes]
    statuses: tuple[int, ...] = (400,)


def _raw(name: str, content: bytes, *statuses: int, path: str = TEXT) -> Wrong:
    return Wrong(name, path, lambda model, longest: content, statuses or (400,))


def _text(name: str, **fields: Any) -> Wrong:
    def content(model: str, longest: int) -> bytes:
        return json.dumps({"model": model, "prompt": "Hello", "max_tokens": 2} | fields).encode()

    return Wrong(name, TEXT, content)


def _chat(name: str, **fields: Any) -> Wrong:
    def content(model: str, longest: int) -> bytes:
        return json.dumps({"model": model, "messages": _HELLO, "max_tokens": 2} | fields).encode()

    return Wrong(name, CHAT, content)


def _too_long(model: str, longest: int) -> bytes:
    return json.dumps({"model": model, "prompt": [1] * (longest + 1), "max_tokens": 1}).encode()


def _no_room(model: str, longest: int) -> bytes:
    return json.dumps({"model": model, "prompt": [1] * longest, "max_tokens": 2}).encode()


def _stranger(model: str, longest: int) -> bytes:
    return json.dumps({"model": "gpt-nobody", "prompt": "Hello"}).encode()


WRONG: tuple[Wrong, ...] = (
    _raw("no body", b""),
    _raw("no JSON", b"{"),
    _raw("no UTF-8", b'{"prompt": "\xff\xfe"}'),
    _raw("a list", b"[1, 2]"),
    _raw("a nest", b"[" * 100_000),
    _raw("a number with a million digits", b'{"seed": ' + b"9" * 1_000_000 + b"}"),
    _raw("2 MiB", b'{"prompt": "' + b"x" * (2 << 20) + b'"}', 413),
    _raw("an address that is not there", b"{}", 404, path="/v1/embeddings"),
    _raw("an expert without a key", b"", 403, 401, 400, path="/admin/experts/0/0"),
    _raw("nothing but braces", b"{}"),
    Wrong("another model", TEXT, _stranger, (404,)),
    Wrong("a prompt that is too long", TEXT, _too_long),
    Wrong("no room for the answer", TEXT, _no_room),
    _text("no prompt", prompt=None),
    _text("an empty prompt", prompt=""),
    _text("a prompt that is a number", prompt=7),
    _text("two prompts", prompt=["a", "b"]),
    _text("an id outside the vocabulary", prompt=[10**9]),
    _text("a negative id", prompt=[-1]),
    _text("ids and words", prompt=[1, "a"]),
    _text("half a character", prompt="\ud800"),
    _text("tokens as a word", max_tokens="many"),
    _text("no tokens", max_tokens=0),
    _text("too many tokens", max_tokens=10**12),
    _text("half a token", max_tokens=1.5),
    _text("cold below zero", temperature=-1),
    _text("a hot word", temperature="hot"),
    _text("a temperature that is no number", temperature=float("nan")),
    _text("an endless temperature", temperature=float("inf")),
    _text("a true temperature", temperature=True),
    _text("a nucleus of nothing", top_p=0),
    _text("a nucleus too large", top_p=1.5),
    _text("top 0", top_k=0),
    _text("a seed of wood", seed="oak"),
    _text("a seed too large", seed=2**70),
    _text("two answers", n=2),
    _text("the prompt again", echo=True),
    _text("ten logprobs", logprobs=10),
    _text("a chat's logprobs", top_logprobs=2),
    _text("a stop of stone", stop=[1]),
    _text("an empty stop", stop=""),
    _text("a hundred stops", stop=["x"] * 100),
    _text("a stream of maybe", stream="maybe"),
    _text("stream options without a stream", stream_options={"include_usage": True}),
    _text("a penalty", presence_penalty=1),
    _text("a bend", logit_bias={"5": 100}),
    _text("a trace of yes", moe_trace="yes"),
    _chat("no messages", messages=[]),
    _chat("messages as a word", messages="hi"),
    _chat("a message without a role", messages=[{"content": "hi"}]),
    _chat("a picture", messages=[{"role": "user", "content": [{"type": "image_url"}]}]),
    _chat("a message of nothing", messages=[{"role": "user", "content": None}]),
    _chat("tools", tools=[{"type": "function", "function": {"name": "f"}}]),
    _chat("JSON wanted", response_format={"type": "json_object"}),
    _chat("top logprobs without logprobs", top_logprobs=3),
    _chat("a hundred top logprobs", logprobs=True, top_logprobs=100),
)
