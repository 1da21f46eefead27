"""Chapter 08: its rules are those of published code, and its cards say what is so."""

import json
from statistics import mean

import pytest
import torch
from safetensors import safe_open
from torch import nn

from moe_teach.chapters.ch08_real_models import (
    EXERCISES,
    block_parts,
    block_rule,
    checkpoint_file,
    name_the_rule,
    name_the_rule_answers,
    read_gate_up,
    records,
    repaired_block,
    router_rules,
)
from moe_teach.course import materials
from moe_teach.judging.engine import SEEDS

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "vocab_size": 50,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 3,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


@pytest.fixture(scope="module")
def transformers(monkeypatch_module):
    monkeypatch_module.setenv("HF_HUB_OFFLINE", "1")
    module = pytest.importorskip("transformers")
    module.utils.logging.disable_progress_bar()
    return module


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def randomised(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return module.eval()


@pytest.fixture(scope="module")
def models(transformers):
    """Small models of the three families, of random weights."""
    experts = {"num_experts": 12}
    qwen = {**experts, "moe_intermediate_size": 24, "norm_topk_prob": True}
    return {
        "mixtral": randomised(
            transformers.MixtralForCausalLM(
                transformers.MixtralConfig(**SIZES, num_local_experts=12)
            )
        ),
        "olmoe": randomised(
            transformers.OlmoeForCausalLM(transformers.OlmoeConfig(**SIZES, **experts))
        ),
        "qwen3_moe": randomised(
            transformers.Qwen3MoeForCausalLM(transformers.Qwen3MoeConfig(**SIZES, **qwen))
        ),
    }


@pytest.mark.parametrize("kind", ["mixtral", "olmoe", "qwen3_moe"])
def test_a_published_file_opens_into_a_layer_of_ones_own(models, kind, tmp_path):
    model, opener = models[kind], materials.reference(EXERCISES[4])
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    fuse = materials.reference(EXERCISES[0])
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        names = list(file.keys())
        own = opener(config, names, file.get_tensor, 1, build=block_parts.SwigluLayer, fuse=fuse)
    x = torch.randn(30, 16)

    torch.testing.assert_close(
        own(x)[0], model.model.layers[1].mlp(x[None])[0], atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("kind", ["mixtral", "olmoe", "qwen3_moe"])
def test_the_files_of_the_checks_are_spelt_as_published_ones(models, kind, tmp_path):
    models[kind].save_pretrained(tmp_path)
    made = checkpoint_file.File({1: 12}, 16, 24, 0, kind)

    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        published = {name for name in file.keys() if name.startswith(made.prefix(1))}  # noqa: SIM118

    assert {name for name in made.names if name.startswith(made.prefix(1))} == published


def test_missing_keys_mean_what_the_classes_of_transformers_take(transformers):
    classes = {
        "olmoe": transformers.OlmoeConfig,
        "qwen3_moe": transformers.Qwen3MoeConfig,
        "deepseek_v3": transformers.DeepseekV3Config,
    }
    for kind, config in classes.items():
        ours, theirs = block_rule.DEFAULTS[kind], config()
        assert ours["norm_topk_prob"] == theirs.norm_topk_prob
        factor = getattr(theirs, "routed_scaling_factor", 1.0)
        assert ours["routed_scaling_factor"] == factor


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("kind", ["olmoe", "deepseek_v3"])
def test_the_rule_of_the_repaired_block_is_that_of_transformers(transformers, kind, norm):
    width = {"hidden_size": block_rule.D_MODEL, "num_experts_per_tok": 3}
    if kind == "olmoe":
        config = transformers.OlmoeConfig(
            **width, intermediate_size=block_rule.D_FF, num_experts=5, norm_topk_prob=norm
        )
        block = transformers.models.olmoe.modeling_olmoe.OlmoeSparseMoeBlock
    else:
        config = transformers.DeepseekV3Config(
            **width,
            moe_intermediate_size=block_rule.D_FF,
            n_routed_experts=5,
            n_group=1,
            topk_group=1,
            norm_topk_prob=norm,
            routed_scaling_factor=1.7,
        )
        block = transformers.models.deepseek_v3.modeling_deepseek_v3.DeepseekV3MoE
    config._experts_implementation = "eager"
    theirs = randomised(block(config))
    tensors = tensors_of(theirs, kind)
    x = block_rule.tokens(0)
    said = {"model_type": kind, "num_experts_per_tok": 3, "norm_topk_prob": norm}
    if kind == "deepseek_v3":
        said["routed_scaling_factor"] = 1.7

    right = theirs(x[None])[0]

    assert repaired_block.near(right, block_rule.defined(tensors, said, x))


def tensors_of(block: nn.Module, kind: str) -> block_rule.Tensors:
    """Give the tensors of a block of transformers by the names of a file."""
    tensors = {"gate.weight": block.gate.weight.detach()}
    gate, up = block.experts.gate_up_proj.detach().chunk(2, dim=1)
    parts = {"gate": gate, "up": up, "down": block.experts.down_proj.detach()}
    for e in range(len(gate)):
        tensors |= {f"experts.{e}.{n}_proj.weight": part[e] for n, part in parts.items()}
    if kind == "deepseek_v3":
        block.gate.e_score_correction_bias.copy_(torch.randn(len(gate)))
        tensors["gate.e_score_correction_bias"] = block.gate.e_score_correction_bias
        shared = block.shared_experts
        for n in parts:
            tensors[f"shared_experts.{n}_proj.weight"] = getattr(
                shared, f"{n}_proj"
            ).weight.detach()
    return tensors


def test_four_bits_are_read_as_transformers_reads_them(transformers):
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    blocks, scales = read_gate_up.drawn((3, 5, 2), seed=1, low=110, high=140)
    w_gate, w_up = materials.reference(EXERCISES[1])(blocks, scales)

    theirs = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)  # (E, D, 2F)

    torch.testing.assert_close(theirs[..., ::2].mT, w_gate, rtol=0, atol=0)
    torch.testing.assert_close(theirs[..., 1::2].mT, w_up, rtol=0, atol=0)


def test_the_sixteen_codes_are_those_of_the_text():
    sizes = [read_gate_up.decoded(code) for code in range(16)]

    assert sizes[:8] == list(read_gate_up.MAGNITUDES)
    assert sizes[8:] == [-size for size in sizes[:8]]


@pytest.mark.parametrize("name", records.NAMES)
def test_a_fault_shows_first_in_the_tensor_that_it_is_named_after(name):
    model = records.drawn(3, n_layers=3, top_k=2)
    right, wrong = records.recorded(model), records.recorded(model, (1, name))

    first = next(n for n in records.NAMES if not torch.equal(right[1][n], wrong[1][n]))

    assert first == name
    assert all(torch.equal(right[0][n], wrong[0][n]) for n in records.NAMES)
    assert not torch.equal(right[2]["x"], wrong[2]["x"])


def test_there_are_twenty_rules_and_any_two_of_them_part():
    rules = router_rules.behind(router_rules.drawn(0))
    logits = 2 * torch.randn(20_000, router_rules.N_EXPERTS)
    words = torch.stack([rule(logits) for rule in rules])

    assert len(rules) == len(router_rules.NAMES) == 20
    assert int((words[:, None] != words).any(dim=-1).sum()) == 20 * 19


def test_a_rule_that_recalls_its_words_says_the_same_and_works_once():
    asked = []

    def plain(logits):
        asked.append(logits)
        return logits.argmax(dim=-1)

    rule = router_rules.recalling(plain)
    table = torch.randn(40, router_rules.N_EXPERTS)
    others = [table.double(), table[:7], -table]

    for logits in (table, table.clone(), *others, table):
        said = rule(logits)
        assert said.equal(logits.argmax(dim=-1))
        said.zero_()  # who is told may write into it

    assert len(asked) == 4
    table.neg_()
    assert rule(table).equal(table.argmax(dim=-1)) and len(asked) == 4


def test_the_baseline_of_the_open_task_is_what_random_tokens_need():
    measure = name_the_rule.EXERCISE.goal.measuring
    plain = mean(measure(name_the_rule_answers.asks_at_random, seed) for seed in SEEDS)

    assert plain == pytest.approx(name_the_rule.EXERCISE.goal.baseline, abs=0.01)


def test_the_limit_of_the_open_task_is_that_of_questions_with_six_answers():
    """A tree with twenty leaves and six branches at most: its leaves' mean depth is least when
    three of them hang at the root and seventeen one below."""
    best = min(
        (shallow + 2 * (20 - shallow)) / 20
        for shallow in range(7)
        if (6 - shallow) * 6 >= 20 - shallow
    )

    assert f"{best:g} on average" in name_the_rule.EXERCISE.goal.limit
