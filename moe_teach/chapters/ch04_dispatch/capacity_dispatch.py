"""Chapter 04, exercise 4.4: capacity under three policies."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch04_dispatch.fair_draws import crowd_of, require_fair
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require

EXERCISE = Exercise(
    id="4.4",
    name="capacity_dispatch",
    title="Capacity, under three policies",
    points=2,
    difficulty=3,
    importance=5,
    minutes=20,
    hints=(
        "Separate two things: the *queue*, an order of all T · K choices, and the *door*, which "
        "lets the first `capacity` of each expert in. Only the queue depends on the policy.",
        "With `queue` as a list of choice numbers, the choices of expert e in their order are "
        "`queue[chosen[queue] == e]`. Its first `capacity` entries are served.",
        "queue = arange(N), or gates.flatten().argsort(descending=True), or "
        "torch.randperm(N, generator=generator); kept = all False; for e in chosen.unique(): "
        "kept[queue[chosen[queue] == e][:capacity]] = True; back to the shape of expert_ids.",
    ),
    explanation="How many choices each expert serves is min(count, capacity) under every policy: "
    "the queue decides who, never how many. First come spares the front of the batch; by gate "
    "loses the least weight, but lets a later token take an earlier one's place; random is fair "
    "and gives another answer every time.",
)

# tokens, experts, choices, capacity
SIZES = ((1, 1, 1, 1), (3, 1, 1, 2), (3, 2, 2, 1), (7, 4, 2, 3), (23, 5, 3, 4), (19, 23, 2, 3))


def _case(sizes: tuple[int, ...], seed: int, policy: str) -> dict[str, Any]:
    n_tokens, n_experts, top_k, capacity = sizes
    random = generator(seed)
    wish = torch.rand(n_tokens, n_experts, generator=random)
    wish[:, -1] += 0.4  # a favourite, so that somebody is turned away
    gates = 3 * torch.rand(top_k, n_tokens, generator=random).T
    ids = wish.argsort(dim=-1, descending=True)[:, :top_k]
    return {"expert_ids": ids, "gates": gates, "capacity": capacity, "policy": policy}


def _served(ids: Tensor, queue: list[int], capacity: int) -> Tensor:
    room = dict.fromkeys(ids.flatten().tolist(), capacity)
    kept = torch.zeros(ids.numel(), dtype=torch.bool)
    for i in queue:
        e = int(ids.flatten()[i])
        if room[e] > 0:
            room[e] -= 1
            kept[i] = True
    return kept.view_as(ids)


@EXERCISE.stage("shape")
def _capacity_shape(answer: Any, seed: int) -> None:
    for policy in ("first_come", "by_gate", "random"):
        for sizes in SIZES:
            given = _case(sizes, seed, policy)
            got = answer(**given, generator=generator(seed))
            is_mask = isinstance(got, Tensor) and got.dtype == torch.bool
            require(
                is_mask and got.shape == given["expert_ids"].shape,
                "One boolean for each choice is asked for, in the shape of `expert_ids`.",
                cause="These are numbers, positions, or a flat list of booleans.",
                cure="Begin with torch.zeros(expert_ids.shape, dtype=torch.bool), and set the "
                "served choices to True.",
                expected=Words(f"booleans of shape {tuple(given['expert_ids'].shape)}"),
                got=got,
                example=given,
            )


@EXERCISE.stage("room")
def _capacity_room(answer: Any, seed: int) -> None:
    for policy in ("first_come", "by_gate", "random"):
        for sizes in (*SIZES, (5, 3, 2, 0)):
            given = _case(sizes, seed, policy)
            ids, capacity = given["expert_ids"], given["capacity"]
            got = answer(**given, generator=generator(seed))
            counts = torch.bincount(ids.flatten(), minlength=sizes[1])
            served = torch.bincount(ids[got], minlength=sizes[1])
            facts = {"expected": counts.clamp(max=capacity), "got": served, "example": given}
            require(
                (served <= capacity).all(),
                f"Under {policy!r} some expert serves more than `capacity` choices.",
                cause="The limit holds for each expert, and all K columns count; 0 is one too.",
                cure="For each expert, take the first `capacity` of its choices in the queue.",
                **facts,
            )
            require(
                close(served, counts.clamp(max=capacity)),
                f"Under {policy!r} a choice was turned away although its expert had room.",
                cause="Each expert has its own queue and its own limit, or the mask says who was "
                "*not* served.",
                cure="For each expert, set the first `capacity` of its own choices to True.",
                **facts,
            )


@EXERCISE.stage("first come")
def _capacity_first_come(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _case(sizes, seed, "first_come")
        expected = _served(given["expert_ids"], list(range(sizes[0] * sizes[2])), sizes[3])
        got = answer(**given)
        require(
            close(got, expected),
            "First come means the order of the flattened batch: all choices of token 0, then all "
            "of token 1, ... Others are served here.",
            cause="The last ones win, or all first choices before all second ones.",
            cure="Queue the choices as `expert_ids.flatten()` lists them.",
            expected=expected,
            got=got,
            example=given,
        )


@EXERCISE.stage("by gate")
def _capacity_by_gate(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _case(sizes, seed, "by_gate")
        order = given["gates"].flatten().argsort(descending=True).tolist()
        expected = _served(given["expert_ids"], order, sizes[3])
        got = answer(**given)
        backwards = _served(given["expert_ids"], order[::-1], sizes[3])
        facts = {"expected": expected, "got": got, "example": given}
        require(
            close(got, expected) or not close(got, backwards),
            "The smallest gates were served first.",
            cause="`argsort` goes upwards unless it is told not to.",
            cure="Say descending=True.",
            **facts,
        )
        require(
            close(got, expected),
            "By gate means that each expert serves the choices with the largest gates *of its "
            "own*, and others are served here.",
            cause="Single choices compete, not whole tokens.",
            cure="Queue all T · K choices by `gates.flatten()`, the largest first.",
            **facts,
        )
    near = _case((9, 3, 2, 2), seed, "by_gate")
    # Neighbouring numbers: the later the choice, the larger its gate.
    near["gates"] = 1 + torch.arange(18.0).view(9, 2) * 2**-23
    expected = _served(near["expert_ids"], list(range(17, -1, -1)), 2)
    got = answer(**near)
    require(
        close(got, expected),
        "Two gates that differ in the last digit count as equal.",
        cause="Rounded, in another dtype or added to a large number they lose that digit.",
        cure="Compare the gates themselves.",
        expected=expected,
        got=got,
        example=near,
    )


@EXERCISE.stage("random")
def _capacity_random(answer: Any, seed: int) -> None:
    crowd, example = crowd_of(seed)
    first, again = (answer(**crowd, generator=generator(seed)) for _ in range(2))
    require(
        close(first, again),
        "Two calls with equal generators served different choices.",
        cause="The order is drawn from somewhere else.",
        cure="Hand `generator` on to the function that draws.",
        expected=Words("the same 12 choices twice"),
        got=Words(f"{int((first & ~again).sum())} of 12 choices are others the second time"),
        example=example,
    )
    random = generator(seed)
    draws = torch.stack([answer(**crowd, generator=random)[:, 0] for _ in range(64)]).float()
    require(
        bool((draws != draws[0]).any()),
        "Under 'random' the next draw from the same generator serves the same choices.",
        cause="A generator moves on as it draws, and this one was copied, rewound or seeded again.",
        cure="Hand `generator` itself on to the function that draws, and touch it no further.",
        expected=Words("other choices at each call"),
        got=Words("the same 12 choices, 64 times"),
        example=example,
    )
    require_fair(draws, crowd["gates"][:, 0], example)


@EXERCISE.stage("its own generator")
def _capacity_generator(answer: Any, seed: int) -> None:
    crowd, example = crowd_of(seed)
    draws = torch.stack([answer(**crowd) for _ in range(3)])
    require(
        bool((draws != draws[0]).any()),
        "Without a generator (None) 'random' served the same choices each time.",
        cause="Something was seeded or fixed where no generator was given.",
        cure="torch's global random numbers draw then: every random function takes generator=None.",
        example={**example, "generator": None},
    )
    state = torch.get_rng_state()
    answer(**crowd, generator=generator(seed))
    require(
        bool((state == torch.get_rng_state()).all()),
        "A generator was given, and torch's global random numbers moved on or were seeded anew.",
        cause="Something is drawn without `generator=`, or `torch.manual_seed` is called.",
        cure="Everybody else draws from those: draw from `generator` alone.",
        example=example,
    )


@EXERCISE.stage("unknown policy")
def _capacity_unknown(answer: Any, seed: int) -> None:
    for policy in ("by_age", "", "random ", "First_Come", "gate"):
        _require_value_error(
            answer,
            _case((3, 2, 1, 1), seed, policy),
            "A typing mistake quietly turns into some other policy.",
            "Compare with the three names as they are written, and end in an `else` that raises.",
        )
    for capacity, room in ((100, "for everybody"), (0, "for nobody")):
        _require_value_error(
            answer,
            {**_case((3, 2, 1, 1), seed, "by_age"), "capacity": capacity},
            f"Here is room {room}, and the answer came before the policy was looked at.",
            "Look at the policy before anything else.",
        )


def _require_value_error(answer: Any, given: dict[str, Any], cause: str, cure: str) -> None:
    symptom = f"The policy {given['policy']!r} does not exist and must raise a `ValueError`."
    got: Any = None
    try:
        got = answer(**given)
    except ValueError:
        return
    except Exception as error:
        got = Words(f"a {type(error).__name__}")
        cause = f"It raises {got} instead: what looked the name up did not know it."
        cure = "Ask for the policy's name yourself, and raise a ValueError."
    facts = {"expected": Words("a ValueError"), "got": got, "example": given}
    require(False, symptom, cause=cause, cure=cure, **facts)
