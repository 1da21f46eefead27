"""The records that travel between router, dispatch, experts and combine.

Shape letters, the same in every signature, comment, einsum and formula of the course:

    B batch             E experts                           N routed rows (T * K, fewer after drops)
    S sequence          K experts chosen per token (top_k)  C capacity: rows one expert may take
    T tokens = B * S    D d_model                           V vocabulary
                        F d_ff of one expert

Two records are equal only if they are the same object: tensors compare number by number, which
is no answer to whether two decisions are one.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Routing:
    """One routing decision for every token: who is chosen and with what weight.

    `logits` and `probs` cover every expert and feed losses and plots; `gates` and `expert_ids`
    cover the chosen ones and drive the computation. `kept` says which choices are carried out:
    `None` means all of them; capacity and expert choice clear some. Where experts choose, every
    token lists all E experts, and `claimed` holds those that chose it; where tokens choose it is
    `None`. Capacity changes `kept` and never `claimed`.
    """

    logits: Float[Tensor, "T E"]
    probs: Float[Tensor, "T E"]
    gates: Float[Tensor, "T K"]
    expert_ids: Int[Tensor, "T K"]
    kept: Bool[Tensor, "T K"] | None = None
    claimed: Bool[Tensor, "T K"] | None = None

    @property
    def chosen(self) -> Bool[Tensor, "T K"]:
        """What the router chose, whether or not a capacity dropped it: what balance is about."""
        if self.claimed is not None:
            return self.claimed
        return torch.ones_like(self.expert_ids, dtype=torch.bool)

    def only(self, tokens: Bool[Tensor, " T"]) -> "Routing":
        """Return the decisions about these tokens alone; the others leave no trace."""
        parts = (self.logits, self.probs, self.gates, self.expert_ids, self.kept, self.claimed)
        return Routing(*(None if part is None else part[tokens] for part in parts))

    @property
    def n_experts(self) -> int:
        """How many experts the router chose from (E)."""
        return self.probs.shape[-1]

    @property
    def top_k(self) -> int:
        """How many choices each token has (K)."""
        return self.expert_ids.shape[-1]


@dataclass(frozen=True, slots=True, eq=False)
class Dispatched:
    """What `combine` needs to bring the expert outputs back to their tokens.

    Rows are sorted by expert and, within an expert, by token. `slot` is -1 where a choice was
    dropped. `expert_offsets[e]` is the end of expert e's rows, so they are
    `rows[expert_offsets[e] - tokens_per_expert[e] : expert_offsets[e]]`.
    """

    token_idx: Int[Tensor, " N"]
    slot: Int[Tensor, "T K"]
    tokens_per_expert: Int[Tensor, " E"]
    expert_offsets: Int[Tensor, " E"]


@dataclass(frozen=True, slots=True, eq=False)
class ExpertWeights:
    """The matrices of all experts, fused: one tensor per matrix, experts along the first axis.

    `w_gate` is present for SwiGLU and GEGLU and absent for the two-matrix activations. Biases are
    there for all matrices of a layer or for none.
    """

    w_up: Float[Tensor, "E F D"]
    w_down: Float[Tensor, "E D F"]
    w_gate: Float[Tensor, "E F D"] | None = None
    b_up: Float[Tensor, "E F"] | None = None
    b_down: Float[Tensor, "E D"] | None = None
    b_gate: Float[Tensor, "E F"] | None = None

    @property
    def has_biases(self) -> bool:
        """Whether the experts add biases, which only the composed way knows."""
        return self.b_up is not None
