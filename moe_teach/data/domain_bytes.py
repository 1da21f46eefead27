"""The course's four domains byte by byte, read once in a process and shared by its experiments."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from jaxtyping import Int
from torch import Tensor

from moe_teach.data.corpus import build_corpus
from moe_teach.data.tokenizer import ByteTokenizer, encode_domains


@cache
def domain_bytes() -> tuple[Mapping[str, Int[Tensor, " _"]], Mapping[str, Int[Tensor, " _"]]]:
    """Return the bytes of each domain, as `Batches` wants them: to learn from, and held back."""
    corpus, bytes_ = build_corpus(), ByteTokenizer()
    return (
        MappingProxyType(encode_domains(corpus.train, bytes_)),
        MappingProxyType(encode_domains(corpus.validation, bytes_)),
    )
