"""Loads for every server in turn, round after round, and what came out beside each other."""

import random
import statistics
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from moe_teach.bench.serve.client import Heard
from moe_teach.bench.serve.load import Body, Level, closed, level_of, opened
from moe_teach.bench.serve.oracle import BEGINNINGS
from moe_teach.bench.serve.peers import OURS, Peer

HEADER = (
    "load",
    "server",
    "requests",
    "failed",
    "tokens/s",
    "x ours (rounds)",
    "first token, ms (p50 p95 p99)",
    "next token, ms",
    "whole, ms",
    "CPU ms per token",
    "same text",
)


@dataclass(frozen=True)
class Row:
    """One server under one load: all rounds together, and its ratio to ours round by round."""

    load: str
    server: str
    level: Level
    ratios: tuple[float, ...]
    cpu_per_token: float
    same_text: float

    def cells(self) -> tuple[str, ...]:
        """Give the cells of its line, as text."""
        level = self.level
        spread = f"{min(self.ratios):.2f} to {max(self.ratios):.2f}"
        return (
            self.load,
            self.server,
            str(level.n_requests),
            str(level.n_failed),
            f"{level.tokens_per_second:.0f}",
            f"{statistics.median(self.ratios):.2f} ({spread})",
            " ".join(f"{1e3 * s:.0f}" for s in level.first),
            " ".join(f"{1e3 * s:.1f}" for s in level.between),
            " ".join(f"{1e3 * s:.0f}" for s in level.whole),
            f"{1e3 * self.cpu_per_token:.2f}",
            f"{100 * self.same_text:.0f} %",
        )


class Lab:
    """The servers, and what they are asked: the same bodies in the same order."""

    def __init__(
        self, peers: Sequence[Peer], n_requests: int, n_tokens: int, n_rounds: int
    ) -> None:
        self.peers, self.n_rounds = peers, n_rounds
        self._n_requests, self._n_tokens = n_requests, n_tokens
        self._texts: dict[str, str] = {}

    async def warm_up(self) -> None:
        """Let every server answer each beginning alone; ours are the texts to compare with."""
        for peer in self.peers:
            with peer.awake():
                heard = await closed(peer.port, self._bodies(peer, len(BEGINNINGS)), 1)
            for one in heard:
                if one.status != 200:
                    raise RuntimeError(f"{peer.name} answered {one.status}: {one.refusal}")
            if peer.name == OURS:
                self._texts = {one.prompt: one.text for one in heard}

    async def closed(self, at_once: int) -> list[Row]:
        """Keep so many requests on their way, server after server, round after round."""
        return await self._rounds(
            f"{at_once} at once", lambda peer, _, bodies: closed(peer.port, bodies, at_once)
        )

    async def opened(self, rate: float) -> list[Row]:
        """Send so many requests per second, each round at other moments, the same for all."""
        return await self._rounds(
            f"{rate:.1f} per second",
            lambda peer, round_, bodies: opened(peer.port, bodies, rate, seed=round_),
        )

    async def _rounds(
        self, load: str, ask: Callable[[Peer, int, list[Body]], Awaitable[list[Heard]]]
    ) -> list[Row]:
        heard: dict[str, list[list[Heard]]] = {peer.name: [] for peer in self.peers}
        computed = dict.fromkeys(heard, 0.0)
        order, luck = list(self.peers), random.Random(0)
        for round_ in range(self.n_rounds):
            luck.shuffle(order)
            for peer in order:
                with peer.awake():
                    before = peer.cpu_seconds
                    heard[peer.name].append(await ask(peer, round_, self._bodies(peer)))
                    computed[peer.name] += peer.cpu_seconds - before
                speed = level_of(heard[peer.name][-1]).tokens_per_second
                print(f"{load}, round {round_}, {peer.name}: {speed:.0f} tokens/s", file=sys.stderr)
        return [self._row(load, peer.name, heard, computed) for peer in self.peers]

    def _row(
        self,
        load: str,
        name: str,
        heard: dict[str, list[list[Heard]]],
        computed: dict[str, float],
    ) -> Row:
        ours = [level_of(one).tokens_per_second for one in heard.get(OURS, heard[name])]
        levels = [level_of(one) for one in heard[name]]
        together = [one for rounds in heard[name] for one in rounds]
        mean = statistics.fmean(level.tokens_per_second for level in levels)
        return Row(
            load,
            name,
            Level(**(vars(level_of(together)) | {"tokens_per_second": mean})),
            tuple(level.tokens_per_second / best for level, best in zip(levels, ours, strict=True)),
            computed[name] / max(sum(one.n_tokens for one in together), 1),
            statistics.fmean(one.text == self._texts.get(one.prompt) for one in together),
        )

    def _bodies(self, peer: Peer, count: int | None = None) -> list[Body]:
        asked = {
            "model": peer.model,
            "max_tokens": self._n_tokens,
            "temperature": 0,
        }
        prompts = (BEGINNINGS[i % len(BEGINNINGS)] for i in range(count or self._n_requests))
        return [asked | {"prompt": prompt} for prompt in prompts]
