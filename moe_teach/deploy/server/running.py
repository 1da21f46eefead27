"""A server process from its first to its last breath: listen, load, answer, drain, end."""

import asyncio
import logging
import socket
from types import FrameType

import uvicorn

from moe_teach.deploy.server.app import create_app
from moe_teach.deploy.server.service import Service

LOG = logging.getLogger("moe_teach.serve")
_LAST_WORDS = 5  # seconds for what is in the pipes, after the last token


def listen(host: str, port: int) -> socket.socket:
    """Take the address, before a model is loaded for nothing.

    Raises:
        ValueError: it is taken, or none of this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as problem:
        raise ValueError(
            f"The server cannot listen at {host}, port {port} ({problem.strerror}): is another "
            "one running there? Choose another port with --port; 0 takes any free one."
        ) from problem


def serve(service: Service, listener: socket.socket) -> Exception | None:
    """Serve until somebody says stop; return why nothing could be loaded, if so.

    The first SIGTERM or Ctrl-C lets running answers end, for so long as the options say, and
    takes no new ones; the second ends at once.
    """
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    Server(service).run(sockets=[listener])
    return service.worker.problem


class Server(uvicorn.Server):
    """uvicorn, with time to finish what was promised while new requests are told no."""

    def __init__(self, service: Service) -> None:
        config = uvicorn.Config(
            create_app(service),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_LAST_WORDS,
            server_header=False,
        )
        super().__init__(config)
        self._service = service
        self._is_told = False
        self._draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal: the first one politely."""
        if self._is_told:
            self.should_exit = self.force_exit = True
        self._is_told = True

    async def on_tick(self, counter: int) -> bool:
        """Look, ten times a second, whether to go on."""
        if self._is_told and self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        if self._service.worker.problem is not None:
            self.should_exit = True
        return await super().on_tick(counter)

    async def _drain(self) -> None:
        LOG.info("told to stop: %d answers are on their way", self._service.worker.n_open)
        n_cut = await self._service.drain()
        LOG.info("stopping; %d answers were cut off, in words", n_cut)
        self.should_exit = True
