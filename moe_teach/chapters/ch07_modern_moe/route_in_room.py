"""Chapter 07, exercise 7.9: machines with room for so many tokens, and as little lost as can be."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.exercise import Exercise, Goal, Words, generator, require, require_tensor

EXERCISE = Exercise(
    id="7.9",
    name="route_in_room",
    title="Open task: full machines",
    points=3,
    difficulty=4,
    importance=3,
    minutes=30,
    needs=("7.4",),
    goal=Goal(
        quantity="gate mass kept",
        unit="%",
        baseline=73.05,
        target=80,
        more_is_better=True,
        limit="No answer can keep more than 82.65%.",
        cause="A token that comes early takes room from one that would have needed it more.",
        cure="Give room away in the order of what it is worth: sort all pairs of a token and a "
        "machine, and keep one machine in reserve for every token that has none yet.",
    ),
    hints=(
        "What does a token lose when a machine stays closed to it? First of all the gates of those "
        "of its k best experts that live there. That is a number for each pair of a token and a "
        "machine, (T, G).",
        "Give the room away to the largest of these numbers first, whoever's they are. Then some "
        "tokens have three machines and some only one. See to it that nobody ends with none.",
        "best = scores.topk(top_k).indices; need = torch.zeros_like(scores).scatter(1, best, "
        "scores.gather(1, best)).view(T, n_groups, -1).sum(-1); go through need.flatten()."
        "argsort(descending=True); at last scores.masked_fill(closed, -1).topk(top_k).indices",
    ),
    explanation="Sorting by need lets the *machines* choose their tokens, as in expert choice "
    "(chapter 06), and sure tokens pay with one machine for the unsure ones, who get three. To get "
    "the last per cent, count what a machine adds to those that a token has already, instead of "
    "what it holds. The bound of 82.65 % comes from prices: charge every token the same for a "
    "place on machine g, let each choose its best set of machines, and raise the prices of those "
    "that are too full, as the bias of DeepSeek-V3 does with experts. Whatever the prices, what "
    "tokens keep after paying, plus the price of all room, is an upper bound; with good prices an "
    "answer comes as near to it as you like to see.",
)
SIZES = (128, 48, 6, 8, 32)  # tokens, experts, top_k, machines, room
AWKWARD = ((1, 2, 1, 2, 1), (3, 6, 2, 3, 2), (7, 15, 3, 5, 3), (5, 12, 4, 3, 4), (13, 14, 1, 7, 4))


def inputs(sizes: tuple[int, ...], seed: int, crowd: float = 0.5) -> dict[str, Any]:
    """Draw softmax scores of tokens that are more or less sure; some experts are liked by all."""
    n_tokens, n_experts, top_k, n_groups, room = sizes
    random = generator(seed)
    sureness = torch.exp(0.5 * torch.randn(n_tokens, 1, generator=random))
    liked = crowd * torch.randn(n_experts, generator=random)
    logits = 1.4 * torch.randn(n_tokens, n_experts, generator=random) + liked
    scores = (sureness * logits).softmax(dim=-1)
    return {"scores": scores, "top_k": top_k, "n_groups": n_groups, "room": room}


def guests(expert_ids: Tensor, n_experts: int, n_groups: int) -> Tensor:
    """Count the tokens of each machine, (G,)."""
    machine = expert_ids.long() // (n_experts // n_groups)
    visits = torch.zeros(len(expert_ids), n_groups).scatter(-1, machine, 1.0)
    return visits.sum(dim=0).long()


def kept(given: dict[str, Any], expert_ids: Tensor) -> float:
    """Say how much of the gate mass of the free top-k is kept, in percent."""
    scores = given["scores"].double()
    free = scores.topk(given["top_k"], dim=-1).values.sum()
    return float(100 * scores.gather(-1, expert_ids.long()).sum() / free)


def _require_experts(got: Any, given: dict[str, Any]) -> None:
    require_tensor(got, given)
    n_tokens, n_experts = given["scores"].shape
    require(
        got.shape == (n_tokens, given["top_k"]) and not got.is_floating_point(),
        "These are no integers of shape (T, K).",
        cause="The scores were returned, or a token got more or fewer than top_k experts.",
        cure="Return the numbers of top_k experts for every token.",
        got=got,
        example=given,
    )
    require(
        bool((got >= 0).all() and (got < n_experts).all()),
        "Expert numbers lie between 0 and E - 1, and some of these do not.",
        cause="A position inside a machine, or a filler such as -1, was returned.",
        cure="Machine g holds experts g * E / G to (g + 1) * E / G - 1.",
        got=got,
        example=given,
    )
    ordered = got.sort(dim=-1).values
    require(
        bool((ordered.diff(dim=-1) > 0).all()),
        "A token is given the same expert twice.",
        cause="Experts that are closed were taken after the open ones had run out.",
        cure="One machine holds top_k experts at least: choose among those of the open machines.",
        got=got,
        example=given,
    )


def _require_room(got: Tensor, given: dict[str, Any]) -> None:
    count = guests(got, given["scores"].shape[1], given["n_groups"])
    free = given["scores"].topk(given["top_k"], dim=-1).indices.sort(dim=-1).values
    is_free = bool((got.sort(dim=-1).values == free).all())
    require(
        bool((count <= given["room"]).all()),
        f"A machine is sent more tokens than it has room for, which is {given['room']}. (Shown: "
        "tokens per machine.)",
        cause="These are the k best experts of every token, and `room` has no effect."
        if is_free
        else "A token counts on every machine on which it uses an expert, and once on each.",
        cure="Keep the room that is left of every machine, and open only where there is some.",
        expected=Words(f"at most {given['room']} each"),
        got=count,
        example=given,
    )


@EXERCISE.stage("experts")
def _experts(answer: Any, seed: int) -> None:
    for sizes in AWKWARD:
        given = inputs(sizes, seed)
        _require_experts(answer(**given), given)


@EXERCISE.stage("room")
def _room(answer: Any, seed: int) -> None:
    for sizes in (*AWKWARD, SIZES):
        for crowd in (0.5, 3.0):
            given = inputs(sizes, seed, crowd)
            got = answer(**given)
            _require_experts(got, given)
            _require_room(got, given)


@EXERCISE.goal.measure
def _measure(answer: Any, seed: int) -> float:
    given = inputs(SIZES, seed)
    got = answer(**given)
    _require_experts(got, given)
    _require_room(got, given)
    return kept(given, got)
