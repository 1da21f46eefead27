"""The engine's own thread, and the bridge between it and asyncio.

The engine is not made for two threads. So one thread owns it: it takes orders from a queue
between two steps, and hands tokens to the event loop, all of one step at once. Whoever stops
listening closes the ticket, and the engine drops the request before its next step.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Literal, TypeVar

from moe_teach.deploy.engine.engine import Engine
from moe_teach.deploy.engine.requests import EngineFull, Request, Token
from moe_teach.deploy.server.refusals import BAD_REQUEST, FAULT, NOT_NOW, TOO_MANY, Refusal

Answer = TypeVar("Answer")
State = Literal["loading", "ready", "failed", "stopped"]
_PATIENCE = 10.0  # seconds for the last step, or for a model that is still being loaded
LOG = logging.getLogger("moe_teach.serve")
_GONE = "The server was stopped before this answer was finished: ask another one, or again later."
_FAULT = "The engine failed and answers no more; the server's log says why. It must be restarted."
_LOADING = "The model is still being loaded: ask again in a few seconds, or wait for /ready."


class Ticket:
    """One request in the engine's hands: tokens come out until it ends or is closed."""

    def __init__(self, request: Request, worker: "Worker") -> None:
        self.request, self._worker = request, worker
        self._arrived: asyncio.Queue[Token | Refusal] = asyncio.Queue()
        self.is_over = False

    async def tokens(self) -> list[Token]:
        """Wait for a token; return it with all that came meanwhile.

        Raises:
            Refusal: there will be none, because the server stops or the engine failed.
        """
        arrived = [await self._arrived.get()]
        while not self._arrived.empty():
            arrived.append(self._arrived.get_nowait())
        for one in arrived:
            if isinstance(one, Refusal):
                raise one
        return arrived

    def put(self, arrived: Token | Refusal) -> None:
        """Hand over what the engine said; called in the event loop."""
        if isinstance(arrived, Refusal) or arrived.finish is not None:
            self.is_over = True
        self._arrived.put_nowait(arrived)

    def close(self) -> None:
        """Stop listening; the engine stops too, if it has not finished. Closing twice is fine."""
        self._worker.forget(self)


class Worker:
    """Loads an engine in a thread, and runs it there for ever.

    Args:
        load: returns the engine; called in the thread, because it may take long.
    """

    def __init__(self, load: Callable[[], Engine]) -> None:
        self._load = load
        self._orders: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._tickets: dict[str, Ticket] = {}
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._engine: Engine | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.state: State = "loading"
        self.problem: Exception | None = None  # why nothing could be loaded

    def start(self) -> None:
        """Start the thread; called in the event loop, which gets the tokens from then on."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Tell whoever still listens, and wait for the thread to end its step."""
        self.dismiss()
        self.state = "stopped" if self.state == "ready" else self.state
        self._orders.put(None)
        await asyncio.to_thread(self._thread.join, _PATIENCE)

    @property
    def n_open(self) -> int:
        """How many requests somebody still listens to."""
        return len(self._tickets)

    def demand_ready(self) -> None:
        """Refuse, in words, while there is no engine to ask."""
        if self.state == "loading":
            raise Refusal(NOT_NOW, _LOADING, retry_after=5)
        if self.state != "ready":
            raise Refusal(NOT_NOW, _FAULT if self.state == "failed" else _GONE)

    async def submit(self, request: Request) -> Ticket:
        """Queue a request.

        Raises:
            Refusal: the queue is full, the request cannot be served, or there is no engine.
        """
        self.demand_ready()
        ticket = Ticket(request, self)
        self._tickets[request.id] = ticket
        try:
            await self.between_steps(lambda engine: engine.submit(request))
        except BaseException as problem:
            # Who was cancelled while waiting may have been taken in: closing takes it back.
            ticket.is_over = isinstance(problem, EngineFull | ValueError)
            ticket.close()
            if isinstance(problem, EngineFull):
                raise Refusal(TOO_MANY, str(problem)) from problem
            if isinstance(problem, ValueError):
                raise Refusal(BAD_REQUEST, str(problem)) from problem
            raise
        return ticket

    def forget(self, ticket: Ticket) -> None:
        """Stop handing tokens to a ticket, and take its request out of the engine."""
        if self._tickets.pop(ticket.request.id, None) is not None and not ticket.is_over:
            self._drop(ticket)

    def _drop(self, ticket: Ticket) -> None:
        def order() -> None:
            if self.state == "ready":
                self._engine.cancel(ticket.request.id)

        self._orders.put(order)

    def dismiss(self, refusal: Refusal | None = None) -> int:
        """Tell everybody who still waits that no more will come; return how many were told."""
        told = [ticket for ticket in self._tickets.values() if not ticket.is_over]
        for ticket in told:
            self._drop(ticket)
            ticket.put(refusal or Refusal(NOT_NOW, _GONE))
        return len(told)

    async def between_steps(self, work: Callable[[Engine], Answer]) -> Answer:
        """Run something in the engine's thread, between two steps, and return what it returns."""
        self.demand_ready()
        result: Future[Answer] = Future()

        def order() -> None:
            if not result.set_running_or_notify_cancel():
                return
            try:
                self.demand_ready()
                result.set_result(work(self._engine))
            except BaseException as problem:
                result.set_exception(problem)

        self._orders.put(order)
        return await asyncio.wrap_future(result)

    def _run(self) -> None:
        try:
            self._engine = self._load()
        except Exception as problem:
            self.problem, self.state = problem, "failed"
            return
        self.state = "ready"
        try:
            while self._obey(self._engine):
                self._hand_over(self._engine.step())
        except Exception:
            self.state = "failed"
            LOG.exception("the engine failed")
            self._in_loop(lambda: self.dismiss(Refusal(FAULT, _FAULT)))
            for order in iter(self._orders.get, None):  # nobody waits for ever
                order()

    def _obey(self, engine: Engine) -> bool:
        """Carry out all orders that have come, waiting for work; say whether to go on."""
        while True:
            try:
                order = self._orders.get(block=not engine.has_work)
            except Empty:
                return True
            if order is None:
                return False
            order()

    def _hand_over(self, tokens: list[Token]) -> None:
        def arrive() -> None:
            for token in tokens:
                ticket = self._tickets.get(token.request_id)
                if ticket is not None and not ticket.is_over:
                    ticket.put(token)

        if tokens:
            self._in_loop(arrive)

    def _in_loop(self, work: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError:  # the loop has gone: nobody is left to tell
            LOG.debug("the event loop was closed before the engine stopped")
