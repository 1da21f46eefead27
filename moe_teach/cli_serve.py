"""The verb `moe-teach serve`: what to serve, where, for whom, and how much of it."""

import argparse
import os
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moe_teach.deploy.engine.engine import Engine
    from moe_teach.deploy.server.options import Options
    from moe_teach.deploy.server.served import Served

DONE, USAGE, FAULT = 0, 2, 3
KEY = "MOE_TEACH_API_KEY"
_NUMBERS: dict[str, tuple[type, str]] = {
    "port": (int, "8000; 0 takes any free one"),
    "n-slots": (int, "8; requests computed side by side"),
    "max-waiting": (int, "64; requests that may wait, the next is told to come back"),
    "max-prompt": (int, "the model's; tokens of a prompt"),
    "max-tokens": (int, "the model's; tokens of an answer"),
    "max-body": (int, "1048576; bytes of a request"),
    "drain-seconds": (float, "30; time for running answers after SIGTERM"),
}


def add_arguments(verb: argparse.ArgumentParser) -> None:
    """Describe the arguments of the verb."""
    verb.add_argument(
        "checkpoint",
        nargs="?",
        metavar="CHECKPOINT",
        help="a folder with a model, or the TOML file of a recipe that was trained here; by "
        "default the model that comes along",
    )
    verb.add_argument("--name", help="what clients call the model; by default the folder's name")
    verb.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1: this machine only")
    verb.add_argument("--api-key", help=f"what clients must send; by default ${KEY}, if set")
    verb.add_argument("--experts", type=Path, metavar="FOLDER", help="experts to swap in by name")
    for name, (kind, text) in _NUMBERS.items():
        verb.add_argument(f"--{name}", type=kind, metavar="N", help=f"default: {text}")


def serve(arguments: argparse.Namespace) -> int:
    """Serve until told to stop; return the exit status."""
    from moe_teach.deploy.server.running import listen
    from moe_teach.deploy.server.running import serve as run
    from moe_teach.deploy.server.service import Service

    try:
        options = _options(arguments)
        service = Service(lambda: load(arguments.checkpoint, arguments.name, options), options)
        listener = listen(options.host, options.port)
    except ValueError as problem:
        print(f"moe-teach: {problem}", file=sys.stderr)
        return USAGE
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    print(f"Serving at {address}; a page to try it stands there. Ctrl-C ends.", flush=True)
    problem = run(service, listener)
    if problem is None:
        return DONE
    if isinstance(problem, ValueError | OSError):
        print(f"moe-teach: {problem}", file=sys.stderr)
        return USAGE
    traceback.print_exception(problem)
    return FAULT


def load(checkpoint: str | None, name: str | None, options: "Options") -> "tuple[Engine, Served]":
    """Load what shall be served, and make an engine of it.

    Raises:
        ValueError, FileNotFoundError: there is nothing there that can be served.
    """
    from moe_teach.deploy.engine.engine import Engine
    from moe_teach.deploy.server.served import Served

    known = _known(checkpoint)
    engine = Engine(known.pop("model"), n_slots=options.n_slots, max_waiting=options.max_waiting)
    return engine, Served(**known | ({"name": name} if name else {}))


def _options(arguments: argparse.Namespace) -> "Options":
    from moe_teach.deploy.server.options import Options

    words = [name.replace("-", "_") for name in _NUMBERS]
    given = {w: getattr(arguments, w) for w in words if getattr(arguments, w) is not None}
    key = arguments.api_key if arguments.api_key is not None else os.environ.get(KEY)
    return Options(host=arguments.host, api_key=key, experts=arguments.experts, **given)


def _known(checkpoint: str | None) -> dict[str, Any]:
    from moe_teach.deploy.server.chat import ChatTemplate
    from moe_teach.train.recipe import read_recipe
    from moe_teach.train.shipped import DEFAULT, load_folder, load_run, load_shipped

    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and path.suffix == ".toml":
        recipe = read_recipe(path)
        model, tokenizer = load_run(recipe)
        name, digest = path.parent.name or path.stem, "0" * 12
    else:
        model, tokenizer, card = load_shipped() if path is None else load_folder(path)
        name = DEFAULT if path is None else path.resolve().name
        digest = card["digests"]["model.safetensors"]
    end = getattr(tokenizer, "end_id", None)
    return {
        "model": model,
        "name": name,
        "config": model.config,
        "tokenizer": tokenizer,
        "end_ids": frozenset() if end is None else frozenset({end}),
        "template": ChatTemplate("{{ messages | map(attribute='content') | join('\n') }}"),
        "digest": digest,
        "created": int(time.time()),
    }
