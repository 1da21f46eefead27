"""The verb that looks into a model: what its routers did with a text, as a page."""

import argparse
from pathlib import Path
from typing import Any

from moe_teach.cli.models import SOURCE, in_sentences
from moe_teach.exit_status import DONE, USAGE

_MARK = "<title>Audit of "  # how a page of ours is told from a file of somebody's


def add_verbs(verbs: Any) -> None:
    """Describe the verb and its arguments."""
    text = "write a page about what a model's routers did with a text"
    own = verbs.add_parser("audit", help=text, description=text.capitalize() + ".")
    own.set_defaults(verb=audit)
    own.add_argument("source", metavar="CHECKPOINT", help=SOURCE)
    own.add_argument("--text", required=True, metavar="FILE", help="what it reads, in UTF-8")
    own.add_argument("--to", default="audit.html", metavar="PAGE", help="default audit.html")
    own.add_argument(
        "--shown", type=int, default=240, metavar="N", help="tokens to print (default 240)"
    )


def audit(arguments: argparse.Namespace) -> int:
    """Read a text with a model, and write the page."""
    from moe_teach.analysis.audit.gather import gather
    from moe_teach.config import refuse
    from moe_teach.data.text import read_file
    from moe_teach.files import expanded, write_atomically
    from moe_teach.plots.audit_page import audit_page

    with in_sentences() as told:
        place, file = expanded(arguments.to), expanded(arguments.text)
        _demand_ours(place)
        text = read_file(file)
        model, tokenizer_json = _subject(arguments.source)
        refuse(
            tokenizer_json is None,
            f"{arguments.source} has no tokenizer.json, and without one no text can be read.",
        )
        report = gather(
            model,
            tokenizer_json,
            text,
            model_name=Path(arguments.source).name,
            text_name=file.name,
            shown=arguments.shown,
        )
        write_atomically(place, audit_page(report).encode())
        print(
            f"{place}: {report.n_tokens:,} tokens through {len(report.layers)} layers of "
            f"{report.n_experts} experts. Open it in a browser; it needs no network."
        )
    return USAGE if told else DONE


def _subject(source: str) -> tuple[Any, str | None]:
    """Open a model and its tokenizer: by the library where it can, else by transformers."""
    from moe_teach.analysis.audit.subjects import Hooked
    from moe_teach.checkpoint.hf_foreign import is_foreign, open_foreign
    from moe_teach.files import expanded
    from moe_teach.train.sources import open_source

    place = expanded(source)
    if not is_foreign(place):
        opened = open_source(source)
        return opened.model, opened.tokenizer_json
    try:
        foreign = open_foreign(place)
    except ModuleNotFoundError as problem:
        raise ValueError(str(problem)) from problem
    read_by = f"{foreign.read_by} ({foreign.model_type})"
    return Hooked(foreign.model, read_by), foreign.tokenizer_json


def _demand_ours(place: Path) -> None:
    """Refuse to write over anything but an earlier page.

    Raises:
        FileExistsError: another file stands there.
    """
    if place.is_file() and _MARK in place.read_text(encoding="utf-8", errors="replace")[:4000]:
        return
    if place.exists():
        raise FileExistsError(
            f"{place} is there already and is no audit page, so it is left alone: name another "
            "file with --to."
        )
