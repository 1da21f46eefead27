"""The record: which pieces of text the corpus consists of, on every machine.

Python's library and Babel's names change from version to version. The corpus is made of those
pieces only that were the same in all versions surveyed, so that a loss measured here can be
compared with one measured elsewhere. The record holds fingerprints, no text: a piece that is
missing or has changed in some later version is left out and reported, never replaced.

For maintainers, when a new Python or Babel is to be supported; the second round is needed only
where the names that languages share have changed:

    python -m moe_teach.data.record survey FILE      # once with each version
    python -m moe_teach.data.record merge FILE ...   # writes recorded.json
"""

import base64
import hashlib
import json
import platform
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import babel

from moe_teach.data import arithmetic, facts_source, languages, library
from moe_teach.data.pieces import (
    FINGERPRINT_BYTES,
    SIDES,
    Documents,
    Side,
    fingerprint,
    in_order,
    joined,
    side_of,
)

RECORD = Path(__file__).with_name("recorded.json")
SHORT = 40  # characters; shorter pieces ("import os") may repeat

Prints = dict[str, list[bytes]]  # document -> fingerprints of its pieces, in order


def version() -> str:
    """Return a name for the record that changes whenever it does."""
    return hashlib.sha256(RECORD.read_bytes()).hexdigest()


@lru_cache(maxsize=1)
def read_record() -> dict[str, Any]:
    """Return the record that came with the package."""
    return json.loads(RECORD.read_text(encoding="utf-8"))


def recorded(domain: str, side: Side) -> Prints:
    """Return the fingerprints of one side of a domain."""
    packed = read_record()["domains"][domain][side]["pieces"]
    return {name: _unpack(text) for name, text in packed.items()}


def recorded_names() -> languages.Names:
    """Return the codes of countries, languages and currencies whose names never changed."""
    return {kind: tuple(codes.split()) for kind, codes in read_record()["names"].items()}


def found(domain: str, side: Side) -> Documents:
    """Return what this machine offers for one side of a domain, filtered by nothing yet."""
    match domain:
        case "code":
            return library.code_documents(list(recorded(domain, side)))
        case "english":
            return library.english_documents(list(recorded(domain, side)))
        case "languages":
            return languages.language_documents(recorded_names(), side)
        case "arithmetic":
            return arithmetic.arithmetic_documents(side)
        case "facts":
            return facts_source.fact_documents() if side == "train" else {}
    raise ValueError(f"There is no domain {domain!r}.")


def select(documents: Documents, prints: Prints) -> tuple[Documents, dict[str, int]]:
    """Return the recorded pieces, in recorded order, and how many each document lacks."""
    chosen, lacking = {}, {}
    for name, wanted in prints.items():
        here = {fingerprint(piece): piece for piece in documents.get(name, ())}
        chosen[name] = [here[p] for p in wanted if p in here]
        if missing := len(wanted) - len(chosen[name]):
            lacking[name] = missing
    return in_order(chosen), lacking


def digest(text: str) -> str:
    """Return the SHA-256 of a text as a hexadecimal number."""
    return hashlib.sha256(text.encode()).hexdigest()


def survey() -> dict[str, Any]:
    """Return the fingerprints of everything this Python and this Babel offer."""
    files = library.files()
    prose = files + library.topics()
    offered = {
        "code": {side: library.code_documents(_on(side, files)) for side in SIDES},
        "english": {side: library.english_documents(_on(side, prose)) for side in SIDES},
    }
    for domain in ("languages", "arithmetic", "facts"):
        offered[domain] = {side: found(domain, side) for side in SIDES}
    return {
        "python": platform.python_version(),
        "babel": babel.__version__,
        "names": {kind: _name_prints(kind) for kind in languages.KINDS},
        "domains": {
            domain: {side: _survey_side(documents) for side, documents in sides.items()}
            for domain, sides in offered.items()
        },
    }


def merge(surveys: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the record of all pieces that every survey agrees on."""
    names = {}
    for kind in languages.KINDS:
        first, *others = (survey["names"][kind] for survey in surveys)
        names[kind] = " ".join(c for c in first if all(o.get(c) == first[c] for o in others))
    domains = {d: _merge_domain([s["domains"][d] for s in surveys]) for d in surveys[0]["domains"]}
    versions = {
        package: sorted({survey[package] for survey in surveys}) for package in ("python", "babel")
    }
    return {"made_with": versions, "names": names, "domains": domains}


def _merge_domain(surveys: list[dict[str, Any]]) -> dict[str, Any]:
    """Keep what all agree on, once; a piece on both sides belongs to validation."""
    seen: set[str] = set()
    merged = {}
    for side in reversed(SIDES):
        first, *others = (survey[side] for survey in surveys)
        kept = {}
        for name, pieces in first.items():
            agreed = [{p for p, _ in other.get(name, ())} for other in others]
            kept[name] = ""
            for packed, length in pieces:
                again = packed in seen and length >= SHORT
                if not again and all(packed in prints for prints in agreed):
                    kept[name] += packed
                    seen.add(packed)
        merged[side] = {"pieces": {name: packed for name, packed in kept.items() if packed}}
    return merged


def _survey_side(documents: Documents) -> dict[str, list[tuple[str, int]]]:
    return {
        name: [(_pack(fingerprint(piece)), len(piece)) for piece in pieces]
        for name, pieces in documents.items()
    }


def _name_prints(kind: str) -> dict[str, str]:
    tables = [getattr(babel.Locale.parse(name), kind) for name in languages.LANGUAGES]
    return {
        code: _pack(fingerprint("\n".join(table[code] for table in tables)))
        for code in languages.stable_names(languages.LANGUAGES, kind)
    }


def _on(side: Side, names: list[str]) -> list[str]:
    return [name for name in names if side_of(name) == side]


def _pack(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _unpack(text: str) -> list[bytes]:
    value = base64.b64decode(text)
    return [value[i : i + FINGERPRINT_BYTES] for i in range(0, len(value), FINGERPRINT_BYTES)]


def _write(record: dict[str, Any]) -> None:
    RECORD.write_text(json.dumps(record, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    read_record.cache_clear()


def _add_digests(record: dict[str, Any]) -> None:
    """Write down what the whole text must be; this machine's versions were surveyed."""
    for domain, sides in record["domains"].items():
        for side in SIDES:
            chosen, lacking = select(found(domain, side), recorded(domain, side))
            if lacking:
                sys.exit(f"The names behind {domain} have changed: survey and merge once more.")
            text = joined(chosen)
            sides[side] |= {"bytes": len(text.encode()), "digest": digest(text)}


if __name__ == "__main__":
    verb, *paths = sys.argv[1:]
    if verb == "survey":
        Path(paths[0]).write_text(json.dumps(survey()), encoding="utf-8")
    else:
        record = merge([json.loads(Path(path).read_text(encoding="utf-8")) for path in paths])
        _write(record)
        _add_digests(record)
        _write(record)
