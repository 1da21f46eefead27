"""The verbs about expert modules: make one, look at it, put it into a model, take it out again."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moe_teach.cli.models import SOURCE, in_sentences
from moe_teach.exit_status import DONE, USAGE
from moe_teach.text_table import aligned

if TYPE_CHECKING:
    from moe_teach.checkpoint.opened import Opened
    from moe_teach.compose.modules.manifest import Manifest, Measured, Place

CHECKPOINT = "a folder with a model, as `moe-teach import` makes it"
EXAMPLE = """\
for example, with the model that comes along:
  moe-teach import shipped --to mine
  moe-teach expert pack shipped shelf/first.safetensors --at 2:0 --domain code
  moe-teach expert install mine shelf/first.safetensors --expert 3
  moe-teach expert list mine
  moe-teach expert remove mine first
  moe-teach expert index shelf
"""


def add_verbs(verbs: Any) -> None:
    """Describe the verb and its own verbs."""
    text = "handle experts as files: pack, inspect, install, remove, list, index"
    own = verbs.add_parser(
        "expert",
        help=text,
        description=text.capitalize() + ".",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    inner = own.add_subparsers(title="verbs", metavar="VERB", required=True)
    _describe_pack(_add(inner, "pack", "write experts of a model as a module", pack))
    seen = _add(inner, "inspect", "say what a module is, and whether it is whole", inspect)
    seen.add_argument("file", metavar="FILE", help="a module")
    put = _add(inner, "install", "put a module into a saved model", install)
    put.add_argument("checkpoint", metavar="CHECKPOINT", help=CHECKPOINT)
    put.add_argument("file", metavar="FILE", help="a module")
    put.add_argument(
        "--expert", type=int, metavar="NUMBER", help="which makes room; default: as it was packed"
    )
    out = _add(inner, "remove", "take a module out; what it replaced comes back", remove)
    out.add_argument("checkpoint", metavar="CHECKPOINT", help=CHECKPOINT)
    out.add_argument("name", metavar="NAME", help="as `moe-teach expert list` gives it")
    out.add_argument("--force", action="store_true", help="also where it was trained since")
    there = _add(inner, "list", "say which modules a model holds", listed)
    there.add_argument("checkpoint", metavar="CHECKPOINT", help=CHECKPOINT)
    page = _add(inner, "index", "write a page about a folder of modules", index)
    page.add_argument("folder", metavar="FOLDER", help="with modules; gets an index.html")


def _describe_pack(made: argparse.ArgumentParser) -> None:
    made.add_argument("source", metavar="SOURCE", help=SOURCE)
    made.add_argument("file", metavar="FILE", help="where to, as maths.safetensors")
    made.add_argument("--replace", action="store_true", help="also a module that is there already")
    made.add_argument("--base", metavar="SOURCE", help="the model it was trained from")
    made.add_argument("--at", nargs="+", metavar="LAYER:EXPERT", help="default: what differs")
    made.add_argument("--name", help="default: as the file")
    made.add_argument("--domain", default="", help="what the experts are for")
    made.add_argument("--licence", default="", help="on which terms, as MIT")
    made.add_argument("--note", default="", help="a sentence for its readers")
    made.add_argument(
        "--text",
        nargs="+",
        default=[],
        metavar="NAME=FILE",
        help="texts on which base and module are compared",
    )


def pack(arguments: argparse.Namespace) -> int:
    """Take experts out of a model, and measure them against its base where there are texts."""
    from moe_teach.compose.modules.module_file import write_module
    from moe_teach.compose.modules.packing import pack as packed
    from moe_teach.train.sources import open_source

    with in_sentences() as told:
        file = Path(arguments.file)
        _demand_room(file, replace=arguments.replace)
        opened = open_source(arguments.source)
        base = open_source(arguments.base) if arguments.base else None
        places = _places(arguments.at, base, opened)
        module = packed(
            opened.model,
            places,
            arguments.name or file.stem,
            domain=arguments.domain,
            licence=arguments.licence,
            note=arguments.note,
            measured=_measured(arguments.text, base, opened, places),
        )
        write_module(module, file)
        print(f"{file}: {module.n_params:,} numbers, {file.stat().st_size / 1e3:.0f} kB.")
        print(_told(module.manifest))
    return USAGE if told else DONE


def inspect(arguments: argparse.Namespace) -> int:
    """Read a module, check it, and print its label."""
    from moe_teach.compose.modules.module_file import read_module

    with in_sentences() as told:
        module = read_module(Path(arguments.file))
        print(_told(module.manifest))
        print(f"{module.n_params:,} numbers; whole: its SHA-256 is {module.digest}.")
    return USAGE if told else DONE


def install(arguments: argparse.Namespace) -> int:
    """Put a module into a saved model."""
    from moe_teach.compose.modules.installed import install as put

    with in_sentences() as told:
        entry = put(arguments.checkpoint, arguments.file, arguments.expert)
        name = entry.manifest.name
        print(
            f"{name} is installed in {arguments.checkpoint}: {_where(entry.manifest)}. "
            f"`moe-teach expert remove {arguments.checkpoint} {name}` brings back what it replaced."
        )
    return USAGE if told else DONE


def remove(arguments: argparse.Namespace) -> int:
    """Take a module out of a saved model."""
    from moe_teach.compose.modules.installed import remove as take

    with in_sentences() as told:
        entry = take(arguments.checkpoint, arguments.name, force=arguments.force)
        print(
            f"{arguments.name} is out of {arguments.checkpoint}, and {_where(entry.manifest)} is "
            "bit for bit what it was before."
        )
    return USAGE if told else DONE


def listed(arguments: argparse.Namespace) -> int:
    """Print one line for each module of a saved model."""
    from moe_teach.compose.modules.installed import list_modules

    with in_sentences() as told:
        entries = list_modules(arguments.checkpoint)
        rows = [
            (one.manifest.name, one.manifest.domain, _where(one.manifest), one.digest[:12])
            for one in entries
        ]
        header = ("name", "domain", "in place of", "digest")
        print(aligned(header, rows) if rows else "No module is installed.")
    return USAGE if told else DONE


def index(arguments: argparse.Namespace) -> int:
    """Write index.html into a folder of modules."""
    from moe_teach.plots.shelf_page import write_index

    with in_sentences() as told:
        page, said = write_index(Path(arguments.folder))
        print("\n".join([*said, f"The page is {page}."]))
    return USAGE if told else DONE


def _demand_room(file: Path, *, replace: bool) -> None:
    """Refuse a file that would not be found as a module, or that somebody would miss."""
    from moe_teach.compose.modules.module_file import SUFFIX, claims_to_be_module
    from moe_teach.config import refuse

    refuse(file.suffix != SUFFIX, f"A module's file ends in {SUFFIX}: name it {file}{SUFFIX}.")
    refuse(
        file.exists() and not claims_to_be_module(file),
        f"{file} is there already and is no module, so it is left alone: name another file.",
    )
    refuse(
        file.exists() and not replace,
        f"{file} is there already: name another file, or say --replace.",
    )


def _places(
    said: Sequence[str] | None, base: "Opened | None", opened: "Opened"
) -> "tuple[Place, ...]":
    from moe_teach.compose.modules.manifest import read_place
    from moe_teach.compose.modules.packing import changed_places
    from moe_teach.config import refuse

    if said:
        return tuple(read_place(word) for word in said)
    refuse(
        base is None,
        "Say which experts (--at LAYER:EXPERT), or from which model they were trained (--base), so "
        "that what differs can be packed.",
    )
    changed = changed_places(base.model, opened.model)
    refuse(not changed, "The two models are the same: there is nothing to pack.")
    return changed


def _measured(
    said: Sequence[str], base: "Opened | None", opened: "Opened", places: "tuple[Place, ...]"
) -> "tuple[Measured, ...]":
    from moe_teach.cli.expert_effect import effect
    from moe_teach.config import refuse

    if not said:
        return ()
    refuse(base is None, "Say with which model the module is to be compared: --base SOURCE.")
    return effect(said, base, opened.model, places)


def _told(manifest: "Manifest") -> str:
    lines = [
        f"{manifest.name}: {_where(manifest)}; {manifest.domain or 'domain not said'}; "
        f"licence {manifest.licence or 'not said'}.",
        *([manifest.note] if manifest.note else []),
        f"Fits the trunk {manifest.trunk[:12]}: width {manifest.d_model}, experts of "
        f"{manifest.d_ff}, {manifest.activation}, {manifest.dtype}.",
    ]
    rows = [
        (one.domain, f"{one.before:.3f}", f"{one.after:.3f}", f"{one.gain:+.3f}", str(one.n_tokens))
        for one in manifest.measured
    ]
    header = ("text", "without", "with", "gain", "tokens")
    lines.append(aligned(header, rows) if rows else "Nobody has measured what it changes.")
    return "\n".join(lines)


def _where(manifest: "Manifest") -> str:
    return "; ".join(str(place) for place in manifest.where())


def _add(verbs: Any, name: str, text: str, verb: Any) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text.capitalize() + ".")
    parser.set_defaults(verb=verb)
    return parser
