"""Chapter 14: traces and a small model that several exercises use."""

import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moe_teach.checkpoint.hf_export import export_hf
from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.deploy.store.opening import opened_within
from moe_teach.deploy.store.policies import Key
from moe_teach.deploy.store.simulator import simulate
from moe_teach.deploy.store.trace import Trace, drawn, record_trace
from moe_teach.judging.elsewhere import ability
from moe_teach.nn.model import Model
from moe_teach.seeding import seeded

EXPERT_BYTES = 1000


def unwatched(policy: Any) -> Any:
    """Give a policy's class without what watches its calls, for simulations that call it often."""
    if not isinstance(policy, type):
        return policy
    if together := ability(policy, "together"):
        return lambda *args: _Elsewhere(policy(*args), together)
    own = {name: inspect.unwrap(getattr(policy, name)) for name in ("__init__", "use", "worth")}
    return type(policy.__name__, (policy,), own)


class _Elsewhere:
    """A policy of another process, which is asked about all experts at once.

    A simulation has tens of thousands of questions. So uses are told when the next worth is needed,
    and the worth of everybody comes back with them: it stays until the next use.
    """

    def __init__(self, policy: Any, together: Callable[..., list[Any]]) -> None:
        self._policy, self._together = policy, together
        self.per_layer = policy.per_layer
        self._numbers: dict[Key, int] = {}
        self._new: list[Key] = []
        self._uses: list[tuple[int, int]] = []
        self._worths: list[Any] = []

    def use(self, key: Key, step: int) -> None:
        """Remember a use, to be told."""
        self._uses.append((self._number(key), step))

    def worth(self, key: Key) -> Any:
        """Give the worth of an expert after all uses so far."""
        number = self._number(key)
        if self._uses or self._new:
            new, uses, self._new, self._uses = self._new, self._uses, [], []
            self._worths = self._together(self._policy, new, uses, "use", "worth")
        return self._worths[number]

    def _number(self, key: Key) -> int:
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            self._new.append(key)
        return self._numbers[key]


def some_trace(seed: int, n_tokens: int) -> Trace:
    """Draw a trace of three layers whose favourites change half way."""
    parts = [drawn(n_tokens // 2, 3, 7, 2, skew=1.0, seed=2 * seed + half) for half in (0, 1)]
    ids = torch.cat([part.expert_ids for part in parts])
    return Trace(ids, torch.arange(len(ids)), torch.full((len(ids),), -1), 7)


SMALL = ModelConfig(
    n_layers=3,
    d_model=32,
    vocab_size=31,
    attention=AttentionConfig(n_heads=2, n_kv_heads=2, d_head=16),
    moe=MoEConfig(router=RouterConfig(n_experts=6, top_k=2), d_ff=24),
    max_seq_len=64,
)
SMALL_BUDGET = 80_000  # a few of its 18 experts


def small_model(make_policy: Callable[[], Any]) -> tuple[Tensor, Tensor, int, int]:
    """Decode a short text with a small model in memory, and from a disk under a policy.

    Returns the logits of both, and the experts found in memory: in the store, and in a simulation.
    """
    with seeded(14):
        model = Model(SMALL).eval()
        for block in model.blocks:
            torch.nn.init.normal_(block.ffn.router.proj.weight)
        token_ids = torch.randint(SMALL.vocab_size, (24,))
    with tempfile.TemporaryDirectory() as folder:
        export_hf(model, Path(folder) / "model")
        with opened_within(Path(folder) / "model", SMALL_BUDGET, make_policy()) as (opened, store):
            through = decoded(opened.model, token_ids)
            hits, sizes = store.counts.hits, store.sizes
    simulated = simulate(record_trace(model, token_ids), make_policy(), SMALL_BUDGET, sizes)
    return decoded(model, token_ids), through, hits, int(simulated.hits.sum())


@torch.no_grad()
def decoded(model: Model, token_ids: Tensor) -> Tensor:
    """Read a text token by token, as it is decoded, and return the logits of each step."""
    cache = model.new_cache()
    return torch.cat([model(token[None, None], cache).logits[0] for token in token_ids])
