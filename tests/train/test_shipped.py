"""The model that comes with the package: it loads anywhere and is as good as its card says."""

import socket

import pytest
import torch
from safetensors import safe_open

from moe_teach import cli, cost
from moe_teach.analysis.load import loads_of
from moe_teach.data.baselines import bigram_loss, uniform_loss, unigram_loss
from moe_teach.data.batches import evaluation_batches
from moe_teach.data.corpus import DOMAINS, build_corpus
from moe_teach.data.tokenizer import encode_domains
from moe_teach.train.evaluate import evaluate
from moe_teach.train.generate import generate
from moe_teach.train.recipe import read_recipe
from moe_teach.train.shipped import (
    DEFAULT,
    WEIGHTS,
    Shipped,
    digest_of,
    load_shipped,
    shipped_names,
)

FOLDER = WEIGHTS / DEFAULT


@pytest.fixture(scope="module")
def shipped() -> Shipped:
    return load_shipped()


@pytest.fixture(scope="module")
def held_back(shipped, tmp_path_factory, unchecked):
    """Validation text on which the card was measured; skips where this machine has another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOE_TEACH_HOME", str(tmp_path_factory.mktemp("home")))
        corpus = build_corpus()
    if corpus.digest != shipped.card["data"]["digest"]:
        pytest.skip(
            "This machine's corpus is not the one the model was measured on, so its losses may "
            f"differ: {' '.join(corpus.differences())}"
        )
    return corpus


@pytest.fixture(scope="module")
def unchecked():
    """Shape checks on millions of small calls would take longer than everything else."""
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def windows(shipped, held_back):
    """The very windows of the card."""
    recipe = read_recipe(FOLDER / "recipe.toml")
    ids = encode_domains(held_back.validation, shipped.tokenizer)
    sizes = (recipe.train.batch_size, recipe.train.seq_len)
    return evaluation_batches(ids, *sizes, recipe.run.validation_windows)


def test_it_is_small_and_in_bfloat16():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 6e6
    with safe_open(FOLDER / "model.safetensors", "pt") as stored:
        kinds = {stored.get_tensor(name).dtype for name in stored.keys()}  # noqa: SIM118
    assert kinds == {torch.bfloat16}


def test_it_loads_in_evaluation_mode_without_a_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("loading must not look for a network")

    monkeypatch.setattr(socket, "socket", refuse)
    model, tokenizer, card = load_shipped()
    assert not model.training
    assert card["name"] == DEFAULT
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.config.vocab_size == tokenizer.vocab_size == 1024


def test_it_has_the_experts_that_a_course_about_experts_needs(shipped):
    routers = [block.ffn.router for block in shipped.model.blocks]
    assert len(routers) >= 2
    assert all(router.config.n_experts >= 8 for router in routers)
    assert all(router.config.top_k >= 2 for router in routers)


def test_the_tokenizer_gives_every_text_back(shipped):
    for text in ("def f(x):\n    return x\n", "17 + 25 = 42\n", "Πέμπτη, в России, Türkçe", "🦉\t"):
        assert shipped.tokenizer.decode(shipped.tokenizer.encode(text)) == text


def test_the_card_is_complete(shipped):
    card = shipped.card
    assert set(card["losses"]) == set(card["samples"]) == set(card["data"]["domains"])
    assert set(card["data"]["domains"]) == set(DOMAINS)
    assert set(card["data"]["licences"]) == set(card["data"]["sources"]) == set(DOMAINS)
    training = card["training"]
    assert {"seed", "steps", "tokens", "wall_seconds", "cpu_seconds", "machine"} <= set(training)
    assert {"processor", "threads", "python", "torch", "date"} <= set(training["machine"])
    assert training["wall_seconds"] > 0 and training["cpu_seconds"] > 0
    recipe = read_recipe(FOLDER / "recipe.toml")
    assert training["steps"] == recipe.train.steps == training["validation"][-1][0] + 1
    assert training["tokens"] == recipe.train.steps * recipe.train.tokens_per_step
    assert card["model"]["parameters"] == cost.n_params_total(recipe.model)
    assert card["model"]["active_parameters"] == cost.n_params_active(recipe.model)
    for name, digest in card["digests"].items():
        assert digest_of(FOLDER / name) == digest


def test_the_page_says_what_the_card_says(shipped):
    from moe_teach.course.authoring.model_card import card_text

    assert (FOLDER / "card.md").read_text(encoding="utf-8") == card_text(shipped.card)


def test_by_its_card_it_beats_the_bigram_on_every_domain(shipped):
    for domain, row in shipped.card["losses"].items():
        assert row["model"] < row["bigram"] - 0.1, domain
        assert row["bigram"] < row["unigram"] < row["uniform"], domain


def test_measured_here_it_is_as_good_as_its_card_says(shipped, windows):
    found = evaluate(shipped.model, windows, shipped.card["data"]["domains"])
    for domain, row in shipped.card["losses"].items():
        assert found.loss_per_domain[domain] == pytest.approx(row["model"], abs=0.01), domain


@pytest.mark.parametrize("domain", ["english", "arithmetic"])
def test_measured_here_the_ladder_is_that_of_the_card(shipped, held_back, windows, domain):
    number, vocab_size = DOMAINS.index(domain), shipped.tokenizer.vocab_size
    ids = encode_domains({domain: held_back.train[domain]}, shipped.tokenizer)[domain]
    rows = {}
    for batch in windows:
        for place in torch.nonzero(batch.domain_ids == number).flatten().tolist():
            row = torch.cat([batch.inputs[place, :1], batch.targets[place]])
            rows[str(len(rows))] = row
    row = shipped.card["losses"][domain]
    assert bigram_loss(ids, rows, vocab_size) == pytest.approx(row["bigram"], abs=1e-3)
    assert unigram_loss(ids, rows, vocab_size) == pytest.approx(row["unigram"], abs=1e-3)
    assert uniform_loss(vocab_size) == pytest.approx(row["uniform"], abs=1e-3)


def test_no_expert_is_dead_and_domains_are_told_apart(shipped, windows):
    """Over all text every layer is nearly even; domain by domain the experts differ."""
    layers = loads_of(shipped.model, windows, shipped.card["data"]["domains"])
    for layer, row in zip(layers, shipped.card["routing"], strict=True):
        assert layer.dead == ()
        assert layer.load.tolist() == pytest.approx(row["load"], abs=0.01)
        assert layer.entropy == pytest.approx(row["entropy"], abs=0.01)
    spread = [float(layer.load_per_domain.std(dim=0).max()) for layer in layers]
    assert max(spread) > 0.05


def test_it_answers_a_sum_with_a_number_with_and_without_its_cache(shipped):
    model, tokenizer, _ = shipped
    prompt = tokenizer.encode("12 + 30 =")
    more = tokenizer.decode(generate(model, prompt, 8, temperature=0))
    assert more.strip()[:1].isdigit()
    again = tokenizer.decode(generate(model, prompt, 8, temperature=0, use_cache=False))
    assert again == more


def test_the_command_shows_its_text(capsys):
    assert cli.main(["generate", "def ", "--tokens", "12"]) == 0
    assert capsys.readouterr().out.startswith("def")


def test_an_unknown_name_is_refused_and_the_known_ones_are_listed():
    assert DEFAULT in shipped_names()
    with pytest.raises(ValueError, match=f"No model 'enormous' .* it brings {DEFAULT}"):
        load_shipped("enormous")
