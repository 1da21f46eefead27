"""An upcycled or merged model, exported as a Mixtral, is the same model in transformers."""

from dataclasses import replace

import pytest
import torch

from moe_teach.bench import parity
from moe_teach.bench.parity_models import tiny
from moe_teach.checkpoint.hf_export import export_hf
from moe_teach.checkpoint.hf_import import import_hf
from moe_teach.compose.branches import merge_branches
from moe_teach.compose.upcycle import upcycle
from moe_teach.nn.model import Model
from tests.compose.test_modules import contents, differing

pytest.importorskip("transformers")


def dense(seed: int) -> Model:
    """Draw a dense model whose numbers are all random, norms included."""
    config = replace(tiny("mixtral").config, moe=None, d_ff_dense=20)
    torch.manual_seed(seed)
    model = Model(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
    return model


@pytest.mark.parametrize("how", ["upcycled", "merged"])
def test_transformers_answers_as_our_new_model_does(how, tmp_path):
    if how == "upcycled":
        ours = upcycle(dense(0), 4, 2, noise=0.3)
    else:
        ours = merge_branches([dense(seed) for seed in range(3)], trunk="average")
    text = parity.some_text(ours)
    assert export_hf(ours, tmp_path / "new").name == "mixtral"
    theirs = parity.opened_by_transformers(tmp_path / "new")
    assert type(theirs).__name__ == "MixtralForCausalLM"
    assert parity.difference(ours, theirs, text) < 1e-5
    assert not differing(contents(ours), contents(import_hf(tmp_path / "new").model))


def test_copies_answer_as_the_dense_model_also_in_transformers(tmp_path):
    seed = dense(0)
    export_hf(upcycle(seed, 4, 2), tmp_path / "new", "mixtral")
    theirs = parity.opened_by_transformers(tmp_path / "new")
    assert parity.difference(seed, theirs, parity.some_text(seed)) < 1e-5


def test_raw_gates_are_not_a_mixtral(tmp_path):
    with pytest.raises(ValueError, match="Mixtral"):
        export_hf(upcycle(dense(0), 4, 2, normalize_gates=False), tmp_path / "new", "mixtral")
