"""One streamed request with the time of every event, at next to no cost.

The client shares the machine's cores with the server it measures. So it reads lines and looks at
a clock; what the lines say is parsed when nobody is being measured any more.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

_LIMIT = 1 << 20  # bytes of one line


@dataclass
class Heard:
    """What one request heard, and when: seconds on one clock. `due` is when it should have left."""

    due: float
    status: int = 0
    times: list[float] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    end: float = 0.0
    refusal: str = ""
    prompt: str = ""

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that hold JSON."""
        payloads = (line[6:].strip() for line in self.lines)
        return [json.loads(one) for one in payloads if one != b"[DONE]"]

    @property
    def text(self) -> str:
        """All text, joined."""
        choices = (choice for event in self.events for choice in event.get("choices", ()))
        return "".join(choice.get("text") or "" for choice in choices)

    @property
    def n_tokens(self) -> int:
        """How many tokens the server says that it wrote."""
        counts = [event["usage"] for event in self.events if event.get("usage")]
        return counts[-1]["completion_tokens"] if counts else 0

    @property
    def first(self) -> float:
        """Seconds to the first event with text."""
        for moment, event in zip(self.times, self.events, strict=False):
            if any(choice.get("text") for choice in event.get("choices", ())):
                return moment - self.due
        return self.end - self.due

    @property
    def whole(self) -> float:
        """Seconds to the end."""
        return self.end - self.due

    @property
    def between(self) -> float:
        """Mean seconds from one token to the next."""
        return (self.whole - self.first) / max(self.n_tokens - 1, 1)


async def hear(port: int, body: dict[str, Any], due: float | None = None) -> Heard:
    """Ask `/v1/completions` of this machine for a stream, and listen to its end."""
    heard = Heard(time.perf_counter() if due is None else due, prompt=body["prompt"])
    content = json.dumps(body | {"stream": True, "stream_options": {"include_usage": True}})
    head = (
        "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content.encode())}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_LIMIT)
    try:
        writer.write((head + content).encode())
        heard.status = int((await reader.readline()).split()[1])
        while line := await reader.readline():
            if heard.status != 200:
                heard.refusal += line.decode(errors="replace")
            if line.startswith(b"data: "):
                heard.times.append(time.perf_counter())
                heard.lines.append(line)
    finally:
        heard.end = time.perf_counter()
        writer.close()
    return heard
