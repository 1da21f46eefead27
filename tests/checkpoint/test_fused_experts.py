"""Checkpoints with all experts of a layer in one tensor, as transformers 5 has them in memory."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from moe_teach.bench import parity
from moe_teach.bench.parity_models import TINY, tiny
from moe_teach.checkpoint.hf_export import export_hf, write_weights
from moe_teach.checkpoint.hf_import import import_hf
from moe_teach.checkpoint.model_tensors import named_tensors
from moe_teach.checkpoint.tensor_file import Entry
from moe_teach.deploy.store.opening import opened_within
from moe_teach.nn.model import Model
from moe_teach.ops.backends import using

pytest.importorskip("transformers")

WEIGHTS = "model.safetensors"


@pytest.fixture(
    scope="module", params=[(layout, dtype) for layout in TINY for dtype in ("float32", "bfloat16")]
)
def both(request, tmp_path_factory):
    """A folder as released ones are, a fused one with the same model, and that in transformers.

    Both compute in float32: with bfloat16, rounding would send some tokens to other experts, and
    no limit would tell that from a mistake.
    """
    layout, dtype = request.param
    home = tmp_path_factory.mktemp(f"{layout}-{dtype}")
    export_hf(tiny(layout), home / "released", layout, dtype=getattr(torch, dtype))
    theirs = parity.opened_by_transformers(home / "released", dtype="auto")
    theirs.save_pretrained(home / "fused", save_original_format=False)
    return home / "released", home / "fused", theirs.float()


@pytest.fixture
def mixtral(tmp_path: Path) -> Path:
    """A folder with the fused experts of a Mixtral, without transformers."""
    export_hf(tiny("mixtral"), tmp_path / "fused", "mixtral")
    rewrite(tmp_path / "fused", fused)
    return tmp_path / "fused"


def rewrite(folder: Path, change) -> None:
    tensors = safetensors.torch.load_file(folder / WEIGHTS)
    change(tensors)
    safetensors.torch.save_file(tensors, folder / WEIGHTS)


def fused(tensors: dict[str, torch.Tensor]) -> None:
    """Put the experts of every layer together; the router keeps its released name."""
    for layer in range(2):
        place = f"model.layers.{layer}.block_sparse_moe.experts"
        matrices = {
            w: torch.stack([tensors.pop(f"{place}.{e}.{w}.weight") for e in range(5)])
            for w in ("w1", "w2", "w3")
        }
        tensors[gate_up(layer)] = torch.cat((matrices["w1"], matrices["w3"]), 1)
        tensors[down(layer)] = matrices["w2"]


def gate_up(layer: int) -> str:
    return f"model.layers.{layer}.mlp.experts.gate_up_proj"


def down(layer: int) -> str:
    return f"model.layers.{layer}.mlp.experts.down_proj"


def differing(ours: Model, other: Model) -> list[str]:
    pairs = zip(named_tensors(ours), named_tensors(other), strict=True)
    return [
        name
        for (name, one), (_, two) in pairs
        if one.dtype is not two.dtype or not torch.equal(one, two)
    ]


def test_it_is_the_model_of_the_released_files_and_answers_as_theirs(both) -> None:
    released, folder, theirs = both
    stored = safetensors.torch.load_file(folder / WEIGHTS)
    ours = import_hf(folder).model

    assert any(name.endswith("mlp.experts.gate_up_proj") for name in stored)
    assert not any(".experts.0." in name for name in stored)
    assert not differing(ours, import_hf(released).model)
    assert parity.difference(ours.float(), theirs, parity.some_text(ours)) < parity.LIMIT


def test_the_oracle_tells_gate_from_up(both) -> None:
    _, folder, theirs = both
    turned = import_hf(folder, torch.float32).model
    for name, gate in turned.named_parameters():
        if name.endswith("experts.w_gate"):
            up = turned.get_parameter(name.replace("w_gate", "w_up"))
            gate.data, up.data = up.data, gate.data

    assert parity.difference(turned, theirs, parity.some_text(turned)) > 1000 * parity.LIMIT


def test_files_cut_in_shards_are_read_and_layers_may_differ(mixtral: Path) -> None:
    tensors = safetensors.torch.load_file(mixtral / WEIGHTS)
    for expert in range(5):  # the last layer as released models have it
        place = f"model.layers.1.block_sparse_moe.experts.{expert}"
        w1, w3 = tensors[gate_up(1)][expert].chunk(2)
        for name, matrix in (("w1", w1), ("w3", w3), ("w2", tensors[down(1)][expert])):
            tensors[f"{place}.{name}.weight"] = matrix
    del tensors[gate_up(1)], tensors[down(1)]
    (mixtral / WEIGHTS).unlink()
    write_weights(mixtral, [Entry.of(*named) for named in tensors.items()], shard_bytes=20_000)

    assert len(list(mixtral.glob("*.safetensors"))) > 3
    assert not differing(import_hf(mixtral).model, tiny("mixtral"))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (gate_up(0), lambda t: t.mT, r"\(5, 36, 40\) in the .* makes it \(5, 40, 36\)"),
        (gate_up(0), lambda t: t[:4], r"\(4, 40, 36\) in the .* makes it \(5, 40, 36\)"),
        (gate_up(0), lambda t: t[:, :20], r"\(5, 20, 36\) in the .* makes it \(5, 40, 36\)"),
        (gate_up(1), lambda t: t.flatten(0, 1), r"\(200, 36\) in the .* makes it \(5, 40, 36\)"),
        (down(1), lambda t: t.mT, r"\(5, 20, 36\) in the .* makes it \(5, 36, 20\)"),
        (down(0), lambda t: t[0, 0], r"\(20,\) in the .* makes it \(5, 36, 20\)"),
    ],
)
def test_a_fused_tensor_of_another_shape_is_refused(mixtral, name, change, words) -> None:
    rewrite(mixtral, lambda t: t.update({name: change(t[name]).contiguous()}))
    with pytest.raises(ValueError, match=words) as refused:
        import_hf(mixtral)
    assert str(refused.value).startswith(name)


def test_what_is_there_twice_or_in_part_is_refused(mixtral: Path) -> None:
    whole = (mixtral / WEIGHTS).read_bytes()
    rewrite(mixtral, lambda t: t.pop(down(0)))
    with pytest.raises(ValueError, match=r"lacks model\.layers\.0\..*experts\.0\.w2\.weight"):
        import_hf(mixtral)
    (mixtral / WEIGHTS).write_bytes(whole)
    one = "model.layers.0.block_sparse_moe.experts.0.w2.weight"
    rewrite(mixtral, lambda t: t.update({one: torch.ones(36, 20)}))
    with pytest.raises(ValueError, match=r"lacks .*experts\.1\.w2\.weight"):
        import_hf(mixtral)
    (mixtral / WEIGHTS).write_bytes(whole)
    rewrite(mixtral, lambda t: t.update({f"{down(0)}_scale_inv": torch.ones(5)}))
    with pytest.raises(ValueError, match=r"holds .*down_proj_scale_inv, for which the Mixtral"):
        import_hf(mixtral)


@torch.no_grad()
def test_the_store_reads_single_experts_out_of_it(mixtral: Path) -> None:
    ours = tiny("mixtral")
    text = parity.some_text(ours)
    with opened_within(mixtral, 1 << 30) as (opened, store), using(grouped_ffn="expertwise"):
        assert torch.equal(opened.model(text).logits, ours(text).logits)
        assert store.counts.misses == 10
