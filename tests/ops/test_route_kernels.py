"""The router's kernels: what they touch, and what they do when nobody looks at the result."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from moe_teach.config import RouterConfig
from moe_teach.ops.triton_mode import mode

if mode() != "interpreted":
    pytest.skip("only interpreted kernels can be watched", allow_module_level=True)

from moe_teach.analysis.kernel_watch import watch
from moe_teach.ops.route import fused, route
from moe_teach.ops.route.fused import Plan, RouteTiles, launch, route_tiles, route_triton
from moe_teach.ops.triton_host import tl


def room_for(n_tokens: int, config: RouterConfig) -> tuple[Tensor, ...]:
    of_experts = (torch.full((n_tokens, config.n_experts), math.nan) for _ in range(2))
    gates = torch.full((n_tokens, config.top_k), math.nan)
    return *of_experts, gates, torch.full((n_tokens, config.top_k), -1)


@pytest.mark.parametrize("n_parts", [1, 3])
@pytest.mark.parametrize(
    ("n_tokens", "n_experts", "top_k", "width"),
    [(16, 16, 2, 96), (17, 5, 3, 40), (1, 1, 1, 1), (3, 70, 1, 33)],
    ids=str,
)
def test_kernels_stay_inside_and_write_everything(
    n_tokens: int, n_experts: int, top_k: int, width: int, n_parts: int
) -> None:
    config = RouterConfig(n_experts=n_experts, top_k=top_k)
    x, weight = torch.randn(n_tokens, 2 * width)[:, ::2], torch.randn(n_experts, width)
    bias = torch.randn(n_experts) / 10
    parts = None if n_parts == 1 else torch.full((n_parts, n_tokens, n_experts), math.nan)
    outputs = room_for(n_tokens, config)
    out = dict(zip(("logits", "probs", "gates", "expert_ids"), outputs, strict=True))

    with watch(x=x, weight=weight, expert_bias=bias, parts=parts, **out) as seen:
        launch(x, weight, bias, outputs, Plan.of(config), RouteTiles(16, 16, n_parts), parts)

    assert not seen.races()
    for name in out if parts is None else (*out, "parts"):
        assert not len(seen.unwritten(name)), name
    expected = route(x, weight, bias, config, backend="reference")
    for name, tensor in out.items():
        torch.testing.assert_close(tensor, getattr(expected, name))


def test_a_broken_token_gets_experts_that_exist_and_shows_it_in_its_gates() -> None:
    """On a GPU nobody looks at the logits, but nobody may write outside memory either."""
    config = RouterConfig(n_experts=5, top_k=3)
    for score_fn, poison in product(("softmax", "sigmoid"), (math.inf, math.nan)):
        config = RouterConfig(n_experts=5, top_k=3, score_fn=score_fn)
        x = torch.randn(4, 5)
        x[2, 1] = poison
        outputs = room_for(4, config)
        with np.errstate(invalid="ignore"):  # the interpreter warns, a GPU does not
            launch(x, torch.eye(5), None, outputs, Plan.of(config), RouteTiles(16, 16))
        _, _, gates, expert_ids = outputs
        # Infinity times zero is NaN, so all the logits of this token are broken.
        assert expert_ids[2].tolist() == [0, 1, 2] and gates[2].isnan().all()
        assert gates[[0, 1, 3]].isfinite().all(), "its neighbours are well"


def test_one_broken_expert_shows_in_the_gates_of_every_token() -> None:
    """Also where the chosen experts are well: a decision against a NaN is no decision."""
    config = RouterConfig(n_experts=5, top_k=3, score_fn="sigmoid")
    weight = torch.eye(5)
    weight[4] = math.nan
    outputs = room_for(2, config)
    with np.errstate(invalid="ignore"):
        launch(torch.randn(2, 5), weight, None, outputs, Plan.of(config), RouteTiles(16, 16))
    assert outputs[3].tolist() == [[0, 1, 2]] * 2 and outputs[2].isnan().all()


def test_parts_are_added_in_one_order_whatever_runs_first() -> None:
    x, weight = torch.randn(4, 200), torch.randn(6, 200)
    config = RouterConfig(n_experts=6, top_k=2)
    first, again = (route_triton(x, weight, None, config, RouteTiles(16, 16, 5)) for _ in range(2))
    assert torch.equal(first.logits, again.logits)


def test_few_tokens_share_a_large_weight_and_many_tokens_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fused, "INTERPRETED", tl.constexpr(False))
    assert route_tiles(1, 4096, 8, 2).n_parts == 1, "one reader is enough"
    assert route_tiles(64, 7168, 256, 2).n_parts > 4, "decoding"
    assert route_tiles(16384, 7168, 256, 2).n_parts == 1, "training"
    for sizes in [(1, 7168, 256, 2), (64, 2048, 128, 4), (7, 100_000, 3, 2), (1, 2048, 512, 4)]:
        tiles = route_tiles(*sizes)
        for block in (tiles.tokens, tiles.columns):
            assert block >= 16 and block & (block - 1) == 0, "tensor cores want powers of two"
        assert (tiles.n_parts - 1) * tiles.columns < sizes[1], "no part is empty"


@pytest.mark.usefixtures("as_a_user")
def test_what_the_kernel_cannot_do_is_refused() -> None:
    config = RouterConfig(n_experts=4, top_k=2)
    with pytest.raises(ValueError, match=r"x holds torch\.float64, but the kernels compute"):
        route(torch.zeros(2, 4).double(), torch.eye(4), None, config, backend="triton")
    many = RouterConfig(n_experts=513, top_k=2)
    with pytest.raises(ValueError, match="at most 512 experts, not 513: use the backend 'refer"):
        route(torch.zeros(2, 4), torch.zeros(513, 4), None, many, backend="triton")
