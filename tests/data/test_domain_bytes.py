"""Every chapter reads the same bytes, and none can spoil them for the next."""

import pytest

from moe_teach.data.corpus import Corpus
from moe_teach.data.domain_bytes import domain_bytes


def test_bytes_are_the_text_of_each_side(corpus: Corpus) -> None:
    for found, texts in zip(domain_bytes(), (corpus.train, corpus.validation), strict=True):
        assert {name: bytes(ids.tolist()).decode() for name, ids in found.items()} == texts


def test_what_all_share_takes_no_text_more() -> None:
    for side in domain_bytes():
        with pytest.raises(TypeError):
            side["junk"] = side["code"]
