"""The verbs about trained models: write a text, and bring a model out of the course or into it."""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moe_teach.exit_status import DONE, FAILED, USAGE

if TYPE_CHECKING:
    from moe_teach.checkpoint.opened import Opened

SOURCE = (
    "`shipped`, the TOML file of a recipe trained here, or a folder with a model; `:previous` "
    "behind it asks for the checkpoint before the last"
)


def add_verbs(verbs: Any) -> None:
    """Describe the verbs and their arguments."""
    text = _add(verbs, "generate", "continue a text with the model that comes along", generate)
    text.add_argument("prompt", metavar="TEXT", help="how the text begins, in quotes")
    text.add_argument("--recipe", metavar="FILE", help="use the model this recipe has trained")
    text.add_argument("--tokens", type=int, default=80, help="how many to add (default 80)")
    text.add_argument("--temperature", type=float, default=0.5, help="0: the likeliest only")
    text.add_argument("--top-k", type=int, help="choose among the k likeliest tokens")
    text.add_argument("--seed", type=int, default=0, help="another seed, another text")
    out = _add(verbs, "export", "write a model in a form that other programs open", export)
    out.add_argument("source", metavar="SOURCE", help=SOURCE)
    out.add_argument("--to", choices=("hf", "gguf"), required=True, help="whose form it takes")
    out.add_argument("folder", metavar="FOLDER", help="where to; for gguf also a file")
    out.add_argument("--layout", help="hf: model_type; gguf: architecture; default: what fits")
    out.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="hf: of weights")
    out.add_argument("--experts", default="F32", metavar="KIND", help="gguf: as Q8_0, Q4_0, MXFP4")
    out.add_argument("--check", action="store_true", help="hf: compare it with transformers")
    into = _add(verbs, "import", "save a released checkpoint, or another model, as ours", bring_in)
    into.add_argument("source", metavar="SOURCE", help=f"its hub name, {SOURCE}")
    into.add_argument("--to", required=True, metavar="FOLDER", help="where the model is saved")
    into.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="of weights")


def generate(arguments: argparse.Namespace) -> int:
    """Continue a text and print it."""
    from moe_teach.train.generate import generate
    from moe_teach.train.shipped import load_shipped

    with in_sentences() as told:
        model, tokenizer = _trained(arguments.recipe) if arguments.recipe else load_shipped()[:2]
        # A token of BPE brings the space before it; one at the end would leave it no natural next.
        prompt = tokenizer.encode(arguments.prompt.rstrip(" "))
        options = {name: getattr(arguments, name) for name in ("temperature", "top_k", "seed")}
        more = generate(model, prompt, arguments.tokens, **options)
        print(tokenizer.decode([*prompt, *more]))
    return USAGE if told else DONE


def _trained(source: str) -> tuple[Any, Any]:
    """Open what a recipe has trained; `:previous` behind its name asks for the one before."""
    from moe_teach.checkpoint.store import named
    from moe_teach.files import expanded
    from moe_teach.train.recipe import read_recipe
    from moe_teach.train.shipped import load_run

    file, which = named(expanded(source))
    return load_run(read_recipe(file), which)


def export(arguments: argparse.Namespace) -> int:
    """Write a model as a released checkpoint or as GGUF, and say how to open it."""
    from moe_teach.train.sources import open_source

    status = DONE
    with in_sentences() as told:
        opened = open_source(arguments.source)
        if arguments.to == "gguf":
            _write_gguf(opened, arguments)
        else:
            status = _write_hf(opened, arguments)
    return USAGE if told else status


def bring_in(arguments: argparse.Namespace) -> int:
    """Open a model wherever it comes from and save it in the course's own form."""
    from moe_teach.checkpoint.layouts import layout_named
    from moe_teach.checkpoint.native import save_model
    from moe_teach.cost import n_params_active, n_params_total

    with in_sentences() as told:
        opened = _opened(arguments)
        save_model(arguments.to, opened.model, **_texts(opened))
        config = opened.model.config
        form = layout_named(opened.layout).title if opened.layout else "A model of the course"
        print(
            f"{form}, {n_params_total(config):,} parameters, of which "
            f"a token uses {n_params_active(config):,}; saved in {arguments.to}."
        )
    return USAGE if told else DONE


def _opened(arguments: argparse.Namespace) -> "Opened":
    """Open what the course knows by name or file, and all else as a released checkpoint."""
    import torch

    from moe_teach.checkpoint import store
    from moe_teach.checkpoint.hf_import import import_hf
    from moe_teach.files import expanded
    from moe_teach.train.shipped import CARD, shipped_names
    from moe_teach.train.sources import SHIPPED, open_source

    dtype = arguments.dtype and getattr(torch, arguments.dtype)
    place, which = store.named(expanded(arguments.source))
    is_ours = arguments.source in (SHIPPED, *shipped_names()) or place.suffix == ".toml"
    if not (is_ours or which == "previous" or store.exists(place) or (place / CARD).is_file()):
        return import_hf(arguments.source, dtype or None)
    opened = open_source(arguments.source)
    if dtype:
        opened.model.to(dtype)
    return opened


def _texts(opened: "Opened") -> dict[str, str | None]:
    return {
        name: getattr(opened, name) for name in ("tokenizer_json", "chat_template", "end_token")
    }


def _write_hf(opened: "Opened", arguments: argparse.Namespace) -> int:
    import torch

    from moe_teach.checkpoint.hf_export import export_hf

    folder = Path(arguments.folder)
    dtype = arguments.dtype and getattr(torch, arguments.dtype)
    texts = _texts(opened)
    layout = export_hf(opened.model, folder, arguments.layout, dtype=dtype or None, **texts)
    files = sorted(folder.iterdir())
    print(
        f"{arguments.source} is written as {layout.title} (model_type {layout.name}) in {folder}: "
        f"{', '.join(file.name for file in files)}; {_size(*files)}.\n"
        f"transformers opens it: AutoModelForCausalLM.from_pretrained({str(folder)!r})"
    )
    return _checked(folder) if arguments.check else DONE


def _checked(folder: Path) -> int:
    """Open what was written here and there, in float32, and compare the answers."""
    import torch

    from moe_teach.bench.parity import LIMIT, difference, opened_by_transformers, some_text
    from moe_teach.checkpoint.hf_import import import_hf

    ours = import_hf(folder, torch.float32).model
    text = some_text(ours)
    far = difference(ours, opened_by_transformers(folder, dtype=torch.float32), text)
    with torch.no_grad():
        scale = float(ours(text).logits.abs().max())
    print(f"With the same text, logits up to {scale:.3g} differ by at most {far:.2g}.")
    return DONE if far <= LIMIT * max(scale, 1.0) else FAILED


def _write_gguf(opened: "Opened", arguments: argparse.Namespace) -> None:
    from moe_teach.checkpoint.gguf.export import export_gguf

    place = Path(arguments.folder)
    file = place if place.suffix == ".gguf" else place / "model.gguf"
    texts = _texts(opened) if opened.tokenizer_json is not None else {}
    kinds = {"expert_type": arguments.experts, "architecture": arguments.layout}
    written = export_gguf(opened.model, file, **texts, **kinds)
    print(
        f"{arguments.source} is written for llama.cpp (architecture {written.architecture}): "
        f"{file}, {written.n_tensors} tensors, {_size(file)}."
    )


def _size(*files: Path) -> str:
    return f"{sum(file.stat().st_size for file in files) / 1e6:.1f} MB"


@contextlib.contextmanager
def in_sentences() -> Iterator[list[str]]:
    """Tell what a user can mend in a sentence; the list holds it afterwards."""
    told: list[str] = []
    try:
        yield told
    except BrokenPipeError:
        raise  # for `on_any_terminal`
    except (ValueError, OSError) as problem:
        told.append(_said(problem))
        print(f"moe-teach: {told[0]}", file=sys.stderr)


def _said(problem: Exception) -> str:
    if isinstance(problem, OSError) and problem.strerror:  # of the system, which speaks no sentence
        return f"{problem.filename or 'the system'} says: {problem.strerror}."
    return str(problem)


def _add(verbs: Any, name: str, text: str, verb: Any) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text.capitalize() + ".")
    parser.set_defaults(verb=verb)
    return parser
