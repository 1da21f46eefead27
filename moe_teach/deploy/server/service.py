"""One served model as the web sees it: from a body to a ticket, from a ticket to an answer."""

import asyncio
import json
import logging
import math
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

from moe_teach.deploy.engine.engine import Engine
from moe_teach.deploy.engine.requests import Request, Sampling
from moe_teach.deploy.server.answers import Composer
from moe_teach.deploy.server.metrics import Metrics, Snapshot, Watch
from moe_teach.deploy.server.options import Options
from moe_teach.deploy.server.refusals import BAD_REQUEST, NOT_NOW, TOO_MANY, Refusal
from moe_teach.deploy.server.served import Served
from moe_teach.deploy.server.transcript import Piece, Transcript
from moe_teach.deploy.server.wishes import CHAT, Endpoint, Wish, read_chat, read_completion
from moe_teach.deploy.server.worker import Ticket, Worker

LOG = logging.getLogger("moe_teach.serve")
_DRAINING = "The server is being stopped and takes no new requests: ask another one, or later."
_CUT_OFF = "The server was stopped and its patience is over: this answer is not finished."


class Service:
    """A model, its engine in a thread, and the counts of both.

    Args:
        load: makes the engine and says what it serves; called in the engine's thread.
        options: limits.
    """

    def __init__(self, load: Callable[[], tuple[Engine, Served]], options: Options) -> None:
        self.options, self.metrics = options, Metrics()
        self.is_draining = False
        self._served: Served | None = None
        self._seconds = 1.0  # of a request, on the average of late

        def load_both() -> Engine:
            engine, self._served = load()
            return engine

        self.worker = Worker(load_both)

    def demand_open(self) -> Served:
        """Return what is served, or refuse while nothing is, or nothing more."""
        if self.is_draining:
            raise Refusal(NOT_NOW, _DRAINING, retry_after=math.ceil(self.options.drain_seconds))
        self.worker.demand_ready()
        return self._served

    async def ask(self, endpoint: Endpoint, body: dict[str, Any]) -> "Answering":
        """Read a body and queue what it asks for.

        Raises:
            Refusal: the body cannot be served, or not now.
        """
        served = self.demand_open()
        try:
            wish, prompt = await self._understood(served, endpoint, body)
        except ValueError as problem:
            raise Refusal(BAD_REQUEST, str(problem)) from problem
        request = Request(
            id=f"{'chatcmpl' if endpoint == CHAT else 'cmpl'}-{secrets.token_hex(12)}",
            prompt=prompt,
            sampling=self._sampling(served, wish, len(prompt)),
            trace=wish.trace,
            n_alternatives=wish.n_alternatives,
        )
        watch = Watch(self.metrics)
        try:
            ticket = await self.worker.submit(request)
        except Refusal as refusal:
            if refusal.status == TOO_MANY:
                refusal.retry_after = self._patience()
            raise
        self.metrics.accepted(len(prompt))
        return Answering(self, wish, served, ticket, watch)

    async def snapshot(self) -> Snapshot | None:
        """Return the engine's counts, or None while there is no engine to ask."""
        if self.worker.state != "ready":
            return None
        store = self._served.store
        return await self.worker.between_steps(lambda engine: Snapshot.of(engine, store))

    async def drain(self) -> int:
        """Take no more requests, let answers end; return how many had to be cut off."""
        self.is_draining = True
        deadline = asyncio.get_running_loop().time() + self.options.drain_seconds
        while self.worker.n_open and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        return self.worker.dismiss(Refusal(NOT_NOW, _CUT_OFF))

    def took(self, seconds: float) -> None:
        """Remember how long a request took, for who is told to come back."""
        self._seconds += 0.1 * (seconds - self._seconds)

    def _patience(self) -> int:
        """Seconds after which a full queue has probably moved on by one round of slots."""
        return max(1, math.ceil(self._seconds))

    async def _understood(
        self, served: Served, endpoint: Endpoint, body: dict[str, Any]
    ) -> tuple[Wish, tuple[int, ...]]:
        if endpoint == CHAT:
            wish, messages = read_chat(body, served.name)
            text = served.prompt_of(messages)
        else:
            wish = read_completion(body, served.name)
            text = wish.prompt
        if isinstance(text, str):
            # In a thread, because a long text takes long and others are being answered.
            text = tuple(await asyncio.to_thread(served.tokenizer.encode, text))
        return wish, text

    def _sampling(self, served: Served, wish: Wish, n_prompt: int) -> Sampling:
        longest = served.config.max_seq_len
        most_read = min(self.options.max_prompt or longest, longest)
        if n_prompt > most_read:
            raise Refusal(
                BAD_REQUEST,
                f"The prompt has {n_prompt} tokens, and this server reads at most {most_read}: "
                "shorten it.",
                param="messages" if wish.endpoint == CHAT else "prompt",
                code="context_length_exceeded",
            )
        most_written = self.options.max_tokens or longest
        if wish.max_tokens is not None and wish.max_tokens > most_written:
            raise Refusal(
                BAD_REQUEST,
                f"max_tokens is {wish.max_tokens}, and this server adds at most {most_written}.",
                param="max_tokens",
            )
        # The last token is written and never read.
        room = longest + 1 - n_prompt
        return Sampling(
            max_tokens=wish.max_tokens or min(room, most_written),
            temperature=wish.temperature,
            top_k=wish.top_k,
            top_p=wish.top_p,
            seed=wish.seed,
            stop_ids=served.end_ids if wish.ends else frozenset(),
        )


class Answering:
    """One accepted request on its way: read its pieces, or close it."""

    def __init__(
        self, service: Service, wish: Wish, served: Served, ticket: Ticket, watch: Watch
    ) -> None:
        self._service, self.wish = service, wish
        self._ticket, self._watch = ticket, watch
        self._transcript = Transcript(served.tokenizer, wish.stops)
        self._composer = Composer(ticket.request.id, wish, served, len(ticket.request.prompt))
        self._outcome = "disconnected"

    @property
    def name(self) -> str:
        """The id of the answer."""
        return self._ticket.request.id

    async def whole(self) -> dict[str, Any]:
        """Wait for the end and return the answer."""
        async for piece in self._pieces():
            self._composer.keep(piece)
        return self._composer.whole(self._transcript, self._outcome)

    async def events(self) -> AsyncIterator[bytes]:
        """Give each server-sent event; a refusal on the way is the last, in OpenAI's JSON."""
        try:
            async for piece in self._pieces():
                yield _event(self._composer.event(piece, self._transcript))
            if self.wish.counts_usage:
                yield _event(self._composer.last_event(self._transcript))
            yield _event("[DONE]")
        except Refusal as refusal:
            yield _event(json.dumps(refusal.body))

    def close(self) -> None:
        """Stop listening, count how it ended, and say so in the log, without a word of the text."""
        self._ticket.close()
        seconds = self._watch.done()
        self._service.took(seconds)
        self._service.metrics.ended(self.wish.endpoint, self._outcome)
        LOG.info(
            "%s %s: %d tokens read, %d written, %.3f s",
            self.name,
            self._outcome,
            len(self._ticket.request.prompt),
            self._transcript.n_tokens,
            seconds,
        )

    async def _pieces(self) -> AsyncIterator[Piece]:
        while True:
            try:
                tokens = await self._ticket.tokens()
            except Refusal:
                self._outcome = "dismissed"
                raise
            self._watch.tokens(len(tokens))
            text, said = "", []
            for token in tokens:
                piece = self._transcript.feed(token)
                text, said = text + piece.text, [*said, *piece.said]
                if piece.ending is not None:
                    self._outcome = piece.ending
                    yield Piece(text, tuple(said), piece.ending)
                    return
            if text or said:
                yield Piece(text, tuple(said))


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()  # JSON on one line, so nothing has to be cut
