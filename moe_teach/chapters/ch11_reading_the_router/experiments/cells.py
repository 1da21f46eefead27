"""Chapter 11: what one run of each experiment measures."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from moe_teach.analysis.interventions.capacity import drop_share_by_group, with_capacity
from moe_teach.analysis.interventions.knock_out import knock_out_damage
from moe_teach.analysis.interventions.leak import leak
from moe_teach.analysis.interventions.neighbours import neighbour_effect
from moe_teach.analysis.interventions.untrained import with_untrained_routers
from moe_teach.analysis.routes.recorder import record_routes
from moe_teach.chapters.ch11_reading_the_router.experiments.models import (
    EQUAL,
    Trial,
    held_back,
    requests,
    trained_model,
    untrained_model,
)
from moe_teach.chapters.ch11_reading_the_router.experiments.pairs import ASKED, CONTROL, parted
from moe_teach.chapters.ch11_reading_the_router.experiments.reading import (
    counted,
    routed_by_table,
    told_of_domain,
)
from moe_teach.data.batches import Batch
from moe_teach.nn.model import Model
from moe_teach.train.evaluate import evaluate

DOMAINS = tuple(EQUAL)
LENGTHS = (150, 500, 1500)
"""The lesson's length, three times and ten times as long."""
ROUTES = {f"{steps} steps": Trial(steps=steps) for steps in LENGTHS[:2]}
ROUTES_LONG = {f"{steps} steps": Trial(steps=steps) for steps in LENGTHS[2:]}
SCOPE = {"500 steps, each sequence balanced": Trial(balance_scope="sequence")}
DROPS = {f"{steps} steps": Trial(steps=steps, n_layers=2, rare=True) for steps in LENGTHS[:2]}
DROPS |= {f"{n} steps, nobody rare": Trial(steps=n, n_layers=2) for n in LENGTHS[:2]}
DROPS_LONG = {f"{n} steps": Trial(steps=n, n_layers=2, rare=True) for n in LENGTHS[2:]}
OTHER_RATES = (1e-3, 2e-3, 8e-3)
"""Beside the 4e-3 of all other trials: what is read must not hang on the learning rate."""
ROUTES_RATES = {f"500 steps, rate {lr:g}": Trial(lr=lr) for lr in OTHER_RATES}
DROPS_RATES = {f"500 steps, rate {lr:g}": Trial(lr=lr, n_layers=2, rare=True) for lr in OTHER_RATES}
FACTORS = (1.0, 1.25, 2.0)
FEW = 5  # deals where only the mean of a null is asked for


def measure_routes(trial: Trial, seed: int) -> dict[str, Any]:
    """Read the routers of one trained model, and of those that it is compared with.

    "new routers" stand in the trained model with first random weights, "untrained" is the whole
    model before its first step, and "table" looks at the token alone.
    """
    model, batches = trained_model(trial, seed), held_back()
    trained = record_routes(model, batches, DOMAINS)
    others = {
        "new routers": record_routes(with_untrained_routers(model, seed), batches, DOMAINS),
        "untrained": record_routes(untrained_model(trial, seed), batches, DOMAINS),
        "table": routed_by_table(trained, seed),
    }
    knocked = knock_out_damage(model, held_back(16), DOMAINS)
    heard = {"all layers": leak(trained), "first layer": leak(trained, (0,))}
    heard["new routers"] = leak(others["new routers"])
    return {
        "loss": round(evaluate(model, batches).loss, 4),
        "trained": told_of_domain(trained),
        **{name: told_of_domain(record, FEW) for name, record in others.items()},
        "counts": counted(trained).tolist(),
        "damage": rounded(knocked.damage),
        "leak": {name: round(found.accuracy, 4) for name, found in heard.items()},
        "most frequent": round(heard["all layers"].majority, 4),
        "paths": {
            name: rounded(parted(model, words))
            for name, words in (("asked", ASKED), ("control", CONTROL))
        },
    }


def measure_drops(trial: Trial, seed: int) -> dict[str, Any]:
    """Give a trained model's experts a capacity, and count who is turned away."""
    model, batches = trained_model(trial, seed), requests(EQUAL, seed)
    whole, full = evaluate(model, batches, DOMAINS), with_capacity(model, 1.0)
    less = evaluate(full, batches, DOMAINS).loss_per_domain
    dropped = {
        str(factor): rounded(drops_by_domain(with_capacity(model, factor), batches))
        for factor in FACTORS
    }
    own = drops_by_domain(full, requests(trial.mixture, seed))
    factors = (*FACTORS, None)
    return {
        "dropped": dropped,
        "dropped from its own mix": rounded(own),
        "rise": [round(less[name] - whole.loss_per_domain[name], 4) for name in DOMAINS],
        "changed": {str(f): round(changed(with_capacity(model, f)), 4) for f in factors},
    }


def drops_by_domain(model: Model, batches: Sequence[Batch]) -> Tensor:
    """Return the share of its choices that each domain loses, over all layers."""
    return drop_share_by_group(record_routes(model, batches, DOMAINS)).overall


def changed(model: Model) -> float:
    """Exchange the neighbours of 32 texts: which share of the likeliest next tokens changes?"""
    texts = held_back(24)[0].inputs  # the domains take turns
    more = held_back(24)[1].inputs
    return neighbour_effect(model, texts[32:], texts[:32], more).changed_share


def rounded(table: Tensor) -> Any:
    """Give a table as plain lists of four digits."""
    return [round(x, 4) for x in table.tolist()] if table.ndim == 1 else list(map(rounded, table))
