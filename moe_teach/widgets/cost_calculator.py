"""What a sparse model costs: a calculator to drag, with the models of the catalog as presets.

The arithmetic runs in the browser, so that a page without a kernel still answers; a test holds it
to `moe_teach.cost` for every preset.
"""

from pathlib import Path
from typing import Any, ClassVar

import traitlets

from moe_teach import cost
from moe_teach.catalog import ARTICLE_MODEL, CATALOG
from moe_teach.config import ModelConfig
from moe_teach.widgets import still
from moe_teach.widgets.base import CourseWidget
from moe_teach.widgets.cost_presets import DEVICES, SIZES, presets, resized

_FIRST = presets()[ARTICLE_MODEL.name]
_DEVICE = "H100, 80 GB"


class CostCalculator(CourseWidget):
    """Parameters, memory, speed and money of one model on one machine.

    `preset` names a model of the catalog; setting it sets the five sizes, which may then be
    changed one by one. `batch` sequences of `context` tokens are decoded together on `n_devices`
    of `device`, each at `usd_per_hour`. Speeds are the limits of `moe_teach.cost`, which no real
    server reaches. `config` and `machine` give the present state to that module.
    """

    _esm = Path(__file__).with_suffix(".js")
    _css = Path(__file__).with_suffix(".css")
    alt: ClassVar[str] = (
        "A calculator for sparse models: sliders for the model and the machine on one side; on the "
        "other, bars for the parameters stored and used and for the bytes held and read, and a "
        "curve of the cost of a million tokens against the batch size."
    )
    what_to_try: ClassVar[tuple[str, str, str]] = (
        "Stay with the 72B/12B model and read the memory bar: how many times what the 12B suggest "
        "must be resident?",
        "Make the experts wider, then narrower, and watch where the active part ends: when does it "
        "come close to the mark of top-k / experts?",
        "Set the context to 0 and drag the batch in the curve from 1 to 1,024: at which batch is "
        "the sparse model closest in cost to a dense model of its full size? Then bring the "
        "context back: a curve ends where the cache no longer fits.",
    )

    presets = traitlets.Dict().tag(sync=True)
    devices = traitlets.Dict().tag(sync=True)
    formats = traitlets.Dict().tag(sync=True)
    preset = traitlets.Unicode(ARTICLE_MODEL.name).tag(sync=True)
    n_experts = traitlets.Int(_FIRST["n_experts"], min=1).tag(sync=True)
    top_k = traitlets.Int(_FIRST["top_k"], min=1).tag(sync=True)
    d_ff = traitlets.Int(_FIRST["d_ff"], min=1).tag(sync=True)
    d_model = traitlets.Int(_FIRST["d_model"], min=1).tag(sync=True)
    n_layers = traitlets.Int(_FIRST["n_layers"], min=1).tag(sync=True)
    batch = traitlets.Int(8, min=1).tag(sync=True)
    context = traitlets.Int(4096, min=0).tag(sync=True)
    dtype = traitlets.Enum(tuple(cost.BITS_PER_PARAMETER), "bfloat16").tag(sync=True)
    device = traitlets.Enum(tuple(DEVICES), _DEVICE).tag(sync=True)
    n_devices = traitlets.Int(2, min=1).tag(sync=True)
    usd_per_hour = traitlets.Float(DEVICES[_DEVICE]["usd_per_hour"], min=0.0).tag(sync=True)

    def __init__(self, preset: str = ARTICLE_MODEL.name, **settings: Any) -> None:
        data = {"presets": presets(), "devices": DEVICES, "formats": cost.BITS_PER_PARAMETER}
        super().__init__(**data)
        self.preset = preset
        for name, value in settings.items():
            setattr(self, name, value)

    @traitlets.validate("preset")
    def _known_model(self, proposal: Any) -> str:
        if proposal["value"] in presets():
            return proposal["value"]
        raise traitlets.TraitError(
            f"The calculator knows no model called {proposal['value']!r}: choose one of "
            f"{', '.join(presets())}."
        )

    @traitlets.observe("preset")
    def _take_its_sizes(self, change: Any) -> None:
        with self.hold_sync():
            for name in SIZES:
                setattr(self, name, presets()[change["new"]][name])

    @traitlets.observe("device")
    def _take_its_price(self, change: Any) -> None:
        self.usd_per_hour = DEVICES[change["new"]]["usd_per_hour"]

    @property
    def config(self) -> ModelConfig:
        """The model as it stands now, ready for every function of `moe_teach.cost`."""
        return resized(CATALOG[self.preset].config, {name: getattr(self, name) for name in SIZES})

    @property
    def machine(self) -> cost.Machine:
        """All devices together, as one machine."""
        each = DEVICES[self.device] | {"usd_per_hour": self.usd_per_hour}
        return cost.Machine(**{name: self.n_devices * value for name, value in each.items()})

    def words(self) -> str:
        """Say the present state in numbers."""
        config, machine = self.config, self.machine
        total, active = cost.n_params_total(config), cost.n_params_active(config)
        resident = cost.weight_bytes(config, self.dtype)
        cache = self.batch * self.context * cost.kv_cache_bytes_per_token(config)
        text = (
            f"{self._name()}: {total / 1e9:.1f} billion parameters stored, {active / 1e9:.1f} "
            f"billion used by a token (1/{total / active:.1f}). All weights must be resident: "
            f"{resident / 1e9:,.0f} GB in {self.dtype}, and {cache / 1e9:,.0f} GB of cache. "
        )
        machines = f"{self.n_devices} x {self.device}"
        if resident + cache > machine.memory_bytes:
            return f"{text}That does not fit into {machines}: no speed, and no price."
        speed = cost.decode_tokens_per_second(
            config, machine, self.batch, context=self.context, dtype=self.dtype
        )
        price = cost.usd_per_million_tokens(machine.usd_per_hour, speed)
        return (
            f"{text}With {machines} and batch {self.batch}, at most {speed:,.0f} tokens a second, "
            f"at least {price:.2f} USD for a million tokens."
        )

    def _name(self) -> str:
        """The preset's name, as long as the sizes are the preset's."""
        published = presets()[self.preset]
        is_changed = any(getattr(self, name) != published[name] for name in SIZES)
        return f"Your model, changed from {self.preset}" if is_changed else self.preset

    def picture(self) -> str:
        """Draw parameters stored and used as two bars."""
        config = self.config
        total, active = cost.n_params_total(config), cost.n_params_active(config)
        strokes = []
        for i, (words, count) in enumerate((("stored", total), ("used by a token", active))):
            top = 46 + 34 * i
            strokes.append(still.label(8, top + 15, words))
            strokes.append(
                still.box(
                    120, top, 330 * count / total, 22, still.COLOURS[0], full=1 - 0.8 * (i == 0)
                )
            )
            strokes.append(still.label(460, top + 15, f"{count / 1e9:.1f}B"))
        return still.sheet(540, 116, f"{self._name()}: parameters", *strokes)
