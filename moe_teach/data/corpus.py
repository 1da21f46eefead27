"""The corpus: four domains whose truth is known, the same text on every machine.

Nothing is downloaded and no text comes with the package. Code and English are read from the
Python that runs, languages from Babel, arithmetic is generated; a record of fingerprints
(`moe_teach.data.record`) picks the pieces that are the same in all supported versions.
"""

import hashlib
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import babel

from moe_teach.config import refuse
from moe_teach.data import library, record
from moe_teach.data.cache import cached_text
from moe_teach.data.pieces import SIDES, Side, joined

DOMAINS = ("code", "english", "languages", "arithmetic")
_WHAT = {
    "code": "standard library of Python {python}, without docstrings and comments",
    "english": "docstrings and help topics of Python {python}, prose only",
    "languages": "lists, dates, measures and sums in twelve languages by Babel {babel}",
    "arithmetic": "sums, differences and products, generated",
    "facts": "names of countries in 28 languages by Babel {babel}",
}


@dataclass(frozen=True, repr=False)
class Corpus:
    """Text by domain, in two sides that share no document.

    `digest` names the exact text (SHA-256 of everything below); `sources` says in a line per
    domain where it came from and how much there is.
    """

    train: dict[str, str]
    validation: dict[str, str]
    digest: str
    sources: dict[str, str]
    _differences: tuple[str, ...] = ()

    def __repr__(self) -> str:
        lines = (f"  {domain}: {source}" for domain, source in self.sources.items())
        return "\n".join([f"Corpus {self.digest[:12]}", *lines])

    @property
    def domains(self) -> tuple[str, ...]:
        """The names of the domains."""
        return tuple(self.train)

    def plus(self, other: "Corpus") -> "Corpus":
        """Return a corpus of both: the course's domains and the reader's own text, say.

        Raises:
            ValueError: a domain is in both.
        """
        twice = sorted(set(self.domains) & set(other.domains))
        refuse(bool(twice), f"Both corpora have a domain {', '.join(twice)}: name one otherwise.")
        return make_corpus(
            self.train | other.train,
            self.validation | other.validation,
            self.sources | other.sources,
            self._differences + other._differences,
        )

    def differences(self) -> tuple[str, ...]:
        """Return, in sentences, how this text differs from the recorded one; empty if it is it."""
        return self._differences


def build_corpus(domains: Sequence[str] = DOMAINS, limit_bytes: int | None = None) -> Corpus:
    """Build the corpus, or read it from the cache.

    The first time takes some seconds for each domain. The cache lies in `cache` under
    `$MOE_TEACH_HOME` (or `~/.moe_teach`); it is checked on reading and built again when damaged,
    and done without where it cannot be written.

    Args:
        domains: which of `DOMAINS`, in this order.
        limit_bytes: at most so many bytes of training text a domain, and a tenth of it for
            validation; any beginning is a fair sample, because documents are mixed.

    Raises:
        ValueError: a domain does not exist or is named twice, or the limit is below 1000 bytes.
        RuntimeError: this machine has nothing of a domain.
    """
    for domain in domains:
        refuse(domain not in DOMAINS, f"There is no domain {domain!r}: choose from {DOMAINS}.")
    refuse(len(set(domains)) < len(domains), f"Name each domain once, not {tuple(domains)}.")
    refuse(
        limit_bytes is not None and limit_bytes < 1000,
        f"limit_bytes must be at least 1000, but it is {limit_bytes}.",
    )
    built = {domain: build_domain(domain) for domain in domains}
    limits = {"train": limit_bytes, "validation": limit_bytes and limit_bytes // 10}
    texts = {
        side: {domain: _cut(built[domain][side], limits[side]) for domain in domains}
        for side in SIDES
    }
    return make_corpus(
        **texts,
        sources={domain: built[domain]["source"] for domain in domains},
        differences=tuple(text for domain in domains for text in built[domain]["differences"]),
    )


def make_corpus(
    train: dict[str, str],
    validation: dict[str, str],
    sources: dict[str, str],
    differences: tuple[str, ...] = (),
) -> Corpus:
    """Return a corpus of given texts, with its digest."""
    digest = record.digest(json.dumps([train, validation], sort_keys=True))
    return Corpus(train, validation, digest, sources, differences)


def build_domain(domain: str) -> dict[str, Any]:
    """Return {"train", "validation", "source", "differences"} of one domain, cached."""
    origin = [sys.version, sys.prefix, babel.__version__, str(library.root())]
    marks = hashlib.sha256("\n".join([*origin, record.version()]).encode()).hexdigest()[:16]
    stored = cached_text(f"{domain}-{marks}.json", lambda: json.dumps(_build(domain)))
    return json.loads(stored)


def _build(domain: str) -> dict[str, Any]:
    texts, differences, n_pieces = {}, [], 0
    for side in SIDES:
        prints = record.recorded(domain, side)
        chosen, lacking = record.select(record.found(domain, side), prints)
        n_pieces += sum(map(len, chosen.values()))
        texts[side] = joined(chosen)
        differences += _compare(domain, side, texts[side], lacking)
        if prints and not texts[side]:
            raise RuntimeError(
                f"Nothing of the {side} text of {domain!r} was found on this machine. "
                f"{' '.join(differences)} Is the standard library here as source?"
            )
    versions = {"python": platform.python_version(), "babel": babel.__version__}
    size = " + ".join(f"{len(texts[side].encode()):,}" for side in SIDES)
    source = f"{_WHAT[domain].format(**versions)}: {n_pieces:,} pieces, {size} bytes"
    return {**texts, "source": source, "differences": differences}


def _compare(domain: str, side: Side, text: str, lacking: dict[str, int]) -> list[str]:
    """Say in a sentence or two what is not as recorded."""
    expected = record.read_record()["domains"][domain][side]
    if record.digest(text) == expected["digest"]:
        return []
    share = len(text.encode()) / expected["bytes"]
    then = {name: ", ".join(v) for name, v in record.read_record()["made_with"].items()}
    worst = sorted(lacking, key=lacking.__getitem__, reverse=True)
    where = ", ".join(f"{name} ({lacking[name]})" for name in worst[:5])
    others = f" and {len(worst) - 5} more documents" if len(worst) > 5 else ""
    return [
        f"{domain}, {side}: {sum(lacking.values())} recorded pieces are missing or changed here, "
        f"in {where or 'no document'}{others}; they are left out, and {share:.1%} of the recorded "
        f"text remains. Recorded with Python {then['python']} and Babel {then['babel']}; here is "
        f"Python {platform.python_version()} with Babel {babel.__version__}. Losses can differ a "
        "little from published ones."
    ]


def _cut(text: str, limit: int | None) -> str:
    """Return at most `limit` bytes of the beginning, up to the end of a line if one is near."""
    raw = text.encode()
    if limit is None or len(raw) <= limit:
        return text
    end = raw.rfind(b"\n", 0, limit) + 1
    return raw[: end if end > limit // 2 else limit].decode(errors="ignore")
