"""Tokenizers give back every text, are the same when trained again, and open elsewhere."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from moe_teach.data import tokenizer as tokenizer_module
from moe_teach.data.tokenizer import (
    END,
    BPETokenizer,
    ByteTokenizer,
    encode_domains,
    load_tokenizer,
    train_bpe,
)
from moe_teach.files import cache_folder

TEXT = "the cat sat on the mat, the cat\n\n\tπαρά, 猫 & café 12 + 35 = 47\n" * 20
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)


@pytest.fixture(scope="module")
def bpe() -> BPETokenizer:
    return train_bpe([TEXT], vocab_size=300)


@given(text=texts)
@settings(max_examples=50, deadline=None)
def test_bytes_are_utf8_and_come_back(text: str) -> None:
    tokenizer = ByteTokenizer()

    assert bytes(tokenizer.encode(text)) == text.encode()
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(text=texts)
@settings(max_examples=50, deadline=None)
def test_bpe_gives_back_any_text(bpe: BPETokenizer, text: str) -> None:
    ids = bpe.encode(text)

    assert bpe.decode(ids) == text
    assert all(0 <= i < bpe.vocab_size for i in ids)


def test_a_cut_character_is_shown_as_one(bpe: BPETokenizer) -> None:
    assert ByteTokenizer().decode("é".encode()[:1]) == "\N{REPLACEMENT CHARACTER}"
    assert bpe.decode(bpe.encode("\N{SNOWMAN}")[:1]) == "\N{REPLACEMENT CHARACTER}"


def test_bpe_makes_frequent_words_one_token_and_keeps_to_its_size(bpe: BPETokenizer) -> None:
    assert len(bpe.encode(" the")) == 1
    assert len(bpe.encode(TEXT)) < len(TEXT.encode()) / 2
    assert 257 < bpe.vocab_size <= 300
    assert bpe.encode(END) == [bpe.end_id]


def test_training_again_without_the_cache_gives_the_same(bpe: BPETokenizer) -> None:
    again = tokenizer_module._train([TEXT], 300)

    assert again == bpe._inner.to_str()


def test_the_same_training_is_read_from_the_cache(
    bpe: BPETokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer_module, "_train", lambda *args: pytest.fail("trained again"))

    assert train_bpe({"any": TEXT}, 300).encode(TEXT) == bpe.encode(TEXT)


def test_a_damaged_cache_is_trained_again(bpe: BPETokenizer) -> None:
    (stored,) = cache_folder().glob("bpe-300-*.json")
    stored.write_bytes(stored.read_bytes()[:-7])

    assert train_bpe([TEXT], 300).encode(TEXT) == bpe.encode(TEXT)


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_both_are_stored_as_a_tokenizer_json_that_opens_elsewhere(
    kind: str, bpe: BPETokenizer, tmp_path
) -> None:
    tokenizer = bpe if kind == "bpe" else ByteTokenizer()
    stored = tokenizer.save(tmp_path)

    assert stored == tmp_path / "tokenizer.json"
    elsewhere = Tokenizer.from_file(str(stored))
    for text in (TEXT, "\x00\x7f\xa0 ÿ", "  a\n\n b\r"):
        assert elsewhere.encode(text).ids == tokenizer.encode(text)
        assert elsewhere.decode(tokenizer.encode(text)) == text
    assert load_tokenizer(tmp_path).encode(TEXT) == tokenizer.encode(TEXT)
    assert type(load_tokenizer(stored)) is type(tokenizer)


def test_the_byte_tokenizer_refuses_a_file_of_another(bpe: BPETokenizer, tmp_path) -> None:
    stored = bpe.save(tmp_path / "mine.json")

    with pytest.raises(ValueError, match="does not hold the byte tokenizer"):
        ByteTokenizer.load(stored)


def test_missing_and_damaged_files_are_named(tmp_path) -> None:
    with pytest.raises(ValueError, match="There is no tokenizer at"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"is not a tokenizer\.json that can be read"):
        load_tokenizer(tmp_path)


def test_domains_become_sequences_of_ids() -> None:
    ids = encode_domains({"a": "hé", "b": ""}, ByteTokenizer())

    assert ids["a"].tolist() == [104, 195, 169]
    assert ids["b"].tolist() == []


@pytest.mark.parametrize(
    ("parts", "vocab_size", "says"),
    [([TEXT], 256, "must be above 256"), ([], 300, "no text"), ([""], 300, "no text")],
)
def test_impossible_wishes_are_refused_in_a_sentence(parts, vocab_size: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        train_bpe(parts, vocab_size)
