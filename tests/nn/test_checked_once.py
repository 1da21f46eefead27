"""In one forward pass of a layer a tensor is checked once, and a decision is made once."""

import sys
from collections import Counter
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from moe_teach.config import MoEConfig, RouterConfig
from moe_teach.nn.experts import Experts
from moe_teach.nn.moe import FusedMoE, MoE
from moe_teach.nn.router import Router
from moe_teach.ops import demand, grouped_mm
from moe_teach.ops.operation import listening
from moe_teach.types import Routing

CONFIG = RouterConfig(n_experts=8, top_k=2)
CHECKS = ("demand_rows", "demand_routing_of", "in_one_precision")


def layer(kind: type[MoE]) -> MoE:
    return kind.build(64, MoEConfig(router=CONFIG, d_ff=64))


@pytest.fixture
def seen(monkeypatch) -> Counter:
    """Count what is asked: by the name of the question, the memory asked about, and the width."""
    counted: Counter = Counter()

    def double(name: str, real):
        def ask(subject: Tensor, *others):
            width = others[1] if name == "demand_rows" and len(others) > 1 else None
            counted[name, subject.data_ptr(), width] += 1
            return real(subject, *others)

        return ask

    # Under either name, so that the test can be held against what it was written for.
    asking = "obstacle_to_torch" if hasattr(grouped_mm, "obstacle_to_torch") else "_obstacle"
    homes: dict[str, ModuleType] = {**dict.fromkeys(CHECKS, demand), asking: grouped_mm}
    for name, home in homes.items():
        real = getattr(home, name)
        for module in list(sys.modules.values()):
            if module.__name__.startswith("moe_teach") and vars(module).get(name) is real:
                monkeypatch.setattr(module, name, double(name, real))
    return counted


@pytest.mark.parametrize("learns", [True, False], ids=["learning", "answering"])
@pytest.mark.parametrize("n_tokens", [1, 64, 2000])
@pytest.mark.parametrize("kind", [MoE, FusedMoE])
def test_nothing_is_asked_twice_in_a_forward_pass(seen, kind, n_tokens: int, learns: bool) -> None:
    moe, x = layer(kind), torch.randn(n_tokens, 64)
    with torch.set_grad_enabled(learns), listening() as heard:
        moe(x)
    assert {name for name, *_ in seen} >= set(CHECKS)
    # Tokens are held against the router's matrix and, where these take them, against the experts'.
    assert seen.pop(("demand_rows", x.data_ptr(), 64)) == (1 if kind is MoE else 2)
    assert set(seen.values()) == {1}, seen
    assert ("demand_rows", x.data_ptr(), None) not in seen, seen
    assert len({pick.operation for pick in heard}) == len(heard), heard


class Mine(nn.Module):
    """A reader's own router, which looks at nothing: token t goes to expert t mod 8."""

    def forward(self, x: Tensor, token_ids: Tensor | None) -> Routing:
        ids = (torch.arange(len(x)) % 8)[:, None]
        shares = torch.full((len(x), 8), 1 / 8)
        return Routing(shares.log(), shares, torch.ones(len(x), 1), ids)


class Careless(Mine):
    """Another, which multiplies whatever it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(64, 8)

    def forward(self, x: Tensor, token_ids: Tensor | None) -> Routing:
        return super().forward(self.proj(x), token_ids)


class Short(Mine):
    """Another, which forgets a token."""

    def forward(self, x: Tensor, token_ids: Tensor | None) -> Routing:
        return super().forward(x[1:], token_ids)


class Far(Mine):
    """Another, which names an expert that does not exist."""

    def forward(self, x: Tensor, token_ids: Tensor | None) -> Routing:
        made = super().forward(x, token_ids)
        return Routing(made.logits, made.probs, made.gates, made.expert_ids + 4)


class Deaf(nn.Module):
    """A reader's own experts, which hand back what they got, one row short."""

    def forward(self, rows: Tensor, expert_offsets: Tensor) -> Tensor:
        return rows[1:]


class Same(nn.Module):
    """Experts that answer what they are asked."""

    def forward(self, rows: Tensor, expert_offsets: Tensor) -> Tensor:
        return rows


TOKENS, IDS = torch.randn(5, 64), torch.arange(5 * 64).view(5, 64)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("kind", [MoE, FusedMoE])
@pytest.mark.parametrize(
    ("router", "x", "sentence"),
    [
        (Mine(), IDS, "look up their embeddings first"),
        (Careless(), IDS, "look up their embeddings first"),
        (Router(64, CONFIG), IDS, "look up their embeddings first"),
        (Mine(), TOKENS[:, 1:], "has width 63, but this layer was built for width 64"),
        (Router(64, CONFIG), TOKENS[:, 1:], "has width 63, but this layer was built for width 64"),
        (Short(), TOKENS, "x has 5 tokens, but the routing decides about 4"),
        (Far(), TOKENS, "expert_ids contains 8, but the experts are numbered 0 to 7"),
    ],
    ids=["ids", "ids-careless", "ids-ours", "width", "width-ours", "short", "far"],
)
def test_a_foreign_router_is_still_checked(kind, router, x: Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        kind(router, Experts(8, 64, 64))(x)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("experts", "x", "sentence"),
    [
        (Deaf(), TOKENS, "an expert must return one row for each row it was given"),
        (Same(), IDS, "look up their embeddings first"),
    ],
    ids=["short", "ids"],
)
def test_foreign_experts_are_still_checked(experts, x: Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        MoE(Mine(), experts)(x)


@pytest.mark.usefixtures("as_a_user")
def test_a_careless_router_keeps_its_own_error_where_the_input_is_well() -> None:
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        MoE(Careless(), Same())(TOKENS[:, 1:])
