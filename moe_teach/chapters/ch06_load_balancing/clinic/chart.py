"""The record behind a patient's chart in the bug clinic: what the examination wrote down."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Chart:
    """The findings of one examination; a tuple of three stands for k = 1, 2, 4.

    loads: share of the choices per expert, one row per training step.
    even, crowd, second: the balance loss logged for routings made by hand: an even one for each
        k; everybody at experts 0 and 1; even first choices with all second choices at one expert.
    task_gradient, own_gradient, arriving: norms on the router's matrix: of the task loss; of the
        balance loss as logged; of what the total loss holds of it, divided by its coefficient.
    gate_sums, gate_moves: mean sum of a token's gates; largest change of a gate when all biases
        rise by the same amount.
    bias_step: change of each expert's bias after one batch with a crowd at experts 0 and 1.
    other_experts, other_output: two evaluations of the same tokens: share of tokens with other
        experts; difference of the outputs relative to their norm.
    company: for every second token of a batch, how far its output is from its output alone,
        relative to that.
    speaking, silent, likeness: norm of output / norm of input, as it is and with every routed
        expert's weights at zero; cosine of the silent output and the input.
    """

    loads: tuple[tuple[float, ...], ...]
    even: tuple[float, ...]
    crowd: float
    second: float
    task_gradient: tuple[float, ...]
    own_gradient: tuple[float, ...]
    arriving: tuple[float, ...]
    gate_sums: tuple[float, ...]
    gate_moves: tuple[float, ...]
    bias_step: tuple[float, ...]
    other_experts: float
    other_output: float
    company: tuple[float, ...]
    speaking: float
    silent: float
    likeness: float

    @property
    def violation(self) -> float:
        """By how much the busiest expert exceeds the fair share over the last ten steps."""
        last = self.loads[-10:]
        means = [sum(column) / len(last) for column in zip(*last, strict=True)]
        return max(means) * len(means) - 1
