"""Write one of our models as the GGUF file that llama.cpp opens, or say why it cannot be done."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from moe_teach.checkpoint.gguf import metadata
from moe_teach.checkpoint.gguf.architectures import ARCHITECTURES, Architecture
from moe_teach.checkpoint.gguf.reasons import reasons_against
from moe_teach.checkpoint.gguf.tensors import Named, named_tensors
from moe_teach.checkpoint.gguf.vocabulary import of_tokenizer
from moe_teach.checkpoint.guard import demand_plain
from moe_teach.config import refuse
from moe_teach.files import replacing
from moe_teach.nn.model import Model
from moe_teach.ops.quantise import KINDS, Kind, kind_named, quantise
from moe_teach.ops.quantise.packing import packed


@dataclass(frozen=True)
class Written:
    """What was written, and under which of llama.cpp's names."""

    file: Path
    architecture: str
    n_tensors: int
    n_bytes: int
    expert_bytes: int


def export_gguf(
    model: nn.Module,
    file: Path | str,
    *,
    tokenizer_json: str | None = None,
    chat_template: str | None = None,
    end_token: str | None = None,
    expert_type: str | Kind = "F32",
    architecture: str | None = None,
    name: str = "moe_teach",
) -> Written:
    """Write a model as GGUF, so that llama.cpp computes what the model computes.

    The router, norms, attention and embeddings stay in float32. The file replaces an old one at
    one moment, and tensors are brought to it one by one.

    Args:
        model: a `Model` made of the library's own parts, on any device and of any float dtype.
        file: where to write.
        tokenizer_json: the text of its `tokenizer.json`; without one, the file knows ids only.
        chat_template: how a conversation becomes a text, in Jinja.
        end_token: the token that ends a text; None takes the tokenizer's if its name is usual.
        expert_type: how the matrices of the routed experts are stored: one of
            `moe_teach.ops.quantise.KINDS`.
        architecture: one of `ARCHITECTURES`; by default the first that fits.
        name: of the model, which servers repeat.

    Raises:
        ValueError: no architecture of llama.cpp computes this model, and why; weights that are no
            numbers; experts too narrow for the blocks of `expert_type`; another tokenizer.
    """
    demand_plain(model)
    there = architecture_of(model, architecture)
    said = of_tokenizer(tokenizer_json, model.config.vocab_size, chat_template, end_token)
    said["general.name"] = name
    return write(model, Path(file), there, said, kind_named(expert_type))


def architecture_of(model: Model, wanted: str | None = None) -> Architecture:
    """Return the architecture under which llama.cpp computes this model.

    This is the guard: under any other name the file would load, and be silently wrong.

    Raises:
        ValueError: there is none, or the wanted one would compute something else; and what.
    """
    refuse(
        wanted is not None and wanted not in ARCHITECTURES,
        f"{wanted!r} is no architecture that is written here: {', '.join(ARCHITECTURES)}.",
    )
    candidates = [ARCHITECTURES[wanted]] if wanted else list(ARCHITECTURES.values())
    against = {there.name: reasons_against(model, there) for there in candidates}
    for there in candidates:
        if not against[there.name]:
            return there
    listed = "\n".join(f"- {name}: {'; '.join(reasons)}." for name, reasons in against.items())
    raise ValueError(
        "llama.cpp would compute something else than this model, so no GGUF was written. What "
        f"differs, architecture by architecture:\n{listed}\nA Hugging Face directory may still "
        "be able to hold it."
    )


def write(
    model: Model,
    file: Path,
    architecture: Architecture,
    more: dict[str, metadata.Value],
    expert_kind: Kind,
    trunk_kind: Kind = KINDS["F32"],
    content: Callable[[Named], Tensor] = Named.content,
) -> Written:
    """Write the file without asking whether the architecture fits: `export_gguf` has asked.

    `more` are keys that the configuration does not know, such as those of the tokenizer. The
    matrices of attention and the tables are written as `trunk_kind`. `content` brings a tensor
    when its turn comes: a model that is an outline has them elsewhere.
    """
    import gguf

    tensors = list(named_tensors(model, architecture))
    kinds = [_kind(named, expert_kind, trunk_kind) for named in tensors]
    said = {**metadata.of_model(model.config, architecture), **_versions(expert_kind), **more}
    with replacing(file) as temporary:
        with closing(gguf.GGUFWriter(temporary, architecture.name)) as writer:
            for key, value in said.items():
                _add(writer, key, value)
            for named, kind in zip(tensors, kinds, strict=True):
                _announce(writer, named, kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for numbers in _contents(tensors, kinds, content):
                writer.write_tensor_data(numbers)
        n_bytes = temporary.stat().st_size
    of_experts = sum(expert_kind.n_bytes(t.tensor.numel()) for t in tensors if t.of_experts)
    return Written(file, architecture.name, len(tensors), n_bytes, of_experts)


def _kind(named: Named, expert_kind: Kind, trunk_kind: Kind) -> Kind:
    """Keep routers, norms and biases precise, whatever the rest is stored as."""
    if named.of_experts:
        return expert_kind
    is_router = named.name.endswith("ffn_gate_inp.weight")
    return KINDS["F32"] if is_router or named.tensor.ndim < 2 else trunk_kind


def _contents(
    tensors: list[Named], kinds: list[Kind], content: Callable[[Named], Tensor]
) -> Iterator[np.ndarray]:
    """Give the bytes of every tensor, one after another."""
    for named, kind in zip(tensors, kinds, strict=True):
        tensor = content(named)
        if kind.name == "BF16" and tensor.dtype is torch.bfloat16 and bool(tensor.isfinite().all()):
            yield tensor.contiguous().view(torch.uint8).numpy()  # stored as it is: no rounding
            continue
        try:
            record = quantise(tensor, kind)
        except ValueError as problem:
            raise ValueError(f"{named.name} cannot be written. {problem}") from problem
        yield packed(record).numpy()


def _announce(writer: object, named: Named, kind: Kind) -> None:
    import gguf

    writer.add_tensor_info(
        named.name,
        tuple(named.tensor.shape),
        np.dtype(np.float32),  # not looked at, because the next but one says what it is
        kind.n_bytes(named.tensor.numel()),
        gguf.GGMLQuantizationType[kind.name],
    )


def _add(writer: object, key: str, value: metadata.Value) -> None:
    match value:
        case bool():  # before int, which it also is
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case _:
            writer.add_array(key, value)


def _versions(kind: Kind) -> dict[str, metadata.Value]:
    import gguf

    names = {"F32": "ALL_F32", "MXFP4": "MOSTLY_MXFP4_MOE"}
    return {
        "general.file_type": int(gguf.LlamaFileType[names.get(kind.name, f"MOSTLY_{kind.name}")]),
        "general.quantization_version": gguf.GGML_QUANT_VERSION,
    }
