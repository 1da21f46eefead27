"""Chapter 11: what one run of each experiment measures."""

from typing import Any

from moe_teach.analysis.routes.recorder import record_routes
from moe_teach.chapters.ch11_reading_the_router.experiments.crowding import (
    changed_answers,
    dropped,
    loss_by_domain,
)
from moe_teach.chapters.ch11_reading_the_router.experiments.models import (
    EQUAL,
    RARE,
    Trial,
    held_back,
    requests,
    trained_model,
    untrained_model,
)
from moe_teach.chapters.ch11_reading_the_router.experiments.probing import (
    ASKED,
    CONTROL,
    damage_of,
    leak,
    most_frequent,
    parted,
    rounded,
)
from moe_teach.chapters.ch11_reading_the_router.experiments.reading import (
    counted,
    routed_by_table,
    told_of_domain,
)
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
FACTORS = (1.0, 1.25, 2.0)
MIXES = {"as in training": RARE, "equal parts": EQUAL}


def measure_routes(trial: Trial, seed: int) -> dict[str, Any]:
    """Read the router of one trained model, of its untrained beginning, and a table."""
    model, begun = trained_model(trial, seed), untrained_model(trial, seed).eval()
    batches = held_back()
    trained = record_routes(model, batches, DOMAINS)
    untrained = record_routes(begun, batches, DOMAINS)
    pairs = {name: parted(model, words) for name, words in (("asked", ASKED), ("control", CONTROL))}
    every = range(trial.n_layers)
    return {
        "loss": round(evaluate(model, batches).loss, 4),
        "trained": told_of_domain(trained),
        "untrained": told_of_domain(untrained),
        "table": told_of_domain(routed_by_table(trained, seed)),
        "load": counted(trained).tolist(),
        "damage": rounded(damage_of(model, held_back(16), len(DOMAINS))),
        "leak": {
            "all layers": round(leak(trained, every), 4),
            "first layer": round(leak(trained, [0]), 4),
            "untrained": round(leak(untrained, every), 4),
            "most frequent": round(most_frequent(trained), 4),
        },
        "paths": {name: rounded(table) for name, table in pairs.items()},
    }


def measure_drops(trial: Trial, seed: int) -> dict[str, Any]:
    """Give a trained model's experts a capacity, and count who is turned away."""
    model, n_domains = trained_model(trial, seed), len(DOMAINS)
    result: dict[str, Any] = {}
    for mix, weights in MIXES.items():
        batches = requests(weights, seed)
        whole = loss_by_domain(model, batches, None, n_domains)
        result[mix] = {
            "dropped": {str(f): rounded(dropped(model, batches, f, n_domains)) for f in FACTORS},
            "rise": rounded(loss_by_domain(model, batches, 1.0, n_domains) - whole),
        }
    batch = held_back(16)[0]
    kept = {str(f): changed_answers(model, batch, f) for f in (*FACTORS, None)}
    return result | {"changed": {name: round(share, 4) for name, share in kept.items()}}
