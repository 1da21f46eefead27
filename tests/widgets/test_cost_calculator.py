"""The calculator's arithmetic in the browser is that of `moe_teach.cost`."""

from collections.abc import Callable

import pytest
import traitlets

from moe_teach import cost
from moe_teach.catalog import CATALOG
from moe_teach.widgets.cost_calculator import CostCalculator
from moe_teach.widgets.cost_presets import SIZES, presets

SETTINGS = [
    {},
    {"batch": 1, "context": 0, "dtype": "float32"},
    {"batch": 100, "n_devices": 8, "device": "H200, 141 GB"},
    {"n_experts": 5, "top_k": 3, "d_ff": 1000, "d_model": 640, "n_layers": 7},
    {"n_experts": 1, "top_k": 1, "n_layers": 1},
]
COSTS = "m.costs(given.preset, given.state, given.device, given.bits)"


def calculators() -> list[CostCalculator]:
    return [CostCalculator(name, **settings) for name in presets() for settings in SETTINGS]


def case_of(calculator: CostCalculator) -> dict[str, object]:
    names = (*SIZES, "batch", "context", "n_devices", "usd_per_hour")
    return {
        "preset": calculator.presets[calculator.preset],
        "state": {name: getattr(calculator, name) for name in names},
        "device": calculator.devices[calculator.device],
        "bits": calculator.formats[calculator.dtype],
    }


def test_the_browser_counts_what_the_library_counts(in_node: Callable) -> None:
    widgets = calculators()

    answers = in_node("cost_calculator", COSTS, [case_of(widget) for widget in widgets])

    for widget, got in zip(widgets, answers, strict=True):
        config, machine = widget.config, widget.machine
        speed = cost.decode_tokens_per_second(
            config, machine, widget.batch, context=widget.context, dtype=widget.dtype
        )
        about = f"{widget.preset}: {widget.words()}"
        assert got["total"] == cost.n_params_total(config), about
        assert got["active"] == pytest.approx(cost.n_params_active(config), rel=1e-9), about
        assert got["weights"] == pytest.approx(cost.weight_bytes(config, widget.dtype)), about
        assert got["flops"] == pytest.approx(
            cost.forward_flops(config, context=widget.context), rel=1e-6
        ), about
        assert got["tokensPerSecond"] == pytest.approx(speed, rel=1e-6), about
        assert got["usdPerMillion"] == pytest.approx(
            cost.usd_per_million_tokens(machine.usd_per_hour, speed), rel=1e-6
        ), about


def test_every_sparse_decoder_whose_layers_are_alike_is_a_preset() -> None:
    sparse = {
        name
        for name, card in CATALOG.items()
        if card.config.moe is not None
        and not card.config.n_encoder_layers
        and not card.config.other_mixers
    }

    assert set(presets()) == sparse
    assert "Ling-1T" in sparse and "Nemotron 3 Super" not in sparse


@pytest.mark.parametrize("name", presets())
def test_a_preset_gives_back_its_own_configuration(name: str) -> None:
    widget = CostCalculator(name)

    assert cost.n_params_total(widget.config) == cost.n_params_total(CATALOG[name].config)


def test_choosing_a_preset_brings_its_sizes_and_a_device_its_price() -> None:
    widget = CostCalculator()

    widget.preset = "Mixtral 8x7B"
    widget.device = "A100, 80 GB"

    assert (widget.n_experts, widget.top_k, widget.n_layers) == (8, 2, 32)
    assert widget.usd_per_hour == widget.devices["A100, 80 GB"]["usd_per_hour"]


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(traitlets.TraitError, match=r"no model called 'GPT-5'.*Mixtral 8x7B"):
        CostCalculator("GPT-5")


def test_a_changed_model_loses_the_name_of_its_preset_and_what_does_not_fit_its_price() -> None:
    widget = CostCalculator("Mixtral 8x7B", n_devices=1, device="H200, 141 GB")
    assert "USD for a million tokens" in widget.words()

    widget.n_experts = 128

    assert widget.words().startswith("Your model, changed from Mixtral 8x7B: ")
    assert "changed from Mixtral 8x7B" in widget.picture()
    assert "does not fit" in widget.words() and "USD" not in widget.words()
    widget.n_devices = 16
    assert "does not fit" not in widget.words()


def test_the_still_picture_and_the_words_follow_the_state() -> None:
    widget = CostCalculator("Mixtral 8x7B")

    assert "46.7 billion parameters stored" in widget.words()
    assert "Mixtral 8x7B" in widget.picture()
    assert widget.words() in widget.html().replace("&#x27;", "'")
