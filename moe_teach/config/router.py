"""How a router chooses."""

from dataclasses import dataclass
from typing import Literal

from moe_teach.config.refusal import refuse, refuse_non_positive

ScoreFn = Literal["softmax", "sigmoid", "sqrt_softplus"]
Choice = Literal["token", "expert", "table"]
GroupScore = Literal["best_two", "best"]


@dataclass(frozen=True, kw_only=True)
class RouterConfig:
    """How one router chooses.

    `topk_first` takes the softmax over the chosen logits only (Mixtral as published) instead of
    over all experts. `choice="expert"` lets each expert pick its top T * top_k / E tokens (Zhou
    et al. 2022, arXiv 2202.09368); it looks at the whole batch and is therefore not causal.
    `choice="table"` takes the experts from a fixed table with a row for each of `table_size` token
    ids, and only the gates from what the router learns (hash layers of DeepSeek-V4).
    `jitter` multiplies the input by uniform noise from [1 - jitter, 1 + jitter] and `noisy` adds
    learned noise to the logits (Shazeer et al. 2017, eq. 4); both act in training only.
    `n_groups` and `top_groups` restrict a token to its best groups of experts: a group is as good
    as its best two experts together (DeepSeek-V3, arXiv 2412.19437, section 2.1.2), or with
    `group_score="best"` as its best one (DeepSeek-V2, arXiv 2405.04434, section 2.2.2).
    `score_fn="sqrt_softplus"` is the square root of log(1 + exp(logit)) (DeepSeek-V4).
    `normalize_gates` divides the gates of a token by their sum, and in general by their p-norm
    with `norm_order` p (DBRX), but by no less than `norm_floor` (ERNIE-4.5).
    `bias` adds a learned number to each expert's logit (gpt-oss); the selection bias of balancing,
    which every router has, is none of these.
    """

    n_experts: int
    top_k: int
    score_fn: ScoreFn = "softmax"
    topk_first: bool = False
    normalize_gates: bool = True
    gate_scale: float = 1.0
    jitter: float = 0.0
    noisy: bool = False
    n_groups: int = 1
    top_groups: int = 1
    choice: Choice = "token"
    group_score: GroupScore = "best_two"
    norm_order: float = 1.0
    norm_floor: float = 0.0
    bias: bool = False
    table_size: int | None = None

    def __post_init__(self) -> None:
        refuse_non_positive(n_experts=self.n_experts, top_k=self.top_k, n_groups=self.n_groups)
        refuse(
            self.top_k > self.n_experts,
            f"top_k is {self.top_k}, but there are only {self.n_experts} experts: "
            f"choose top_k between 1 and {self.n_experts}.",
        )
        refuse(
            not 0.0 <= self.jitter < 1.0,
            f"jitter must lie in [0, 1), because the input is multiplied by 1 +- jitter; "
            f"it is {self.jitter}.",
        )
        refuse(
            self.topk_first and self.score_fn != "softmax",
            f"topk_first only changes a softmax: a {self.score_fn} scores each expert alone. "
            "Leave topk_first at False.",
        )
        self._check_groups()
        self._check_norm()
        self._check_table()

    def _check_groups(self) -> None:
        refuse(
            self.n_experts % self.n_groups != 0,
            f"{self.n_experts} experts cannot be split into {self.n_groups} equal groups: "
            "choose n_groups that divides n_experts.",
        )
        refuse(
            not 1 <= self.top_groups <= self.n_groups,
            f"top_groups must lie between 1 and n_groups = {self.n_groups}, "
            f"but it is {self.top_groups}.",
        )
        reachable = self.n_experts // self.n_groups * self.top_groups
        refuse(
            self.top_k > reachable,
            f"top_k is {self.top_k}, but {self.top_groups} of {self.n_groups} groups hold only "
            f"{reachable} experts: raise top_groups or lower top_k.",
        )
        refuse(
            self.choice == "expert" and self.n_groups > 1,
            "Group-limited routing restricts what a token may choose; with choice='expert' the "
            "experts choose. Use n_groups=1.",
        )

    def _check_norm(self) -> None:
        refuse(
            not self.norm_order > 0 or self.norm_floor < 0,
            f"norm_order must be positive and norm_floor at least 0, but they are "
            f"{self.norm_order} and {self.norm_floor}.",
        )
        is_plain = self.norm_order == 1 and self.norm_floor == 0
        refuse(
            not is_plain and (self.topk_first or not self.normalize_gates),
            "norm_order and norm_floor say how gates are normalised; with topk_first, or without "
            "normalize_gates, nothing is divided. Leave them at 1 and 0.",
        )

    def _check_table(self) -> None:
        refuse(
            (self.choice == "table") != (self.table_size is not None),
            "choice='table' and table_size belong together: the table needs a row for each token "
            "id, and without one there is no table. Give both or none.",
        )
        refuse(
            self.table_size is not None and self.table_size < 1,
            f"table_size must be at least 1, but it is {self.table_size}.",
        )
        refuse(
            self.choice == "table" and self.n_groups > 1,
            "Groups restrict a choice by score; with choice='table' the table has chosen. "
            "Use n_groups=1.",
        )
