"""A storm of good and bad requests, each with what must come of it.

Nothing here knows how the server is built: it is asked over HTTP and raw sockets, and what it
says is compared with what the model alone says, or with the rule that every refusal is a sentence.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from moe_teach.bench.serve.abuse import WRONG, Wrong
from moe_teach.bench.serve.oracle import Right

_PATIENCE = 120.0  # seconds for one answer on a crowded machine
_TRIES = 200  # of a request that is told to come back


@dataclass
class Report:
    """What a storm did: how many of each kind, and everything that was not as it must be."""

    sent: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    n_busy: int = 0

    @property
    def n_sent(self) -> int:
        """How many requests were sent, each counted once however often it was told to wait."""
        return sum(self.sent.values())


class Storm:
    """Sends requests of every kind to one server.

    Args:
        url: where the server listens.
        model: its name there.
        answers: what it must say.
        longest: tokens the model reads at most.
        key: of the server, if it has one.
    """

    _patience = 10.0  # seconds for the slots of those that left

    def __init__(
        self, url: str, model: str, answers: Sequence[Right], longest: int, key: str | None = None
    ) -> None:
        self.url, self.model, self.answers, self.longest = url, model, answers, longest
        self.key = key
        self.report = Report()
        self._kinds: dict[str, Callable[[random.Random], Awaitable[str]]] = {
            "whole": self._whole,
            "streamed": self._streamed,
            "left while streaming": self._left_streaming,
            "left while waiting": self._left_waiting,
            "half a body, then gone": self._half_a_body,
            "no HTTP at all": self._noise,
            "wrong": self._wrong,
        }
        self._weights = (25, 25, 12, 8, 3, 2, 25)

    async def run(self, n_requests: int, *, seed: int = 0, at_once: int = 16) -> Report:
        """Send `n_requests`, some at a time, and return what came of them."""
        luck = random.Random(seed)
        kinds = luck.choices(list(self._kinds), self._weights, k=n_requests)
        jobs = [(kind, random.Random(luck.random())) for kind in kinds]
        gate = asyncio.Semaphore(at_once)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=at_once)
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        async with httpx.AsyncClient(
            base_url=self.url, timeout=_PATIENCE, limits=limits, headers=headers
        ) as self._client:
            await asyncio.gather(*(self._one(gate, *job) for job in jobs))
            await self._nobody_is_left()
        return self.report

    async def _one(self, gate: asyncio.Semaphore, kind: str, luck: random.Random) -> None:
        async with gate:
            self.report.sent[kind] += 1
            try:
                outcome = await asyncio.wait_for(self._kinds[kind](luck), _PATIENCE)
            except Exception as problem:
                outcome = f"failed: {type(problem).__name__}: {problem}"
            self.report.outcomes[f"{kind}: {outcome.split(':')[0]}"] += 1
            if outcome.startswith(("failed", "false")):
                self.report.wrong.append(f"{kind}: {outcome}")

    def _body(self, right: Right, **more: Any) -> dict[str, Any]:
        asked = {"model": self.model, "prompt": right.prompt, "temperature": 0}
        return asked | {"max_tokens": right.n_tokens} | more

    async def _whole(self, luck: random.Random) -> str:
        right = luck.choice(self.answers)
        given = luck.choice((right.prompt, list(right.prompt_ids)))
        traced = luck.random() < 0.3
        for _ in range(_TRIES):
            body = self._body(right, prompt=given, moe_trace=traced, logprobs=0)
            answer = await self._client.post("/v1/completions", json=body)
            if not await self._is_busy(answer):
                break
        if answer.status_code != 200:
            return f"failed: {answer.status_code} {answer.text[:200]}"
        found = answer.json()
        text, usage = found["choices"][0]["text"], found["usage"]
        if text != right.text or usage["completion_tokens"] != right.n_tokens:
            return f"false: {right.prompt!r} became {text!r}, not {right.text!r}"
        n_logprobs = len(found["choices"][0]["logprobs"]["tokens"])
        n_traced = len(found["moe"].get("trace", ()))
        fits = n_logprobs == right.n_tokens and n_traced == traced * right.n_tokens
        return "right" if fits else f"false: {n_logprobs} logprobs, {n_traced} traces"

    async def _streamed(self, luck: random.Random) -> str:
        right = luck.choice(self.answers)
        for _ in range(_TRIES):
            async with self._stream(self._body(right, stream=True)) as answer:
                if await self._is_busy(answer):
                    continue
                if answer.status_code != 200:
                    return f"failed: {answer.status_code} {(await answer.aread())[:200]!r}"
                lines = [line async for line in answer.aiter_lines() if line]
                break
        text = "".join(json.loads(line[6:])["choices"][0]["text"] for line in lines[:-1])
        if lines[-1] != "data: [DONE]":
            return f"failed: the stream ended with {lines[-1]!r}"
        is_right = text == right.text
        return "right" if is_right else f"false: {right.prompt!r} became {text!r}"

    async def _left_streaming(self, luck: random.Random) -> str:
        async with self._stream(self._body(luck.choice(self.answers), stream=True)) as answer:
            if await self._is_busy(answer):
                return "was told to come back and did not"
            n_lines = luck.randrange(1, 6)
            async for _ in answer.aiter_lines():
                n_lines -= 1
                if n_lines <= 0:
                    break
        return "left"

    async def _left_waiting(self, luck: random.Random) -> str:
        body = self._body(luck.choice(self.answers))
        try:
            async with asyncio.timeout(luck.uniform(0.001, 0.1)):
                await self._client.post("/v1/completions", json=body)
            return "was answered before it could leave"
        except TimeoutError:
            return "left"

    async def _wrong(self, luck: random.Random) -> str:
        return await self._refused(luck.choice(WRONG))

    async def _refused(self, wrong: Wrong) -> str:
        content = wrong.content(self.model, self.longest)
        answer = await self._client.post(wrong.path, content=content)
        try:
            sentence = answer.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            return f"failed: {wrong.name} was answered {answer.status_code} {answer.text[:200]}"
        in_words = sentence[-1:] in (".", "?") and " " in sentence
        if answer.status_code not in wrong.statuses or not in_words:
            return f"failed: {wrong.name} was answered {answer.status_code} {sentence}"
        return f"refused in words with {answer.status_code}"

    async def _half_a_body(self, luck: random.Random) -> str:
        body = json.dumps(self._body(luck.choice(self.answers))).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}"
        await self._raw(head.encode() + b"\r\n\r\n" + body[: len(body) // 2])
        return "left"

    async def _noise(self, luck: random.Random) -> str:
        answer = await self._raw(luck.randbytes(64) + b"\r\n\r\n", wait=True)
        said = b"400" in answer[:20] or answer == b""
        return "sent away" if said else f"failed: noise was answered {answer[:80]!r}"

    async def _raw(self, content: bytes, *, wait: bool = False) -> bytes:
        where = httpx.URL(self.url)
        reader, writer = await asyncio.open_connection(where.host, where.port)
        try:
            writer.write(content)
            await writer.drain()
            return await asyncio.wait_for(reader.read(), 5) if wait else b""
        except (ConnectionError, TimeoutError):
            return b""
        finally:
            writer.close()

    def _stream(self, body: dict[str, Any]) -> Any:
        return self._client.stream("POST", "/v1/completions", json=body)

    async def _is_busy(self, answer: httpx.Response) -> bool:
        if answer.status_code != 429:
            return False
        self.report.n_busy += 1
        if not int(answer.headers["retry-after"]) >= 1:
            self.report.wrong.append("a full queue did not say when to come back")
        await asyncio.sleep(0.05)  # sooner than it says: a storm has no manners
        return True

    async def _nobody_is_left(self) -> None:
        """Look whether every slot is free again, as those that left should have made it."""
        deadline = time.monotonic() + self._patience
        while True:
            lines = (await self._client.get("/metrics")).text.splitlines()
            left = {name: _value(lines, name) for name in ("moe_running", "moe_queue_length")}
            if not any(left.values()):
                return
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.05)
        self.report.wrong.append(f"slots were not given back: {left}")


def _value(lines: Sequence[str], name: str) -> float:
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))
