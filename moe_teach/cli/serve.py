"""The verb `moe-teach serve`: what to serve, where, for whom, and how much of it."""

import argparse
import hashlib
import os
import sys
import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moe_teach.exit_status import DONE, FAULT, USAGE

if TYPE_CHECKING:
    from moe_teach.checkpoint.opened import Opened
    from moe_teach.deploy.engine.engine import Engine
    from moe_teach.deploy.server.options import Options
    from moe_teach.deploy.server.served import Served
    from moe_teach.deploy.store.expert_store import ExpertStore
    from moe_teach.nn.model import Model

KEY = "MOE_TEACH_API_KEY"
_UNTIL_THE_END = ExitStack()
_BEGINNING = 1024  # numbers of a tensor
_MORE = (
    "Clients: base_url=http://127.0.0.1:8000/v1; beside it /health, /ready, /metrics and a page "
    "to try it at /. Other machines are answered only with a key. Ctrl-C or SIGTERM lets running "
    "answers end, twice ends at once."
)
_NUMBERS: dict[str, tuple[type, str]] = {
    "port": (int, "8000; 0 takes any free one"),
    "n-slots": (int, "8; requests computed side by side"),
    "max-waiting": (int, "64; requests that may wait, the next is told to come back"),
    "max-prompt": (int, "the model's; tokens of a prompt"),
    "max-tokens": (int, "the model's; tokens of an answer"),
    "max-body": (int, "1048576; bytes of a request"),
    "expert-bytes": (int, "all; bytes of memory for experts of a folder in Hugging Face's form"),
    "drain-seconds": (float, "30; time for running answers after SIGTERM"),
}


def add_verbs(verbs: Any) -> None:
    """Describe the verb and its arguments."""
    what = "answer OpenAI's clients over HTTP with a trained model"
    verb = verbs.add_parser(
        "serve", help=what, description=f"{what[0].upper()}{what[1:]}.", epilog=_MORE
    )
    verb.set_defaults(verb=serve)
    verb.add_argument(
        "checkpoint",
        nargs="?",
        metavar="CHECKPOINT",
        help="the TOML file of a recipe trained here, or a folder with a model; by default the "
        "model that comes along",
    )
    verb.add_argument("--name", help="what clients call the model; default: the folder's name")
    verb.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1: this machine only")
    verb.add_argument("--api-key", metavar="KEY", help=f"what clients must send; default ${KEY}")
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
    from tokenizers import Tokenizer

    from moe_teach.checkpoint.chat import PLAIN_CHAT
    from moe_teach.checkpoint.tokenizer_text import id_of
    from moe_teach.config import refuse
    from moe_teach.data.tokenizer import BPETokenizer
    from moe_teach.deploy.engine.engine import Engine
    from moe_teach.deploy.server.chat import ChatTemplate
    from moe_teach.deploy.server.served import Served
    from moe_teach.train.sources import SHIPPED

    opened, store = _opened(checkpoint or SHIPPED, options.expert_bytes)
    text, end = opened.tokenizer_json, opened.end_token
    refuse(text is None, f"{checkpoint} has no tokenizer.json: a server must read and write text.")
    end_id = None if end is None else id_of(text, end)
    served = Served(
        name=name or _name_of(checkpoint),
        config=opened.model.config,
        tokenizer=BPETokenizer(Tokenizer.from_str(text)),
        end_ids=frozenset() if end_id is None else frozenset({end_id}),
        template=ChatTemplate(opened.chat_template or PLAIN_CHAT),
        digest=_digest(opened.model),
        created=int(time.time()),
        special={} if end is None else {"eos_token": end},
        store=store,
    )
    engine = Engine(opened.model, n_slots=options.n_slots, max_waiting=options.max_waiting)
    return engine, served


def _opened(source: str, expert_bytes: int | None) -> "tuple[Opened, ExpertStore | None]":
    from moe_teach.train.sources import open_source

    if expert_bytes is None:
        return open_source(source), None
    from moe_teach.deploy.store.opening import opened_within

    # Until the process ends, which closes its files.
    return _UNTIL_THE_END.enter_context(opened_within(Path(source), expert_bytes))


def _options(arguments: argparse.Namespace) -> "Options":
    from moe_teach.deploy.server.options import Options

    words = [name.replace("-", "_") for name in _NUMBERS]
    given = {w: getattr(arguments, w) for w in words if getattr(arguments, w) is not None}
    key = arguments.api_key if arguments.api_key is not None else os.environ.get(KEY)
    return Options(host=arguments.host, api_key=key, experts=arguments.experts, **given)


def _name_of(checkpoint: str | None) -> str:
    from moe_teach.train.shipped import DEFAULT
    from moe_teach.train.sources import SHIPPED

    if checkpoint in (None, SHIPPED):
        return DEFAULT
    place = Path(checkpoint).expanduser().resolve()
    return place.stem if place.suffix == ".toml" else place.name


def _digest(model: "Model") -> str:
    """Tell models apart by the beginning of every tensor, which takes no time for any size."""
    from torch import uint8

    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        beginning = tensor.reshape(-1)[:_BEGINNING].contiguous().cpu()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(beginning.view(uint8).numpy().tobytes())
    return digest.hexdigest()
