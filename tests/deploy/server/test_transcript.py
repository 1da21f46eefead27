"""Tokens become text: nothing that leaves is ever taken back, and a stop is met across borders."""

import random
from dataclasses import replace

import pytest

from moe_teach.data.tokenizer import AnyTokenizer, ByteTokenizer
from moe_teach.deploy.engine.requests import Token
from moe_teach.deploy.server.transcript import Detokenizer, StopSearch, Transcript
from moe_teach.train.shipped import load_shipped

BYTES = ByteTokenizer()


@pytest.fixture(scope="module")
def bpe() -> AnyTokenizer:
    return load_shipped().tokenizer


def token(token_id: int, index: int = 0, finish: str | None = None, version: int = 0) -> Token:
    return Token(
        request_id="a",
        index=index,
        token_id=token_id,
        logprob=-1.0,
        version=version,
        finish=finish,
    )


def spoken(text: str, *stops: str, finish: str = "length") -> tuple[list[str], str | None, list]:
    """Feed the bytes of a text; return the pieces, how it ended, and the tokens that left."""
    transcript, pieces, said = Transcript(BYTES, stops), [], []
    ids = text.encode()
    for index, byte in enumerate(ids):
        last = index == len(ids) - 1
        piece = transcript.feed(token(byte, index, finish if last else None))
        pieces.append(piece.text)
        said += piece.said
        if piece.ending is not None:
            return pieces, piece.ending, said
    return pieces, None, said


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("which", ["bytes", "pieces of words"])
def test_the_pieces_together_are_the_text_decoded_at_once(
    which: str, seed: int, bpe: AnyTokenizer
) -> None:
    tokenizer, luck = BYTES if which == "bytes" else bpe, random.Random(seed)
    # Many tokens are parts of characters, and not all of them become whole.
    ids = [luck.randrange(tokenizer.vocab_size) for _ in range(luck.randrange(1, 200))]
    decoder = Detokenizer(tokenizer)

    pieces = [decoder.feed(one) for one in ids]

    assert "".join(pieces) + decoder.flush() == tokenizer.decode(ids)


def test_what_a_token_would_add_is_known_before_and_asking_changes_nothing(
    bpe: AnyTokenizer,
) -> None:
    luck, decoder = random.Random(0), Detokenizer(bpe)
    for _ in range(100):
        one, other = (luck.randrange(bpe.vocab_size) for _ in range(2))
        decoder.foresee(other)
        foreseen = decoder.foresee(one)
        assert decoder.feed(one) == foreseen


def test_the_last_token_adds_what_was_held_back_also_among_its_alternatives() -> None:
    transcript = Transcript(BYTES, ())
    cut = replace(token(0xC3, finish="length"), alternatives=((0xC3, -0.1), (97, -3.0)))
    (said,) = transcript.feed(cut).said
    assert said.text == "\ufffd"
    assert [(one.text, one.token_id) for one in said.alternatives] == [("\ufffd", 0xC3), ("a", 97)]


def test_a_character_leaves_when_its_last_byte_is_there() -> None:
    pieces, _, said = spoken("aé€😀b")

    assert pieces == ["a", "", "é", "", "", "€", "", "", "", "😀", "b"]
    assert [one.token.token_id for one in said] == list("aé€😀b".encode())


def test_bytes_that_never_become_a_character_are_not_waited_for() -> None:
    decoder = Detokenizer(BYTES)

    pieces = [decoder.feed(0x80) for _ in range(5)]

    assert "".join(pieces) == "\ufffd" * 4
    assert decoder.flush() == "\ufffd"


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("one. two", (".",), "one"),
        ("one END two", (" END",), "one"),
        ("aaab", ("aab",), "a"),
        ("abab abc", ("abc",), "abab "),
        ("x12y", ("12y", "2"), "x1"),
        ("stop at once", ("s",), ""),
        ("café!", ("é",), "caf"),
        ("no stop in here", ("stopp", "xyz"), "no stop in here"),
        ("almost a sto", ("stop",), "almost a sto"),
    ],
)
def test_the_text_ends_before_the_first_stop(
    text: str, stops: tuple[str, ...], expected: str
) -> None:
    pieces, ending, _ = spoken(text, *stops)

    assert "".join(pieces) == expected
    assert ending == ("length" if expected == text else "stop")


def test_no_letter_of_a_stop_leaves_before_it_is_known_not_to_be_one() -> None:
    search = StopSearch(["\n\nUser:"])

    assert search.feed("Yes.\n\nUse") == ("Yes.", False)
    assert search.feed("d") == ("\n\nUsed", False)
    assert search.feed("\n\nUser: no") == ("", True)


@pytest.mark.parametrize("seed", range(30))
def test_however_a_text_is_cut_the_same_leaves(seed: int) -> None:
    luck = random.Random(seed)
    text = "".join(luck.choices("ab", k=60))
    stops = ["".join(luck.choices("ab", k=luck.randrange(4, 8))) for _ in range(3)]
    places = [place for stop in stops if (place := text.find(stop)) >= 0]

    pieces, _, _ = spoken(text, *stops)

    assert "".join(pieces) == (text[: min(places)] if places else text)


def test_tokens_of_a_stop_do_not_leave_but_are_counted() -> None:
    transcript = Transcript(BYTES, ["cd"])

    left = [one for byte in b"abcd" for one in transcript.feed(token(byte)).said]

    assert [one.text for one in left] == ["a", "b"]
    assert [one.place for one in left] == [0, 1]
    assert transcript.n_tokens == 4


def test_every_version_that_spoke_is_named_once() -> None:
    transcript = Transcript(BYTES, [])

    for version in (0, 0, 1, 2, 2):
        transcript.feed(token(65, version=version))

    assert transcript.versions == [0, 1, 2]
