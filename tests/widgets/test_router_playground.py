"""The playground routes as the library does, and refuses what the plane cannot show."""

import itertools
from collections.abc import Callable

import pytest
import torch
import traitlets

from moe_teach.config import RouterConfig
from moe_teach.nn.router import Router
from moe_teach.widgets.router_playground import RouterPlayground

RULES = list(itertools.product(["softmax", "sigmoid"], [False, True], [False, True]))


def random_playgrounds(count: int = 12) -> list[RouterPlayground]:
    """Every gate rule over random vectors, biases, temperatures and k."""
    made = []
    for score_fn, topk_first, normalize in RULES:
        if score_fn == "sigmoid" and topk_first:
            continue
        for _ in range(count):
            n_experts = int(torch.randint(1, 9, ()))
            made.append(
                RouterPlayground(
                    token=torch.randn(2).tolist(),
                    experts=torch.randn(n_experts, 2).tolist(),
                    expert_bias=(0.3 * torch.randn(n_experts)).tolist(),
                    temperature=float(torch.rand(()) + 0.2),
                    top_k=int(torch.randint(1, n_experts + 1, ())),
                    score_fn=score_fn,
                    topk_first=topk_first,
                    normalize_gates=normalize,
                )
            )
    return made


def state_of(playground: RouterPlayground) -> dict[str, object]:
    """The traits under the names that the script uses."""
    return {
        "token": playground.token,
        "experts": playground.experts,
        "expertBias": playground.expert_bias,
        "temperature": playground.temperature,
        "topK": playground.top_k,
        "scoreFn": playground.score_fn,
        "topkFirst": playground.topk_first,
        "normalizeGates": playground.normalize_gates,
    }


def test_the_browser_chooses_and_weighs_as_the_library_does(in_node: Callable) -> None:
    playgrounds = random_playgrounds()

    answers = in_node(
        "router_playground",
        "m.route(m.logitsOf(given), given)",
        [state_of(playground) for playground in playgrounds],
    )

    for playground, got in zip(playgrounds, answers, strict=True):
        expected = playground.router()(torch.tensor([playground.token]))
        assert got["expertIds"] == expected.expert_ids[0].tolist()
        gates = torch.tensor(got["gates"], dtype=torch.float32)
        torch.testing.assert_close(gates, expected.gates[0].detach())


def test_the_slope_of_the_gates_is_their_derivative(in_node: Callable) -> None:
    playgrounds = random_playgrounds(6)
    states = [state_of(playground) for playground in playgrounds]

    slopes = in_node("router_playground", "m.gateSlope(m.logitsOf(given), given)", states)

    for playground, got in zip(playgrounds, slopes, strict=True):
        router, point = playground.router().double(), torch.tensor(playground.token).double()
        logits = router.proj(point).detach()
        ids = router(point[None]).expert_ids[0]

        def gates(
            z: torch.Tensor, p: RouterPlayground = playground, ids: torch.Tensor = ids
        ) -> torch.Tensor:
            if p.topk_first:
                return z[ids].softmax(-1)
            scores = z.softmax(-1) if p.score_fn == "softmax" else z.sigmoid()
            return scores[ids] / scores[ids].sum() if p.normalize_gates else scores[ids]

        expected = torch.autograd.functional.jacobian(gates, logits).norm()
        assert got == pytest.approx(float(expected), abs=1e-6)


def test_a_router_in_the_plane_is_shown_as_it_is() -> None:
    router = Router(2, RouterConfig(n_experts=3, top_k=1, score_fn="sigmoid"))
    router.expert_bias[1] = 0.5

    playground = RouterPlayground.of(router)

    torch.testing.assert_close(playground.router().proj.weight, router.proj.weight)
    assert playground.expert_bias == [0.0, 0.5, 0.0]
    assert (playground.top_k, playground.score_fn) == (1, "sigmoid")


@pytest.mark.parametrize(
    ("d_model", "changes", "reason"),
    [
        (3, {}, "needs d_model = 2"),
        (2, {"n_experts": 9}, "1 to 8 experts"),
        (2, {"choice": "expert"}, "plain top-k"),
        (2, {"n_groups": 2, "top_groups": 1}, "plain top-k"),
        (2, {"gate_scale": 2.5}, "gate_scale at 1"),
    ],
)
def test_a_router_that_the_plane_cannot_show_is_refused(
    d_model: int, changes: dict, reason: str
) -> None:
    router = Router(d_model, RouterConfig(**{"n_experts": 4, "top_k": 2} | changes))

    with pytest.raises((ValueError, traitlets.TraitError), match=reason):
        RouterPlayground.of(router)


@pytest.mark.parametrize(
    ("trait", "value", "reason"),
    [
        ("top_k", 6, "between 1 and the number of experts"),
        ("temperature", 0.0, "finite positive"),
        ("noise", -1.0, "non-negative"),
        ("token", [1.0], "two finite numbers"),
        ("expert_bias", [0.0], "one number for each"),
    ],
)
def test_a_bad_setting_is_refused_in_a_sentence(trait: str, value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        setattr(RouterPlayground(), trait, value)


def test_fewer_experts_take_bias_and_k_along() -> None:
    playground = RouterPlayground(top_k=4)

    playground.experts = [[1.0, 0.0], [0.0, 1.0]]

    assert len(playground.expert_bias) == 2
    assert playground.top_k == 2
