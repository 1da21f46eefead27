"""The corpus, built once for all tests of a process."""

import jaxtyping
import pytest

from moe_teach.data.corpus import Corpus, build_corpus


@pytest.fixture(scope="session")
def corpus(home_of_the_run: None) -> Corpus:
    # Shape checks on the millions of small calls would take longer than the building.
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        return build_corpus()
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
