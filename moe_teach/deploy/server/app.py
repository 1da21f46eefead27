"""The addresses of the server, and what stands at each of them."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from fastapi.sse import EventSourceResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from moe_teach.deploy.server.fields import shown
from moe_teach.deploy.server.guard import Guard
from moe_teach.deploy.server.refusals import BAD_REQUEST, FAULT, NOT_FOUND, Refusal
from moe_teach.deploy.server.service import Answering, Service
from moe_teach.deploy.server.swapping import add_swapping
from moe_teach.deploy.server.wishes import CHAT, TEXT, Endpoint

LOG = logging.getLogger("moe_teach.serve")
PAGE = Path(__file__).parent / "page"
_CONTENT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:"
)
_PAGES = {"/": "index.html", "/page.js": "page.js", "/page.css": "page.css"}
_LONGEST_HEADER = 500
_GONE, _SLOW = 499, 408  # the client went away (by nginx's custom); it took too long
Result = TypeVar("Result")


def create_app(service: Service) -> FastAPI:
    """Build the application around a service, whose engine it starts and stops."""

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        service.worker.start()
        yield
        await service.worker.stop()

    # No generated documentation: its page would load scripts from elsewhere.
    app = FastAPI(lifespan=running, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(
        Guard,
        options=service.options,
        refused=lambda refusal: service.metrics.ended("guard", str(refusal.status)),
    )
    _explain_refusals(app, service)
    _add_health(app, service)
    _add_models(app, service)
    _add_answers(app, service)
    add_swapping(app, service)
    for address, name in _PAGES.items():
        _add_page(app, address, PAGE / name)
    return app


def _add_answers(app: FastAPI, service: Service) -> None:
    async def answer(endpoint: Endpoint, request: Request) -> Response:
        body = await _body(request, service.options.body_seconds)
        answering = await service.ask(endpoint, body)
        headers = {"x-request-id": answering.name}
        if answering.wish.ignored:
            headers["x-moe-ignored"] = _for_header(", ".join(answering.wish.ignored))
        if answering.wish.stream:
            return _Stream(answering, headers)
        try:
            whole = await _while_connected(request, answering.whole())
        finally:
            answering.close()
        return Response(status_code=_GONE) if whole is None else JSONResponse(whole, 200, headers)

    @app.post(CHAT)
    async def chat(request: Request) -> Response:
        return await answer(CHAT, request)

    @app.post(TEXT)
    async def completions(request: Request) -> Response:
        return await answer(TEXT, request)


class _Stream(EventSourceResponse):
    """Server-sent events of one answer; closes it however the stream ends, or never begins."""

    def __init__(self, answering: Answering, headers: dict[str, str]) -> None:
        # A proxy that collects events before it passes them on would make a stream of one.
        super().__init__(answering.events(), headers=headers | {"x-accel-buffering": "no"})
        self._answering = answering

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answering.close()


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/health")
    async def health() -> Response:
        is_alive = service.worker.state != "failed"
        return JSONResponse({"status": service.worker.state}, 200 if is_alive else FAULT)

    @app.get("/ready")
    async def ready() -> Response:
        service.demand_open()
        return JSONResponse({"status": "ready"})

    @app.get("/metrics")
    async def metrics() -> Response:
        content = service.metrics.page(await service.snapshot())
        return PlainTextResponse(content, media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_models(app: FastAPI, service: Service) -> None:
    def card() -> dict[str, Any]:
        served = service.demand_open()
        router = served.config.moe.router if served.config.moe else None
        moe = {
            "n_layers": sum(served.config.layer_has_experts),
            "n_experts": router.n_experts if router else 0,
            "top_k": router.top_k if router else 0,
            "max_seq_len": served.config.max_seq_len,
        }
        about = {"id": served.name, "object": "model", "created": served.created}
        return about | {"owned_by": "moe_teach", "moe": moe}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [card()]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        found = card()
        if name != found["id"]:
            sentence = f"There is no model {shown(name)} here; this server has {found['id']!r}."
            raise Refusal(NOT_FOUND, sentence, code="model_not_found")
        return found


def _add_page(app: FastAPI, address: str, file: Path) -> None:
    headers = {"content-security-policy": _CONTENT, "cache-control": "no-cache"}

    @app.get(address)
    async def page() -> Response:
        return FileResponse(file, headers=headers)


def _explain_refusals(app: FastAPI, service: Service) -> None:
    @app.exception_handler(Refusal)
    async def refuse(request: Request, refusal: Refusal) -> Response:
        LOG.info("%s refused with %d", _endpoint(request), refusal.status)
        service.metrics.ended(_endpoint(request), str(refusal.status))
        return JSONResponse(refusal.body, refusal.status, dict(refusal.headers))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, problem: HTTPException) -> Response:
        path, method = request.url.path, request.method
        sentence = f"{problem.detail}."
        if problem.status_code == HTTPStatus.NOT_FOUND:
            sentence = f"There is nothing at {shown(path)}; clients ask /v1/chat/completions."
        if problem.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            sentence = f"{shown(path)} does not take {method}."
        refusal = Refusal(problem.status_code, sentence)
        service.metrics.ended("unknown", str(refusal.status))
        return JSONResponse(refusal.body, refusal.status, problem.headers)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, problem: RequestValidationError) -> Response:
        names = " and ".join(str(error["loc"][-1]) for error in problem.errors())
        return await refuse(request, Refusal(BAD_REQUEST, f"Not a whole number: {names}."))

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, problem: ClientDisconnect) -> Response:
        service.metrics.ended(_endpoint(request), "disconnected")
        return Response(status_code=_GONE)

    @app.exception_handler(Exception)
    async def fault(request: Request, problem: Exception) -> Response:
        service.metrics.ended(_endpoint(request), str(FAULT))
        refusal = Refusal(FAULT, "The server made a mistake; its log says which. Ask again.")
        return JSONResponse(refusal.body, FAULT)


async def _body(request: Request, seconds: float) -> dict[str, Any]:
    """Read a body as a JSON object, for so long and no longer."""
    try:
        async with asyncio.timeout(seconds):
            content = await request.body()
    except TimeoutError:
        sentence = f"The body did not come within {seconds:g} seconds: send it faster."
        raise Refusal(_SLOW, sentence) from None
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as problem:
        reason = "it is nested too deeply" if isinstance(problem, RecursionError) else problem
        raise Refusal(BAD_REQUEST, f"The body is not JSON that can be read: {reason}.") from None
    if not isinstance(body, dict):
        raise Refusal(BAD_REQUEST, f"The body must be a JSON object, not {shown(body)}.")
    return body


async def _while_connected(request: Request, work: Awaitable[Result]) -> Result | None:
    """Wait for some work, or give it up and return None when the client goes away."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, Refusal):
                await task


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _endpoint(request: Request) -> str:
    """Name the address as it was written down here, so that nobody can make up labels."""
    route = request.scope.get("route")
    return getattr(route, "path", "unknown")


def _for_header(text: str) -> str:
    fits = "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in text)
    return fits[:_LONGEST_HEADER]
