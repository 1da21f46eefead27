"""Frames between two processes: one JSON text and raw bytes, sized before anything is read.

Nothing here ever runs what it receives. Sizes are refused from the header, and whoever waits is
asked at every turn whether it still wants to.
"""

import json
import select
import socket
import struct
from collections.abc import Callable
from typing import Any

MAX_TEXT = 32 * 2**20
MAX_BYTES = 256 * 2**20
_HEADER = struct.Struct("!4sIQ")
_MAGIC = b"moe1"
_TURN = 0.02  # seconds between two looks at the clock and at the other's memory
_PIECE = 2**20


class Nonsense(Exception):
    """The other side sent what no honest one sends; the message says what, in a clause."""


class HungUp(Exception):
    """The other side is gone."""


class Channel:
    """Sends and receives frames on a socket; `turn` is called while waiting, and may raise."""

    def __init__(self, sock: socket.socket, turn: Callable[[], None] = lambda: None) -> None:
        self.sock = sock
        self.turn = turn
        sock.setblocking(False)

    def send(self, message: Any, blobs: list[Any]) -> None:
        """Send a message with its raw bytes."""
        sizes = [len(blob) for blob in blobs]
        text = json.dumps([message, sizes], separators=(",", ":")).encode()
        if len(text) > MAX_TEXT or sum(sizes) > MAX_BYTES:
            raise Nonsense(f"a message of {(len(text) + sum(sizes)) / 1e6:,.0f} MB")
        frame = bytearray(_HEADER.pack(_MAGIC, len(text), sum(sizes)) + text)
        if sum(sizes) < _PIECE:  # in one go: the other side wakes up once
            for blob in blobs:
                frame += memoryview(blob).cast("B")
            blobs = []
        for part in (frame, *blobs):
            self._put(part)

    def receive(self) -> tuple[Any, list[bytearray]]:
        """Wait for a message and give it with its raw bytes."""
        magic, n_text, n_bytes = _HEADER.unpack(self._take(_HEADER.size))
        if magic != _MAGIC:
            raise Nonsense("bytes that are no message")
        if n_text > MAX_TEXT or n_bytes > MAX_BYTES:
            raise Nonsense(f"a message of {(n_text + n_bytes) / 1e6:,.0f} MB")
        try:
            message, sizes = json.loads(self._take(n_text))
            fits = all(type(n) is int and n >= 0 for n in sizes) and sum(sizes) == n_bytes
        except (ValueError, TypeError, RecursionError) as error:
            raise Nonsense("a message that is no text of this protocol") from error
        if not fits:
            raise Nonsense("a message whose sizes do not fit")
        return message, [self._take(n) for n in sizes]

    def close(self) -> None:
        """Hang up."""
        self.sock.close()

    def _put(self, content: Any) -> None:
        rest = memoryview(content).cast("B")
        self.turn()
        while len(rest):
            try:
                rest = rest[self.sock.send(rest[:_PIECE]) :]
            except BlockingIOError:
                select.select([], [self.sock], [], _TURN)
                self.turn()
            except OSError as error:
                raise HungUp from error

    def _take(self, size: int) -> bytearray:
        content = bytearray(size)
        view, got = memoryview(content), 0
        self.turn()
        while got < size:
            try:
                n = self.sock.recv_into(view[got : got + _PIECE])
            except BlockingIOError:
                select.select([self.sock], [], [], _TURN)
                self.turn()
                continue
            except OSError as error:
                raise HungUp from error
            if not n:
                raise HungUp
            got += n
        return content
