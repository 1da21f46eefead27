"""The corpus is the text it is said to be, divided for good, and honest where it differs."""

import ast
import json
import re

import pytest

from moe_teach.data import corpus as corpus_module
from moe_teach.data import library, record
from moe_teach.data.corpus import DOMAINS, Corpus, build_corpus, build_domain
from moe_teach.data.pieces import SIDES
from moe_teach.files import cache_folder


def beginnings(text: str, width: int) -> list[str]:
    """Return what follows every beginning of a line or sentence."""
    starts = [match.end() for match in re.finditer(r"\n\s*|[.,;] ", text)]
    return [text[start : start + width] for start in starts if start + width <= len(text)]


def test_every_domain_has_text_on_both_sides(corpus: Corpus) -> None:
    assert corpus.domains == tuple(corpus.train) == tuple(corpus.validation) == DOMAINS
    for domain in DOMAINS:
        train, validation = len(corpus.train[domain]), len(corpus.validation[domain])
        assert train > 800_000
        assert 0.07 < validation / train < 0.13
        assert f"{len(corpus.train[domain].encode()):,}" in corpus.sources[domain]


def test_the_text_is_the_recorded_one_or_the_corpus_says_where_it_differs(corpus: Corpus) -> None:
    for domain in DOMAINS:
        recorded = record.read_record()["domains"][domain]
        same = all(
            record.digest(getattr(corpus, side)[domain]) == recorded[side]["digest"]
            for side in SIDES
        )
        said = any(sentence.startswith(domain) for sentence in corpus.differences())
        assert same != said, f"{domain}: {corpus.differences()}"


@pytest.mark.parametrize(
    ("domain", "width", "most"),
    [("code", 80, 0.03), ("english", 80, 0.01), ("languages", 50, 0.01), ("arithmetic", 30, 0.0)],
)
def test_validation_text_is_not_seen_in_training(
    corpus: Corpus, domain: str, width: int, most: float
) -> None:
    # Some idioms of code and the names of three countries in a row do occur twice.
    seen = set(beginnings(corpus.train[domain], width))
    asked = beginnings(corpus.validation[domain], width)

    assert len(asked) > 400
    assert sum(text in seen for text in asked) <= most * len(asked)


def test_no_long_piece_occurs_on_both_sides_or_twice(corpus: Corpus) -> None:
    for domain in ("code", "english"):
        pieces = [p for side in SIDES for p in getattr(corpus, side)[domain].split("\n\n")]
        long = [piece for piece in pieces if len(piece) >= record.SHORT]
        assert len(long) == len(set(long))


def test_documents_are_mixed_so_that_a_beginning_is_a_sample(corpus: Corpus) -> None:
    beginning = build_corpus(("languages",), limit_bytes=100_000).train["languages"]

    # Words for "and" of ten languages are there, not only those of the first in the alphabet.
    for word in (" и ", " und ", " et ", " ja ", " és ", " i ", " ve ", " και ", " en ", " a "):
        assert word in beginning


def test_a_limit_counts_bytes_and_cuts_at_the_end_of_a_line(corpus: Corpus) -> None:
    small = build_corpus(("code", "languages"), limit_bytes=20_000)

    for domain in small.domains:
        for side, limit in (("train", 20_000), ("validation", 2_000)):
            text = getattr(small, side)[domain]
            assert limit - 500 < len(text.encode()) <= limit
            assert text.endswith("\n")
            assert getattr(corpus, side)[domain].startswith(text)
    assert small.digest != corpus.digest


def test_the_smallest_limit_still_leaves_text_on_both_sides(corpus: Corpus) -> None:
    smallest = build_corpus(limit_bytes=1000)

    for domain in DOMAINS:
        assert 500 < len(smallest.train[domain].encode()) <= 1000
        assert 50 < len(smallest.validation[domain].encode()) <= 100


def test_a_corpus_shows_what_it_is_and_not_all_it_holds(corpus: Corpus) -> None:
    assert corpus.digest[:12] in repr(corpus)
    assert all(source in repr(corpus) for source in corpus.sources.values())
    assert len(repr(corpus)) < 1000


def test_code_has_no_comments_and_english_no_code(corpus: Corpus) -> None:
    code, english = corpus.validation["code"], corpus.validation["english"]

    # A few strings hold such lines: templates of programs, say.
    assert len(re.findall(r"^\s*#", code, re.MULTILINE)) < code.count("\n") / 1000
    assert not re.search(r"^(def|class|import|>>>) ", english, re.MULTILINE)
    letters = sum(character.isalpha() or character.isspace() for character in english)
    assert letters > 0.9 * len(english)


def test_arithmetic_is_right_and_its_families_keep_to_their_side(corpus: Corpus) -> None:
    families = {}
    for side in SIDES:
        families[side] = set()
        for line in filter(None, getattr(corpus, side)["arithmetic"].split("\n")):
            a, operation, b, _, c = line.split(" ")
            a, b, c = int(a), int(b), int(c)
            assert c == {"+": a + b, "-": a - b, "*": a * b}[operation]
            # The three numbers of a sum or of a difference, in order of size, name the family.
            families[side].add((operation == "*", *sorted((a, b, c))))

    assert families["train"].isdisjoint(families["validation"])
    assert len(families["train"]) > 4000
    assert len(families["validation"]) > 400


def test_numbers_and_days_of_validation_are_never_written_in_training(corpus: Corpus) -> None:
    # "7 марта 2001": every Russian date has a day, a month in the genitive and a year.
    dates = re.compile(r"\d{1,2} \w+ \d{4}(?= г)")
    train, validation = (set(dates.findall(getattr(corpus, side)["languages"])) for side in SIDES)

    assert len(validation) > 50
    assert train.isdisjoint(validation)


def test_a_changed_or_missing_source_is_left_out_and_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = library.code_documents

    def changed(names: list[str]) -> dict[str, list[str]]:
        documents = real(names)
        documents.pop("argparse.py", None)
        documents.pop("operator.py", None)
        if "heapq.py" in documents:
            documents["heapq.py"] = ["not_in_any_library = 1", *documents["heapq.py"][1:]]
        return documents

    monkeypatch.setattr(library, "code_documents", changed)
    built = corpus_module._build("code")

    assert "not_in_any_library" not in built["train"] + built["validation"]
    report = " ".join(built["differences"])
    assert "missing or changed here, in argparse.py" in report
    assert "operator.py" in report
    assert "Recorded with Python 3.11" in report
    assert "% of the recorded text remains" in report


def test_a_machine_without_sources_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "code_documents", lambda names: {})

    with pytest.raises(RuntimeError, match="Nothing of the train text of 'code' was found"):
        corpus_module._build("code")


def test_a_damaged_cache_is_built_again(corpus: Corpus) -> None:
    (stored,) = cache_folder().glob("arithmetic-*.json")
    good = stored.read_bytes()
    text = corpus.train["arithmetic"]
    for bad in (good[:-1], good.replace(b" 1", b" 2", 1), b"\xff\xfe"):
        stored.write_bytes(bad)
        assert build_domain("arithmetic")["train"] == text
        assert stored.read_bytes() == good


def test_the_cache_is_read_when_it_is_good(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_module, "_build", lambda domain: pytest.fail("built again"))

    assert build_corpus() == corpus


def test_a_cache_that_cannot_be_written_is_done_without(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOE_TEACH_HOME", str(tmp_path / "file"))

    assert build_corpus(("arithmetic",)).train["arithmetic"] == corpus.train["arithmetic"]


def test_two_corpora_can_be_joined_unless_they_share_a_domain(corpus: Corpus) -> None:
    mine = corpus_module.make_corpus({"mine": "a"}, {"mine": "b"}, {"mine": "by hand"})
    both = corpus.plus(mine)

    assert both.domains == (*DOMAINS, "mine")
    assert both.sources["mine"] == "by hand"
    assert both.digest not in (corpus.digest, mine.digest)
    with pytest.raises(ValueError, match="Both corpora have a domain mine"):
        both.plus(mine)


@pytest.mark.parametrize(
    ("wishes", "says"),
    [
        ({"domains": ("cooking",)}, "There is no domain 'cooking'"),
        ({"domains": ("code", "code")}, "Name each domain once"),
        ({"limit_bytes": 999}, "at least 1000"),
    ],
)
def test_impossible_wishes_are_refused_in_a_sentence(wishes: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build_corpus(**wishes)


def test_the_record_holds_no_text() -> None:
    stored = json.loads(record.RECORD.read_text())
    for sides in stored["domains"].values():
        for side in SIDES:
            assert set(sides[side]) == {"pieces", "bytes", "digest"}
            assert all(re.fullmatch(r"[A-Za-z0-9+/]+", p) for p in sides[side]["pieces"].values())
    assert ast.literal_eval(repr(stored["made_with"]["python"]))[0].startswith("3.11")
