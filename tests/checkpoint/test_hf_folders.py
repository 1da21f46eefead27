"""Released checkpoints: written whole, opened tensor by tensor, refused in sentences."""

import json
import struct
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from moe_teach.bench.parity_models import tiny
from moe_teach.checkpoint import hf_import, tensor_file
from moe_teach.checkpoint.hf_export import export_hf
from moe_teach.checkpoint.hf_import import import_hf
from moe_teach.checkpoint.model_tensors import named_tensors
from moe_teach.checkpoint.tensor_file import Entry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    export_hf(tiny("mixtral"), tmp_path / "model")
    return tmp_path / "model"


def edit(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    said = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in said.items() if value != "gone"}))


def rewrite(folder: Path, change) -> None:
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.torch.save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "gpt2"}, "describes a model of type 'gpt2', and those that can be"),
        ({"model_type": "gone"}, "has no model_type"),
        ({"hidden_size": "wide"}, "must say hidden_size as a whole number above 0, but it says"),
        ({"num_hidden_layers": 3}, r"lacks model\.layers\.2\..*config.json asks for"),
        (
            {"num_hidden_layers": 1},
            r"holds model\.layers\.1\..* and \d+ more, for which the Mixtral",
        ),
        ({"num_local_experts": 6}, r"gate\.weight is \(5, 36\) in the checkpoint|lacks"),
        ({"num_experts_per_tok": 9}, "top_k is 9, but there are only 5 experts"),
        (
            {"vocab_size": 68},
            r"is \(67, 36\) in the checkpoint, and config.json makes it \(68, 36\)",
        ),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu', and only 'silu' is what moe_teach.nn"),
        ({"sliding_window": 8}, "sliding_window = 8, and only None"),
        ({"router_temperature": 2.0}, "has router_temperature, which a Mixtral here knows nothing"),
        ({"vocab_size": "gone"}, "config.json lacks vocab_size"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "the rotary embedding 'yarn'"),
        ({"rope_parameters": {"rope_theta": "big"}}, "rope_theta as a number, but it says 'big'"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "the rotary embedding 'linear'"),
        ({"partial_rotary_factor": 0.5}, "Only 50% of each head turns"),
        ({"rms_norm_eps": "small"}, "norm_eps must be a number, not 'small'"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_a_configuration_that_says_something_else_is_refused(folder, changes, words) -> None:
    edit(folder, **changes)
    with pytest.raises(ValueError, match=words) as refused:
        import_hf(folder)
    assert str(refused.value).endswith(".")


def test_tensors_that_are_missing_or_unknown_are_refused(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.pop("model.norm.weight"))
    with pytest.raises(ValueError, match=r"lacks model\.norm\.weight"):
        import_hf(folder)
    rewrite(
        folder, lambda t: t.update({"model.norm.weight": torch.ones(36), "extra": torch.ones(1)})
    )
    with pytest.raises(ValueError, match="holds extra, for which the Mixtral of its config"):
        import_hf(folder)
    rewrite(folder, lambda t: t.pop("extra"))
    rewrite(folder, lambda t: t.update({"model.rotary_emb.inv_freq": torch.ones(5)}))
    assert import_hf(folder).layout == "mixtral"


@pytest.mark.parametrize("end", [0, 5, 300, -1])
def test_a_file_that_was_cut_short_is_refused(folder: Path, end: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:end])
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        import_hf(folder)


def test_folders_that_are_no_checkpoints_are_told_apart(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        import_hf(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"There is no config\.json in"):
        import_hf(tmp_path / "empty")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match="only checkpoints in the safetensors format"):
        import_hf(folder)
    (folder / "config.json").write_text('{"model_type"')
    with pytest.raises(ValueError, match="is not whole JSON"):
        import_hf(folder)


def test_a_hub_name_without_a_connection_is_told_in_a_sentence(monkeypatch) -> None:
    import huggingface_hub

    def offline(*_args, **_options):
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(FileNotFoundError, match="could not be brought from the hub: no network"):
        import_hf("allenai/OLMoE-1B-7B-0924")


def test_shards_hold_every_tensor_once_and_the_index_says_where(tmp_path: Path) -> None:
    model = tiny("olmoe")
    export_hf(model, tmp_path / "many", shard_bytes=20_000)
    export_hf(model, tmp_path / "one")
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    whole = safetensors.torch.load_file(tmp_path / "one" / "model.safetensors")
    files = sorted((tmp_path / "many").glob("*.safetensors"))

    assert len(files) > 3
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in whole.values())
    assert index["weight_map"].keys() == whole.keys()
    for file in files:
        assert file.stat().st_size < 20_000 + 10_000  # one tensor and the header, at most
        for name, tensor in safetensors.torch.load_file(file).items():
            assert index["weight_map"][name] == file.name
            assert torch.equal(tensor, whole[name])


def test_a_shard_that_is_missing_or_elsewhere_is_refused(tmp_path: Path) -> None:
    export_hf(tiny("olmoe"), tmp_path / "many", shard_bytes=20_000)
    file = tmp_path / "many" / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    index["weight_map"]["one.more"] = sorted(set(index["weight_map"].values()))[0]
    file.write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"promises one\.more, which its files do not hold"):
        import_hf(tmp_path / "many")
    index["weight_map"]["one.more"] = "../elsewhere.safetensors"
    file.write_text(json.dumps(index))
    with pytest.raises(ValueError, match="outside its own folder"):
        import_hf(tmp_path / "many")
    file.write_text('{"weight_map": {}}')
    with pytest.raises(ValueError, match="names no file"):
        import_hf(tmp_path / "many")
    file.write_text(json.dumps({"weight_map": {"a": "model-00009.safetensors"}}))
    with pytest.raises(FileNotFoundError, match=r"There is no file .*model-00009\.safetensors"):
        import_hf(tmp_path / "many")


def test_a_folder_that_holds_something_is_left_alone(folder: Path) -> None:
    before = (folder / "config.json").read_bytes()
    with pytest.raises(FileExistsError, match="what it holds is left alone"):
        export_hf(tiny("mixtral"), folder)

    assert (folder / "config.json").read_bytes() == before


def test_an_export_that_fails_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def full(*_args, **_options):
        raise OSError("No space left on device")

    monkeypatch.setattr(tensor_file, "_bytes_of", full)
    with pytest.raises(OSError, match="No space left"):
        export_hf(tiny("mixtral"), tmp_path / "model")

    assert list(tmp_path.iterdir()) == []


def test_tensors_are_read_and_written_one_at_a_time(folder: Path, monkeypatch) -> None:
    alive, most = [], 0
    read = hf_import.Shards.read

    def counting(shards, name):
        nonlocal most
        tensor = read(shards, name)
        weakref.finalize(tensor, alive.remove, name)
        alive.append(name)
        most = max(most, len(alive))
        return tensor

    monkeypatch.setattr(hf_import.Shards, "read", counting)
    import_hf(folder)

    assert most == 1


MEASURED = """
import sys
import threading
from dataclasses import replace
from pathlib import Path

import torch

torch.set_num_threads(1)
from moe_teach.bench.parity_models import TINY
from moe_teach.checkpoint.hf_export import export_hf
from moe_teach.checkpoint.hf_import import import_hf
from moe_teach.checkpoint.model_tensors import named_tensors
from moe_teach.checkpoint.native import load_model, save_model
from moe_teach.nn.model import Model


def in_use():
    # What a process has of its own; pages of files that it reads can be taken back at any time.
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) * 1024


def most_while(work):
    done, most = threading.Event(), 0

    def watch():
        nonlocal most
        while not done.wait(0.0005):
            most = max(most, in_use())

    watcher = threading.Thread(target=watch)
    watcher.start()
    kept = work()
    done.set()
    watcher.join()
    return max(most, in_use())


small = TINY["mixtral"]
config = replace(small, d_model=256, moe=replace(small.moe, d_ff=2048))
model = Model(config)
size = sum(t.nbytes for _, t in named_tensors(model))
home = Path(sys.argv[1])
writing = (
    lambda: export_hf(model, home / "hf"),
    lambda: save_model(home / "native", model),
    lambda: export_hf(model, home / "narrow", dtype=torch.bfloat16),
)
for work in writing:
    before = in_use()
    print((most_while(work) - before) / size)
del model
for work in (lambda: import_hf(home / "hf"), lambda: load_model(home / "native")):
    before = in_use()
    print((most_while(work) - before) / size - 1)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells a process's memory")
def test_peak_memory_is_the_model_and_one_tensor(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    shares = [float(share) for share in done.stdout.split()]

    # One fused tensor is a sixth of this model; the rest is the interpreter's own.
    assert len(shares) == 5
    assert all(share < 0.3 for share in shares), shares


def test_our_files_are_those_of_the_library(tmp_path: Path) -> None:
    tensors = {
        "wide": torch.randn(3, 5, dtype=torch.float64),
        "narrow": torch.randn(7).bfloat16(),
        "turned": torch.randn(4, 6).T,
        "a part": torch.randn(9)[2:5],
        "whole": torch.arange(5),
        "flags": torch.tensor([True, False, True]),
        "nothing": torch.zeros(0, 3),
        "a number": torch.tensor(2.5),
    }
    file = tmp_path / "x.safetensors"
    digest = tensor_file.write(
        file, [Entry.of(name, t) for name, t in tensors.items()], {"format": "pt"}
    )
    plain = {name: t.contiguous().clone() for name, t in tensors.items()}

    assert digest == tensor_file.digest_of(file)
    read = safetensors.torch.load_file(file)
    assert read.keys() == tensors.keys()
    for name, tensor in plain.items():
        assert torch.equal(read[name], tensor) and read[name].dtype == tensor.dtype
    (length,) = struct.unpack("<Q", file.read_bytes()[:8])
    theirs = safetensors.torch.save(plain, {"format": "pt"})
    assert len(theirs) == len(file.read_bytes())
    assert (8 + length) % 8 == 0
    with tensor_file.reading(file) as reader:
        assert reader.shape_of("turned") == (6, 4)
        assert reader.dtype_of("narrow") == torch.bfloat16


def test_a_tensor_that_is_not_as_announced_is_refused(tmp_path: Path) -> None:
    entry = Entry("x", (2, 3), torch.float32, lambda: torch.ones(3, 2))
    with pytest.raises(ValueError, match="x was announced as"):
        tensor_file.write(tmp_path / "x.safetensors", [entry])
    assert list(tmp_path.iterdir()) == []


def test_the_layers_that_predict_further_are_not_read(tmp_path: Path) -> None:
    model = tiny("glm4_moe")
    export_hf(model, tmp_path / "model")
    rewrite(
        tmp_path / "model", lambda t: t.update({"model.layers.3.eh_proj.weight": torch.ones(2)})
    )
    edit(tmp_path / "model", num_nextn_predict_layers=1)
    back = import_hf(tmp_path / "model").model

    for (name, tensor), (_, same) in zip(named_tensors(model), named_tensors(back), strict=True):
        assert torch.equal(tensor, same), name


def test_what_acts_in_training_alone_is_left_behind(tmp_path: Path) -> None:
    def noisy(config):
        router = replace(config.moe.router, noisy=True, jitter=0.1)
        return replace(config, moe=replace(config.moe, router=router))

    model = tiny("mixtral", noisy)
    export_hf(model, tmp_path / "model")
    back = import_hf(tmp_path / "model").model
    token_ids = torch.randint(67, (2, 9))

    assert back.config == tiny("mixtral").config
    assert torch.equal(back(token_ids).logits, model(token_ids).logits)


def test_a_dtype_that_no_checkpoint_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"written in one of .* not in torch\.float64"):
        export_hf(tiny("mixtral").double(), tmp_path / "model")
    export_hf(tiny("mixtral").double(), tmp_path / "model", dtype=torch.float32)
    assert import_hf(tmp_path / "model").model.embedding.weight.dtype == torch.float32
