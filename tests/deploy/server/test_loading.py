"""Whatever holds a model can be served, by the same words."""

from dataclasses import replace
from pathlib import Path

import pytest

from moe_teach.checkpoint.hf_export import export_hf
from moe_teach.checkpoint.native import save_model
from moe_teach.cli.serve import load
from moe_teach.deploy.engine.engine import Engine
from moe_teach.deploy.engine.requests import Request, Sampling
from moe_teach.deploy.server.metrics import Metrics, Snapshot
from moe_teach.deploy.server.options import Options
from moe_teach.nn.model import Model
from moe_teach.train.shipped import DEFAULT, TOKENIZER, WEIGHTS
from tests.deploy.server.live import tiny_model

TEXTS = {
    "tokenizer_json": (WEIGHTS / DEFAULT / TOKENIZER).read_text(encoding="utf-8"),
    "chat_template": "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}",
}
PROMPT = (5, 700, 9)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(replace(tiny_model().config, vocab_size=1024)).eval()


@pytest.fixture(scope="module")
def released(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "released"
    export_hf(model, folder, **TEXTS)
    return folder


def greedy(engine: Engine) -> list[int]:
    sampling = Sampling(max_tokens=12, temperature=0.0)
    engine.submit(Request(id="a", prompt=PROMPT, sampling=sampling))
    tokens = []
    while engine.has_work:
        tokens += [token.token_id for token in engine.step()]
    return tokens


def test_a_folder_of_the_course_and_a_released_one_are_the_same_model(
    model: Model, released: Path, tmp_path: Path
) -> None:
    save_model(tmp_path / "mine", model, **TEXTS)

    own, served = load(str(tmp_path / "mine"), None, Options())
    other, also = load(str(released), "another-name", Options())

    assert greedy(own) == greedy(other) == greedy(Engine(model))
    assert (served.name, also.name) == ("mine", "another-name")
    assert served.digest == also.digest
    for one in (served, also):
        assert one.prompt_of([{"role": "user", "content": "Hi"}]) == "<user>Hi"
        assert one.tokenizer.encode("Hi <|end|>")[-1] in one.end_ids


def test_experts_that_stay_on_the_disk_give_the_same_answers_and_are_counted(
    model: Model, released: Path
) -> None:
    two_per_layer = 2 * 2 * 8192  # an expert takes whole pages
    engine, served = load(str(released), None, Options(expert_bytes=two_per_layer))

    assert greedy(engine) == greedy(Engine(model))
    counts = served.store.counts
    assert counts.misses > 0
    page = Metrics().page(Snapshot.of(engine, served.store)).decode()
    assert f"moe_expert_cache_hits_total {float(counts.hits)}" in page
    assert f"moe_expert_cache_misses_total {float(counts.misses)}" in page


def test_a_model_without_a_tokenizer_is_refused_in_words(model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "dumb", model)

    with pytest.raises(ValueError, match=r"has no tokenizer\.json"):
        load(str(tmp_path / "dumb"), None, Options())


def test_a_budget_below_one_expert_is_refused_in_words(released: Path) -> None:
    with pytest.raises(ValueError, match="budget"):
        load(str(released), None, Options(expert_bytes=100))
