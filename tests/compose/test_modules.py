"""Expert modules go in and come out, and nothing else of a model ever moves."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from moe_teach.checkpoint import store
from moe_teach.checkpoint.model_tensors import named_tensors
from moe_teach.checkpoint.native import load_model, save_model
from moe_teach.compose.modules import installed as installed_room
from moe_teach.compose.modules.installed import install, list_modules, put_in, remove
from moe_teach.compose.modules.manifest import Manifest, Measured, read_place
from moe_teach.compose.modules.module_file import ExpertModule, read_module, write_module
from moe_teach.compose.modules.packing import changed_places, pack
from moe_teach.compose.modules.trunk import trunk_digest
from moe_teach.compose.slots import moe_of
from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.nn.model import Model


def tiny(seed: int = 0, vocab_size: int = 32, **moe) -> Model:
    torch.manual_seed(seed)
    router = RouterConfig(n_experts=4, top_k=2)
    config = ModelConfig(
        vocab_size=vocab_size,
        n_layers=3,
        d_model=8,
        max_seq_len=16,
        n_dense_layers=1,
        d_ff_dense=12,
        attention=AttentionConfig(n_heads=2, n_kv_heads=2, d_head=4),
        moe=MoEConfig(**{"router": router, "d_ff": 6} | moe),
    )
    return Model(config).eval()


def retrained(model: Model, *places: tuple[int, int]) -> Model:
    """Copy a model and move some of its experts, with the router's rows for them."""
    other = Model(model.config)
    other.load_state_dict(model.state_dict())
    for layer, expert in places:
        moe = moe_of(other, layer)
        with torch.no_grad():
            moe.experts.w_up[expert] += 1
            moe.router.proj.weight[expert] -= 1
            moe.router.expert_bias[expert] = 0.5
    return other.eval()


def contents(model: Model) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in named_tensors(model)}


def differing(ours: dict, theirs: dict) -> set[tuple[str, int]]:
    """Return in which tensor and which row along the first axis two models differ."""
    assert ours.keys() == theirs.keys()
    return {
        (name, row)
        for name in ours
        for row in range(len(ours[name]))
        if not torch.equal(ours[name][row], theirs[name][row])
    }


@pytest.fixture
def base() -> Model:
    return tiny()


@pytest.fixture
def folder(tmp_path: Path, base: Model, home: Path) -> Path:
    save_model(tmp_path / "model", base)
    return tmp_path / "model"


def module_file(folder: Path, model: Model, *places, name: str = "maths", **label) -> Path:
    file = folder / f"{name}.safetensors"
    write_module(pack(model, places, name, **label), file)
    return file


def test_a_module_comes_back_from_its_file_bit_for_bit(tmp_path, base):
    packed = pack(base, [(2, 3), (1, 0)], "both", domain="maths", licence="MIT")
    write_module(packed, tmp_path / "both.safetensors")
    read = read_module(tmp_path / "both.safetensors")
    assert read.manifest == packed.manifest
    assert read.digest == packed.digest
    assert [str(place) for place in read.slots] == ["layer 1, expert 0", "layer 2, expert 3"]
    for place, slot in packed.slots.items():
        for name, tensor in slot.tensors().items():
            assert torch.equal(tensor, read.slots[place].tensors()[name])


@pytest.mark.parametrize(
    "moe",
    [
        {"router": RouterConfig(n_experts=1, top_k=1)},
        {"activation": "gelu", "bias": True},
        {"router": RouterConfig(n_experts=4, top_k=2, noisy=True, bias=True)},
        {"n_shared_experts": 1},
    ],
)
def test_installing_changes_one_expert_and_its_row_and_removing_brings_them_back(
    tmp_path, home, moe
):
    base = tiny(**moe)
    save_model(tmp_path / "model", base)
    last = base.config.moe.router.n_experts - 1
    file = module_file(tmp_path, retrained(base, (1, last)), (1, last))
    install(tmp_path / "model", file)
    changed = differing(contents(base), contents(load_model(tmp_path / "model").model))
    front = "blocks.1.ffn."
    assert changed == {
        (f"{front}experts.w_up", last),
        (f"{front}router.proj.weight", last),
        (f"{front}router.expert_bias", last),
    }
    remove(tmp_path / "model", "maths")
    assert not differing(contents(base), contents(load_model(tmp_path / "model").model))
    assert list_modules(tmp_path / "model") == ()


def test_a_module_of_two_layers_may_take_another_number(folder, base, tmp_path):
    file = module_file(tmp_path, retrained(base, (1, 0), (2, 0)), (1, 0), (2, 0))
    install(folder, file, expert=3)
    now = load_model(folder).model
    rows = {row for _, row in differing(contents(base), contents(now))}
    assert rows == {3}
    there = list_modules(folder)[0].manifest.where()
    assert [str(place) for place in there] == ["layer 1, expert 3", "layer 2, expert 3"]


def test_modules_are_taken_out_from_the_top(folder, base, tmp_path):
    first = module_file(tmp_path, retrained(base, (1, 0)), (1, 0), name="first")
    second = module_file(tmp_path, retrained(base, (1, 0), (2, 1)), (1, 0), (2, 1), name="second")
    install(folder, first)
    with_first = contents(load_model(folder).model)
    install(folder, second)
    with pytest.raises(ValueError, match="second was installed over first"):
        remove(folder, "first")
    remove(folder, "second")
    assert not differing(with_first, contents(load_model(folder).model))
    remove(folder, "first")
    assert not differing(contents(base), contents(load_model(folder).model))


def test_modules_in_different_places_come_out_in_any_order(folder, base, tmp_path):
    for name, place in (("one", (1, 0)), ("other", (2, 3))):
        install(folder, module_file(tmp_path, retrained(base, place), place, name=name))
    remove(folder, "one")
    remove(folder, "other")
    assert not differing(contents(base), contents(load_model(folder).model))


def test_a_module_of_another_trunk_is_refused_and_nothing_is_written(folder, base, tmp_path):
    before = (folder / "checkpoint.json").read_bytes()
    stranger = module_file(tmp_path, tiny(seed=1), (1, 0))
    with pytest.raises(ValueError, match="trained beside another trunk"):
        install(folder, stranger)
    assert (folder / "checkpoint.json").read_bytes() == before
    assert not (folder / "replaced").exists()


def test_a_model_in_another_dtype_is_another_trunk(base):
    assert trunk_digest(base) == trunk_digest(retrained(base, (1, 0), (2, 2)))
    assert trunk_digest(base) != trunk_digest(tiny().bfloat16())


def test_every_number_of_the_trunk_names_it_and_no_expert_does(base):
    own = trunk_digest(base)
    for name, tensor in named_tensors(base):
        is_of_experts = ".experts." in name or ".router." in name
        before = tensor.detach().clone()
        with torch.no_grad():
            tensor.view(-1)[-1] += 1
        assert (trunk_digest(base) == own) == is_of_experts, name
        with torch.no_grad():
            tensor.copy_(before)


def test_a_wrong_shape_with_the_right_trunk_is_refused(folder, base, tmp_path):
    module = pack(base, [(1, 0)], "maths")
    ((place, slot),) = module.slots.items()
    cut = replace(slot, experts={**slot.experts, "w_up": slot.experts["w_up"][:-1]})
    write_module(ExpertModule(module.manifest, {place: cut}), tmp_path / "cut.safetensors")
    with pytest.raises(ValueError, match=r"experts.w_up is \(5, 8\) of float32"):
        install(folder, tmp_path / "cut.safetensors")


def test_numbers_that_are_not_finite_are_refused(folder, base, tmp_path):
    trained = retrained(base, (1, 0))
    with torch.no_grad():
        moe_of(trained, 1).experts.w_down[0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"experts\.w_down holds numbers that are not finite"):
        install(folder, module_file(tmp_path, trained, (1, 0)))


@pytest.mark.parametrize("where", ["numbers", "label", "end", "all"])
def test_a_file_that_was_changed_is_refused_in_a_sentence(folder, base, tmp_path, where):
    file = module_file(tmp_path, base, (1, 0), domain="maths")
    content = bytearray(file.read_bytes())
    if where == "numbers":
        content[-1] ^= 1
    elif where == "label":
        content = content.replace(b'\\"maths\\"', b'\\"music\\"')
    else:
        content = content[: -8 if where == "end" else 3]
    file.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"(not what its maker packed|not a whole safetensors)"):
        install(folder, file)


def test_tensors_without_a_label_are_no_module(tmp_path, base):
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(2)}, tmp_path / "plain.safetensors")
    with pytest.raises(ValueError, match="no expert module"):
        read_module(tmp_path / "plain.safetensors")


def test_a_module_is_installed_once(folder, base, tmp_path):
    file = module_file(tmp_path, retrained(base, (1, 0)), (1, 0))
    install(folder, file)
    with pytest.raises(ValueError, match=r"installed in .* already"):
        install(folder, file)


def test_what_was_trained_after_installing_is_not_thrown_away(folder, base, tmp_path):
    install(folder, module_file(tmp_path, retrained(base, (1, 0)), (1, 0)))
    opened = load_model(folder)
    with torch.no_grad():
        moe_of(opened.model, 1).experts.w_up[0] *= 2
    with store.reading(folder) as (_, meta):
        store.save(folder, dict(named_tensors(opened.model)), meta)
    with pytest.raises(ValueError, match="changed after they were installed"):
        remove(folder, "maths")
    remove(folder, "maths", force=True)
    assert not differing(contents(base), contents(load_model(folder).model))


def test_a_kill_before_the_record_changes_leaves_the_old_model(folder, base, tmp_path, monkeypatch):
    file = module_file(tmp_path, retrained(base, (1, 0)), (1, 0))

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(installed_room.store, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        install(folder, file)
    monkeypatch.undo()
    assert list_modules(folder) == ()
    assert not differing(contents(base), contents(load_model(folder).model))
    install(folder, file)
    remove(folder, "maths")
    assert not differing(contents(base), contents(load_model(folder).model))


def test_the_model_before_keeps_what_it_needs(folder, base, tmp_path):
    install(folder, module_file(tmp_path, retrained(base, (1, 0)), (1, 0)))
    kept = list((folder / "replaced").iterdir())
    remove(folder, "maths")
    assert list((folder / "replaced").iterdir()) == kept
    save = module_file(tmp_path, retrained(base, (2, 0)), (2, 0), name="other")
    install(folder, save)
    assert kept[0] not in (folder / "replaced").iterdir()


def test_a_module_works_in_memory_as_it_does_in_a_folder(folder, base, tmp_path):
    file = module_file(tmp_path, retrained(base, (1, 0)), (1, 0))
    in_memory = retrained(base)
    put_in(in_memory, read_module(file))
    install(folder, file)
    assert not differing(contents(in_memory), contents(load_model(folder).model))


def test_what_training_changed_is_found(base):
    assert changed_places(base, retrained(base, (1, 2), (2, 0))) == ((1, 2), (2, 0))
    assert changed_places(base, retrained(base)) == ()
    with pytest.raises(ValueError, match="moved more than experts and routers"):
        changed_places(base, tiny(seed=1))


@pytest.mark.parametrize("places", [[(0, 0)], [(1, 4)], [(1, -1)], [(7, 0)], [], [(1, 0), (1, 1)]])
def test_a_place_that_is_not_there_is_refused(base, places):
    with pytest.raises(ValueError, match=r"(no experts in layer|no expert|one expert of a layer)"):
        pack(base, places, "maths")


@pytest.mark.parametrize("name", ["", "../maths", "a b", "-x", "ü", "x" * 65])
def test_a_name_is_a_word(base, name):
    with pytest.raises(ValueError, match="name is a word"):
        pack(base, [(1, 0)], name)


def test_a_label_of_a_newer_form_is_refused(tmp_path, base):
    from moe_teach.compose.modules.manifest import manifest_from

    table = json.loads(json.dumps(pack(base, [(1, 0)], "maths").manifest.as_table()))
    assert isinstance(manifest_from(table, "it"), Manifest)
    with pytest.raises(ValueError, match="install the newest version"):
        manifest_from({**table, "schema": 2}, "it")
    with pytest.raises(ValueError, match="means nothing here"):
        manifest_from({**table, "colour": "red"}, "it")


def test_a_gain_is_what_the_module_saves():
    assert Measured("maths", 2.0, 1.5, 10).gain == 0.5


@pytest.mark.parametrize("said", ["1", "a:b", "1:-2", "", "1:2:3"])
def test_a_place_is_read_from_two_numbers(said):
    assert read_place("1:2") == (1, 2)
    with pytest.raises(ValueError, match="LAYER:EXPERT"):
        read_place(said)


def test_a_released_checkpoint_is_to_be_brought_in_first(tmp_path, home):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="moe-teach import"):
        list_modules(tmp_path)
