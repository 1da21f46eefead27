"""A served model for tests: tiny, random, and alive in this process."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import httpx
import openai
import torch

from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.data.tokenizer import ByteTokenizer
from moe_teach.deploy.engine.engine import Engine
from moe_teach.deploy.server.chat import ChatTemplate
from moe_teach.deploy.server.options import Options
from moe_teach.deploy.server.running import Server, listen
from moe_teach.deploy.server.served import Served
from moe_teach.deploy.server.service import Service
from moe_teach.nn.model import Model

END = 255  # a byte that no text holds


@dataclass(eq=False)
class Live:
    """A server that is running, and what stands behind it."""

    url: str
    service: Service
    model: Model
    key: str | None
    server: Server

    @cache  # noqa: B019 (a client takes a third of a second to make, and a server's life is short)
    def client(self, **options: object) -> openai.OpenAI:
        """The client that the world uses."""
        known = {"base_url": f"{self.url}/v1", "api_key": self.key or "none", "max_retries": 0}
        return openai.OpenAI(**known | options)

    def http(self) -> httpx.Client:
        """A bare client."""
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def metric(self, name: str) -> float:
        """A number of /metrics, with its labels in the name."""
        with self.http() as client:
            lines = client.get("/metrics").text.splitlines()
        return next((float(s.rpartition(" ")[2]) for s in lines if s.startswith(f"{name} ")), 0.0)


def tiny_model() -> Model:
    torch.manual_seed(3)
    moe = MoEConfig(router=RouterConfig(n_experts=4, top_k=2), d_ff=16)
    attention = AttentionConfig(n_heads=2, n_kv_heads=1, d_head=8)
    config = ModelConfig(
        n_layers=2, d_model=16, vocab_size=256, attention=attention, moe=moe, max_seq_len=128
    )
    model = Model(config)
    with torch.no_grad():  # louder, so that greedy texts are not one byte for ever
        model.unembedding.weight.normal_(generator=torch.Generator().manual_seed(5))
    return model.eval()


def served(model: Model) -> Served:
    return Served(
        name="tiny",
        config=model.config,
        tokenizer=ByteTokenizer(),
        end_ids=frozenset({END}),
        template=ChatTemplate("{{ messages | map(attribute='content') | join(' ') }}"),
        digest="0123456789abcdef",
        created=1_700_000_000,
    )


@contextmanager
def running(
    model: Model, make: Callable[..., Engine] = Engine, **options: object
) -> Iterator[Live]:
    chosen = Options(**{"port": 0} | options)

    def load() -> tuple[Engine, Served]:
        engine = make(model, n_slots=chosen.n_slots, max_waiting=chosen.max_waiting)
        return engine, served(model)

    service = Service(load, chosen)
    listener = listen(chosen.host, chosen.port)
    server = Server(service)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    live = Live(url, service, model, chosen.api_key, server)
    while service.worker.state == "loading":
        time.sleep(0.01)
    try:
        yield live
    finally:
        server.should_exit = True
        thread.join()
