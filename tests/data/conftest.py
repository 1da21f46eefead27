"""Everything is cached in a folder of the test run, never in the reader's home."""

import pytest

from moe_teach.data.corpus import Corpus, build_corpus


@pytest.fixture(autouse=True, scope="session")
def scratch_home(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOE_TEACH_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def corpus(scratch_home: None) -> Corpus:
    return build_corpus()
