"""Models small enough to serve in a test, in float64: there sums in another order differ by 1e-16,
and the two likeliest tokens of a random model by a great deal more."""

import torch

from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.deploy.engine.engine import Engine
from moe_teach.deploy.engine.requests import Request, Sampling, Token
from moe_teach.nn.model import Model
from moe_teach.train.seeding import seeded_model

VOCABULARY = 29
ATTENTION = AttentionConfig(n_heads=4, n_kv_heads=2, d_head=4)


def tiny(attention=ATTENTION, n_dense_layers=0, activation="swiglu", **options) -> Model:
    """Build a model with large weights, so that its answers are far from ties."""
    of_the_layer = MoEConfig.__dataclass_fields__.keys() & options.keys()
    layer = {name: options.pop(name) for name in of_the_layer}
    router = RouterConfig(**{"n_experts": 5, "top_k": 2, **options})
    config = ModelConfig(
        n_layers=2,
        d_model=16,
        vocab_size=VOCABULARY,
        attention=attention,
        moe=MoEConfig(router=router, d_ff=12, activation=activation, **layer),
        d_ff_dense=24,
        n_dense_layers=n_dense_layers,
        max_seq_len=32,
    )
    model = seeded_model(config, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3.0)
    return model.double()


def request(name="a", prompt=(1, 2, 3), trace=False, **wishes) -> Request:
    wishes = {"max_tokens": 5, "temperature": 0.0, **wishes}
    return Request(id=name, prompt=tuple(prompt), sampling=Sampling(**wishes), trace=trace)


def served(engine: Engine, most: int = 500) -> dict[str, list[Token]]:
    """Step until nothing is left to do, and sort the tokens by request."""
    answers: dict[str, list[Token]] = {}
    for _ in range(most):
        if not engine.has_work:
            return answers
        for token in engine.step():
            answers.setdefault(token.request_id, []).append(token)
    raise AssertionError(f"the engine was not done after {most} steps")


def ids(tokens: list[Token]) -> list[int]:
    assert [token.index for token in tokens] == list(range(len(tokens)))
    return [token.token_id for token in tokens]
