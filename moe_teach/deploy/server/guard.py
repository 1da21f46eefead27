"""Who may ask, and how much at once: looked at before anything of a request is read.

A server without a key listens to its own machine only, but a web page in that machine's browser
could still ask it, or be made to look like it by a name that points here. So without a key, the
name it was called by must be this machine's, and a page's origin must be the server's own.
"""

import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moe_teach.deploy.server.options import Options
from moe_teach.deploy.server.refusals import FORBIDDEN, NO_KEY, TOO_LARGE, Refusal

OPEN = ("/", "/page.js", "/page.css", "/health", "/ready")  # nothing to protect: no model's words
ADMIN = "/admin/"
_LOCAL = ("localhost", "127.0.0.1", "::1")


class Guard:
    """Stands before the application: keys, names, origins, sizes."""

    def __init__(self, app: ASGIApp, options: Options, refused: Callable[[Refusal], None]) -> None:
        self._app, self._options, self._refused = app, options, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer with the reason why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = self._options.max_body
        if scope["path"].startswith(ADMIN):
            limit = self._options.max_expert
        try:
            self._demand_right(scope["path"], headers)
            _demand_size(headers.get("content-length"), limit)
        except Refusal as refusal:
            self._refused(refusal)
            answer = JSONResponse(refusal.body, refusal.status, dict(refusal.headers))
            await answer(scope, receive, send)
            return
        await self._app(scope, _counted(receive, limit), send)

    def _demand_right(self, path: str, headers: Headers) -> None:
        key = self._options.api_key
        if key is None:
            _demand_local(headers)
            if path.startswith(ADMIN):
                raise Refusal(
                    FORBIDDEN,
                    "Experts can be replaced only on a server with a key: start it with --api-key.",
                )
        elif path not in OPEN:
            given = headers.get("authorization", "").removeprefix("Bearer ").strip()
            if not secrets.compare_digest(given.encode(), key.encode()):
                what = "is wrong" if given else "is missing"
                raise Refusal(
                    NO_KEY,
                    f"The key {what}: send the server's key as 'Authorization: Bearer KEY'.",
                    code="invalid_api_key",
                )


def _demand_local(headers: Headers) -> None:
    name, host = _host_of(f"//{headers.get('host', 'localhost')}")
    if name not in _LOCAL:
        raise Refusal(
            FORBIDDEN,
            "This server has no key and answers only to localhost and 127.0.0.1; give it a key "
            "with --api-key to use it by another name.",
        )
    origin = headers.get("origin")
    if origin is not None and _host_of(origin)[1] != host:
        raise Refusal(
            FORBIDDEN,
            "A web page of another address asked, and this server has no key to know its users "
            "by: give it one with --api-key.",
        )


def _host_of(address: str) -> tuple[str | None, str]:
    """Return the name in an address, and the name with its port."""
    try:
        parts = urlsplit(address)
        return parts.hostname, parts.netloc
    except ValueError:  # of brackets that do not close
        return None, ""


def _too_large(limit: int) -> Refusal:
    return Refusal(TOO_LARGE, f"The request is too large: this server reads up to {limit:,} bytes.")


def _demand_size(length: str | None, limit: int) -> None:
    if length is not None and length.isdigit() and int(length) > limit:
        raise _too_large(limit)


def _counted(receive: Receive, limit: int) -> Receive:
    """Stop reading where a body is longer than allowed, whatever its header said."""
    n_bytes = 0

    async def counting() -> Message:
        nonlocal n_bytes
        message: dict[str, Any] = await receive()
        n_bytes += len(message.get("body", b""))
        if n_bytes > limit:
            raise _too_large(limit)
        return message

    return counting
