"""A model of one's own parts leaves the course if it computes what its configuration says."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from moe_teach.bench.parity_models import tiny
from moe_teach.checkpoint.hf_export import export_hf
from moe_teach.checkpoint.native import load_model, save_model
from moe_teach.checkpoint.own import as_ours
from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.nn.attention import Attention
from moe_teach.nn.linear import Embedding
from moe_teach.nn.model import Model, ModelOutput
from moe_teach.types import Routing

CONFIG = ModelConfig(
    n_layers=2,
    d_model=16,
    vocab_size=31,
    attention=AttentionConfig(n_heads=2, n_kv_heads=2, d_head=8),
    moe=MoEConfig(router=RouterConfig(n_experts=5, top_k=2), d_ff=6),
    norm_eps=torch.finfo(torch.float32).eps,  # what torch's norm takes if nothing is said
    max_seq_len=40,
)


class TheirLayer(nn.Module):
    """A mixture as a reader writes it: a loop over experts."""

    def __init__(self, d_model: int, n_experts: int, top_k: int, d_ff: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.router = nn.Linear(d_model, n_experts, bias=False)
        self.w_gate = nn.Parameter(torch.randn(n_experts, d_ff, d_model) / d_model**0.5)
        self.w_up = nn.Parameter(torch.randn(n_experts, d_ff, d_model) / d_model**0.5)
        self.w_down = nn.Parameter(torch.randn(n_experts, d_model, d_ff) / d_ff**0.5)

    def forward(self, x):
        probs = self.router(x).softmax(dim=-1)
        gates, chosen = probs.topk(self.top_k, dim=-1)
        gates = gates / gates.sum(dim=-1, keepdim=True)
        y = torch.zeros_like(x)
        for expert in range(len(self.w_up)):
            gate = (gates * (chosen == expert)).sum(dim=-1, keepdim=True)
            h = F.silu(x @ self.w_gate[expert].T) * (x @ self.w_up[expert].T)
            y = y + gate * (h @ self.w_down[expert].T)
        flat = [part.flatten(0, -2) for part in (probs.log(), probs, gates, chosen)]
        return y, Routing(*flat)


class TheirBlock(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d_model, moe = config.d_model, config.moe
        self.attention_norm, self.moe_norm = nn.RMSNorm(d_model), nn.RMSNorm(d_model)
        self.attention = Attention(d_model, config.attention)
        self.moe = TheirLayer(d_model, moe.router.n_experts, moe.router.top_k, moe.d_ff)

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        y, routing = self.moe(self.moe_norm(x))
        return x + y, routing


class TheirModel(nn.Module):
    def __init__(self, config: ModelConfig = CONFIG) -> None:
        super().__init__()
        self.embedding = Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(TheirBlock(config) for _ in range(config.n_layers))
        self.norm = nn.RMSNorm(config.d_model)
        self.unembedding = nn.Linear(config.d_model, config.vocab_size, bias=False)
        nn.init.normal_(self.embedding.weight)

    def forward(self, token_ids):
        x, routings = self.embedding(token_ids), []
        for block in self.blocks:
            x, routing = block(x)
            routings.append(routing)
        return ModelOutput(self.unembedding(self.norm(x)), tuple(routings))


def test_a_readers_model_is_saved_and_exported_as_one_of_ours(tmp_path: Path) -> None:
    theirs = TheirModel()
    ours = as_ours(theirs, CONFIG)
    save_model(tmp_path / "native", ours)
    assert export_hf(ours, tmp_path / "hf").name == "mixtral"
    token_ids = torch.randint(31, (2, 20))

    back = load_model(tmp_path / "native").model
    torch.testing.assert_close(back(token_ids).logits, theirs(token_ids).logits, atol=1e-5, rtol=0)
    assert theirs.training
    assert type(ours) is Model


@pytest.mark.parametrize(
    ("router", "is_equal"),
    [
        ({"normalize_gates": False}, False),
        ({"top_k": 3}, False),
        ({"gate_scale": 1.5}, False),
        ({"topk_first": True}, True),
        ({"jitter": 0.1}, True),
    ],
    ids=str,
)
def test_a_rule_that_is_not_the_configurations_is_noticed(router: dict, is_equal: bool) -> None:
    moe = replace(CONFIG.moe, router=replace(CONFIG.moe.router, **router))
    config = replace(CONFIG, moe=moe)
    if is_equal:
        assert as_ours(TheirModel(), config).config == config
        return
    with pytest.raises(ValueError, match=r"answer differently: by up to .*follow another rule"):
        as_ours(TheirModel(), config)


def test_a_fault_far_back_in_the_text_is_noticed() -> None:
    class Forgetful(TheirModel):
        def forward(self, token_ids):
            return super().forward(token_ids[:, :1].expand_as(token_ids))

    with pytest.raises(ValueError, match="answer differently"):
        as_ours(Forgetful(), CONFIG)


def test_an_answer_that_is_no_number_is_noticed() -> None:
    theirs = TheirModel()
    nn.init.constant_(theirs.norm.weight, torch.nan)
    with pytest.raises(ValueError, match="answer differently: by up to nan"):
        as_ours(theirs, CONFIG)


def test_weights_that_are_missing_left_over_or_of_another_shape_are_named() -> None:
    theirs = TheirModel()
    with pytest.raises(ValueError, match=r"no weight that could be blocks\.0\.ffn_norm\.weight"):
        as_ours(theirs, CONFIG, names=())
    with pytest.raises(ValueError, match=r"embedding\.weight is \(31, 16\), but the config.*30"):
        as_ours(theirs, replace(CONFIG, vocab_size=30))
    theirs.scale = nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="Your model has scale, which the configuration has no"):
        as_ours(theirs, CONFIG)


class Around(nn.Module):
    """A layer in a layer, as exercise 7.7 has it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("expert_bias", torch.zeros(len(layer.w_up)))

    def forward(self, x):
        return self.layer(x)


def test_layers_are_found_wherever_the_exercises_put_them() -> None:
    theirs = TheirModel()
    theirs.blocks[0].moe = Around(theirs.blocks[0].moe)
    theirs.blocks[1].ffn, theirs.blocks[1].ffn_norm = (
        theirs.blocks[1].moe,
        theirs.blocks[1].moe_norm,
    )
    del theirs.blocks[1].moe, theirs.blocks[1].moe_norm
    token_ids = torch.randint(31, (1, 5))
    expected = TheirModel()
    expected.load_state_dict(
        {
            name.replace("moe.layer.", "moe.").replace("1.ffn", "1.moe"): tensor
            for name, tensor in theirs.state_dict().items()
            if "expert_bias" not in name
        }
    )
    theirs.forward = expected.forward

    ours = as_ours(theirs, CONFIG)
    torch.testing.assert_close(
        ours(token_ids).logits, expected(token_ids).logits, atol=1e-5, rtol=0
    )


def test_names_may_be_declared() -> None:
    class Renamed(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, token_ids):
            return self.inner(token_ids).logits

    model = tiny("mixtral")
    names = [("", "inner.")]

    assert as_ours(Renamed(model), model.config, names).config == model.config
