"""Merges dense models with mergekit and with the library, from the same folders, bit for bit.

    make mergekit

Dense Llamas and Mistrals are drawn and saved by transformers. `mergekit-moe` makes a Mixtral of
them, and so do `moe_teach.compose.branches` and the exporter; transformers opens both, and every
tensor of one is compared with that of the other. The two differ by rule in two places: mergekit
takes the trunk of its base model where the library averages, and each draws its own router. So the
trunk is compared where the branches share it, and for answers our router gets mergekit's rows. A
control merges the branches in another order and must differ. At last the library opens mergekit's
folder itself, and holds every tensor that transformers holds. Exit status: 0 all as it must be, 1
not.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # everything is here

import json
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from moe_teach.checkpoint.hf_export import export_hf
from moe_teach.checkpoint.hf_import import import_hf, weights
from moe_teach.checkpoint.layouts import layout_named
from moe_teach.checkpoint.layouts.names import places_of
from moe_teach.checkpoint.model_tensors import named_tensors
from moe_teach.compose.branches import merge_branches
from moe_teach.config import AttentionConfig, ModelConfig
from moe_teach.nn.model import Model

N_BRANCHES, N_LAYERS, D_FF = 3, 2, 48
TOKENIZER = Path(__file__).parents[2] / "moe_teach/weights/four_domains/tokenizer.json"
# A dense layer of Qwen3 has the names, and the order of rows, of Llama's and Mistral's.
DENSE_NAMES = layout_named("qwen3_moe")
Trunk = Literal["average", "frozen"]
CASES: tuple[tuple[str, str, Trunk], ...] = (
    ("Llama", "float32", "frozen"),
    ("Llama", "bfloat16", "average"),
    ("Mistral", "float32", "average"),
    ("Mistral", "bfloat16", "frozen"),
)


@dataclass(frozen=True)
class Compared:
    """How many tensors of two Mixtrals are equal, bit for bit, of how many."""

    experts: tuple[int, int]
    trunk: tuple[int, int]
    routers: tuple[int, int]


def main() -> int:
    """Compare every case and print a table; return 0, or 1 after saying what differs."""
    warnings.simplefilter("ignore")  # of other packages, about each other
    faults: list[str] = []
    print("                                                       largest difference of logits")
    print("dense     dtype     trunk     experts  trunk    control  merged twice  opened twice")
    for kind, dtype, trunk in CASES:
        with tempfile.TemporaryDirectory(prefix="moe-teach-mergekit-") as folder:
            faults += tried(Path(folder), kind, dtype, trunk)
    print("\n".join(faults) if faults else "Every tensor is as it must be.")
    return 1 if faults else 0


def tried(home: Path, kind: str, dtype: str, trunk: Trunk) -> list[str]:
    """Merge one set of branches twice; give a sentence for each thing that is not as it must be."""
    folders = drawn(home, kind, getattr(torch, dtype), shares_trunk=trunk == "frozen")
    merged_by_mergekit(home, folders, dtype)
    theirs = opened(home / "theirs")
    branches = [read_dense(folder) for folder in folders]
    ours = merge_branches(branches, trunk=trunk)
    for block, layer in zip(ours.blocks, theirs.model.layers, strict=True):
        with torch.no_grad():
            block.ffn.router.proj.weight.copy_(layer.mlp.gate.weight)
    export_hf(ours, home / "ours", "mixtral")
    found = compared(opened(home / "ours"), theirs)
    export_hf(merge_branches(branches[::-1], trunk=trunk), home / "turned", "mixtral")
    turned = compared(opened(home / "turned"), theirs).experts
    # Of three branches in reverse order the middle one stands where it stood.
    expected = found.experts[1] // N_BRANCHES
    far = difference(opened(home / "ours"), theirs)
    print(
        f"{kind:9} {dtype:9} {trunk:9} {told(found.experts):8} {told(found.trunk):8} "
        f"{told(turned):8} {far:<13.1e} {opened_here(home, theirs):.1e}",
        flush=True,
    )
    here, faults = f"{kind}, {dtype}, {trunk} trunk", []
    if found.experts[0] != found.experts[1]:
        faults.append(f"{here}: only {told(found.experts)} tensors of experts are equal.")
    if trunk == "frozen" and (found.trunk[0] != found.trunk[1] or far != 0):
        faults.append(f"{here}: trunk {told(found.trunk)}, logits differ by up to {far:.1e}.")
    if turned[0] != expected:
        faults.append(f"{here}: the control has {told(turned)} equal, and {expected} were due.")
    return faults


def opened_here(home: Path, theirs: nn.Module) -> float:
    """Open mergekit's folder with the library; return how far its logits are from theirs."""
    model = import_hf(home / "theirs").model
    export_hf(model, home / "again", "mixtral")
    found = compared(opened(home / "again"), theirs)
    if any(equal != all_of for equal, all_of in (found.experts, found.trunk, found.routers)):
        raise SystemExit(f"What import_hf reads of mergekit's folder is not what it holds: {found}")
    return difference(model, theirs)


def drawn(home: Path, kind: str, dtype: torch.dtype, *, shares_trunk: bool) -> list[Path]:
    """Save branches as transformers does, with a tokenizer, which mergekit asks for."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(TOKENIZER), eos_token="<|end|>", bos_token="<|end|>"
    )
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=D_FF,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        **({"sliding_window": None} if kind == "Mistral" else {}),
    )
    folders = []
    for number in range(N_BRANCHES):
        model = getattr(transformers, f"{kind}ForCausalLM")(config)
        draw(model, 0 if shares_trunk else number, number)
        folders.append(home / f"branch{number}")
        model.to(dtype).save_pretrained(folders[-1])
        tokenizer.save_pretrained(folders[-1])
    return folders


@torch.no_grad()
def draw(model: nn.Module, trunk_seed: int, seed: int) -> None:
    """Make all numbers random, norms included, so that none can be dropped or swapped unseen."""
    sources = [torch.Generator().manual_seed(number) for number in (100 + trunk_seed, 200 + seed)]
    for name, parameter in model.named_parameters():
        source = sources[".mlp." in name]
        if parameter.dim() == 1:
            parameter.uniform_(0.5, 1.5, generator=source)
        else:
            parameter.normal_(std=parameter.shape[-1] ** -0.5, generator=source)


def merged_by_mergekit(home: Path, folders: list[Path], dtype: str) -> None:
    """Let the command make its Mixtral, in home/theirs."""
    wish = {
        "base_model": str(folders[0]),
        "experts": [{"source_model": str(folder)} for folder in folders],
        "gate_mode": "random",
        "dtype": dtype,
        "experts_per_token": 2,
    }
    config = home / "merge.yml"
    config.write_text(json.dumps(wish), encoding="utf-8")  # JSON is YAML
    command = Path(sys.executable).parent / "mergekit-moe"
    ran = subprocess.run(
        [str(command), str(config), str(home / "theirs")], capture_output=True, text=True
    )
    if ran.returncode:
        raise SystemExit(f"mergekit-moe failed:\n{ran.stdout[-1000:]}\n{ran.stderr[-3000:]}")


def read_dense(folder: Path) -> Model:
    """Read a saved Llama or Mistral as a dense model of the library, and ask both the same."""
    said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    attention = AttentionConfig(
        n_heads=said["num_attention_heads"],
        n_kv_heads=said["num_key_value_heads"],
        d_head=said["hidden_size"] // said["num_attention_heads"],
        rope_theta=said["rope_parameters"]["rope_theta"],
    )
    config = ModelConfig(
        n_layers=said["num_hidden_layers"],
        d_model=said["hidden_size"],
        vocab_size=said["vocab_size"],
        attention=attention,
        d_ff_dense=said["intermediate_size"],
        norm_eps=said["rms_norm_eps"],
        max_seq_len=said["max_position_embeddings"],
    )
    model = Model(config).to(getattr(torch, said["dtype"])).eval()
    tensors = dict(named_tensors(model))
    shapes = ((name, tuple(tensor.shape)) for name, tensor in tensors.items())
    with weights(folder) as shards, torch.no_grad():
        for place in places_of(DENSE_NAMES, shapes):
            tensors[place.ours].copy_(shards.read(place.theirs[0]))
    return model


def opened(folder: Path) -> nn.Module:
    """Open a folder as users of transformers do; every tensor must find its place."""
    from transformers import AutoModelForCausalLM

    model, report = AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, dtype="auto", output_loading_info=True
    )
    lost = {name: found for name, found in report.items() if found}
    if lost or type(model).__name__ != "MixtralForCausalLM":
        raise SystemExit(f"{folder.name} opens as {type(model).__name__}, with {lost}.")
    return model.eval()


def compared(ours: nn.Module, theirs: nn.Module) -> Compared:
    """Compare every tensor that transformers holds of two Mixtrals, experts one by one."""
    left, right = ours.state_dict(), theirs.state_dict()
    if left.keys() != right.keys():
        raise SystemExit(f"The Mixtrals have other tensors: {left.keys() ^ right.keys()}.")
    pairs: dict[str, list[bool]] = {"experts": [], "trunk": [], "routers": []}
    for name, tensor in left.items():
        if ".experts." in name:
            halves = 2 if name.endswith("gate_up_proj") else 1  # one tensor holds both
            rows = zip(parts(tensor, halves), parts(right[name], halves), strict=True)
            pairs["experts"] += [same(*row) for row in rows]
        else:
            pairs["routers" if ".mlp.gate." in name else "trunk"].append(same(tensor, right[name]))
    return Compared(**{kind: (sum(equal), len(equal)) for kind, equal in pairs.items()})


def parts(tensor: Tensor, halves: int) -> list[Tensor]:
    """Cut the tensor of all experts into the matrices of each."""
    return [matrix for expert in tensor for matrix in expert.chunk(halves)]


def same(one: Tensor, other: Tensor) -> bool:
    """Say whether two tensors are equal in dtype and in every bit of every number."""
    return one.dtype is other.dtype and torch.equal(one, other)


@torch.no_grad()
def difference(ours: nn.Module, theirs: nn.Module) -> float:
    """Return the largest difference of the logits of two models of transformers."""
    ids = torch.randint(1024, (3, 60), generator=torch.Generator().manual_seed(1))
    return float((ours(ids).logits - theirs(ids).logits).abs().max())


def told(count: tuple[int, int]) -> str:
    """Write "equal of all"."""
    return "{}/{}".format(*count)


if __name__ == "__main__":
    sys.exit(main())
