"""Everything is cached in a folder of the test run, never in the reader's home."""

import jaxtyping
import pytest

from moe_teach.data.corpus import Corpus, build_corpus


@pytest.fixture(autouse=True, scope="session")
def scratch_home(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOE_TEACH_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def corpus(scratch_home: None) -> Corpus:
    # Shape checks on the millions of small calls would take longer than the building.
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        return build_corpus()
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
