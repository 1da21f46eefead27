"""Chapter 05: plausible wrong answers, each with what it must be told, and other right ones."""

import torch
from torch import nn

from moe_teach.course.answers._ch05_first_loss import (  # noqa: F401 - found by name
    accepts_any_loss_below,
    all_the_same,
    answers_in_bits,
    answers_with_the_perplexity,
    by_log_softmax_and_gather,
    calls_the_last_position_future,
    counts_the_tolerance_in_percent,
    fixes_the_tolerance,
    forgets_the_shift,
    in_numpy,
    looks_at_the_first_choice,
    replaces_by_a_constant,
    returns_tensors,
    rolls_the_targets,
    shifts_backwards,
    sums_the_loss,
    takes_softmax_twice,
    trusts_the_loss,
)
from moe_teach.course.answers._ch05_reading import (  # noqa: F401 - found by name
    by_bisection,
    by_numpy,
    by_the_mean_of_squares,
    by_walking_backwards,
    counts_places_for_steps,
    divides_by_n,
    divides_by_n_and_not_its_root,
    fails_on_nothing,
    fixes_t_at_three_seeds,
    forgets_the_price,
    forgets_the_root_of_n,
    forgets_worse,
    gains_in_percent,
    interpolates,
    returns_the_first_for_nothing,
    spends_too_little,
    takes_the_best,
    takes_the_nearest,
    takes_the_next,
    treats_the_lists_as_strangers,
    turns_the_sign,
    wants_every_seed_to_agree,
    with_torch,
)
from moe_teach.course.answers._ch05_widths import (  # noqa: F401 - found by name
    by_counting_up,
    counts_chosen_rows_of_the_router,
    counts_one_expert,
    counts_the_router_n_matrices_times,
    forgets_the_router,
    forgets_the_shared_expert,
    ignores_the_multiple,
    mixes_up_the_two_meanings,
    returns_a_float,
    rounds_down,
    rounds_to_the_nearest,
    rounds_twice,
    shares_the_shared_expert_out,
    swallows_a_typo,
    takes_three_matrices_always,
    takes_two_matrices_always,
    with_d_model_and_fractions,
)
from moe_teach.course.exercise import right, wrong

# --- 5.1 MoEBlock -----------------------------------------------------------------------------


class _Block(nn.Module):
    def __init__(self, d_model, attention, moe):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(d_model), nn.RMSNorm(d_model)
        self.attention, self.moe = attention, moe


@wrong("5.1", stage="a module", says="must call `super().__init__()`")
class NoModule:
    def __init__(self, d_model, attention, moe):
        self.norm1, self.norm2 = nn.RMSNorm(d_model), nn.RMSNorm(d_model)
        self.attention, self.moe = attention, moe


@wrong("5.1", stage="a module", says="does not know the parameters")
class HidesModulesInAList(nn.Module):
    def __init__(self, d_model, attention, moe):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(d_model), nn.RMSNorm(d_model)
        self.parts = [attention, moe]


@wrong("5.1", stage="a module", says="two norms with weights of their own")
class OneNorm(nn.Module):
    def __init__(self, d_model, attention, moe):
        super().__init__()
        self.norm, self.attention, self.moe = nn.RMSNorm(d_model), attention, moe

    def forward(self, x):
        x = x + self.attention(self.norm(x))
        y, routing = self.moe(self.norm(x))
        return x + y, routing


@wrong("5.1", stage="what comes back", says="returns two things")
class LosesTheRouting(_Block):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.moe(self.norm2(x))[0]


@wrong("5.1", stage="what comes back", says="take it apart first")
class AddsNothingToThePair(_Block):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return self.moe(self.norm2(x)), x


@wrong("5.1", stage="what comes back", says="the very routing")
class ReturnsTheStreamTwice(_Block):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.moe(self.norm2(x))[0], x


@wrong("5.1", stage="values", says="residual of the MoE is missing")
class ForgetsTheSecondResidual(_Block):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return self.moe(self.norm2(x))


@wrong("5.1", stage="values", says="residual around attention is missing")
class ForgetsTheFirstResidual(_Block):
    def forward(self, x):
        x = self.attention(self.norm1(x))
        y, routing = self.moe(self.norm2(x))
        return x + y, routing


@wrong("5.1", stage="values", says="added twice")
class AddsTheOldStreamAgain(_Block):
    def forward(self, x):
        h = x + self.attention(self.norm1(x))
        y, routing = self.moe(self.norm2(h))
        return x + h + y, routing


@wrong("5.1", stage="values", says="lost on the way out")
class AddsToTheOldStream(_Block):
    def forward(self, x):
        h = x + self.attention(self.norm1(x))
        y, routing = self.moe(self.norm2(h))
        return x + y, routing


@wrong("5.1", stage="values", says="stand side by side")
class InParallel(_Block):
    def forward(self, x):
        y, routing = self.moe(self.norm2(x))
        return x + self.attention(self.norm1(x)) + y, routing


@wrong("5.1", stage="values", says="The MoE reads the stream as it is")
class NormForgotten(_Block):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        y, routing = self.moe(x)
        return x + y, routing


@wrong("5.1", stage="values", says="Attention reads x as it is")
class FirstNormForgotten(_Block):
    def forward(self, x):
        x = x + self.attention(x)
        y, routing = self.moe(self.norm2(x))
        return x + y, routing


@wrong("5.1", stage="values", says="post-norm")
class PostNorm(_Block):
    def forward(self, x):
        x = self.norm1(x + self.attention(x))
        y, routing = self.moe(x)
        return self.norm2(x + y), routing


@wrong("5.1", stage="values", says="The stream was normalised")
class NormalisesTheStream(_Block):
    def forward(self, x):
        x = self.norm2(x + self.attention(self.norm1(x)))
        y, routing = self.moe(x)
        return x + y, routing


@wrong("5.1", stage="values", says="The MoE runs before attention")
class WrongOrder(_Block):
    def forward(self, x):
        y, routing = self.moe(self.norm2(x))
        x = x + y
        return x + self.attention(self.norm1(x)), routing


@wrong("5.1", stage="values", says="Are the norms RMSNorm")
class ScalesTheExperts(_Block):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        y, routing = self.moe(self.norm2(x))
        return x + 0.5 * y, routing


@wrong("5.1", stage="a norm for each", says="one norm used in both places")
class UsesOneNormTwice(_Block):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        y, routing = self.moe(self.norm1(x))
        return x + y, routing


@wrong("5.1", stage="a norm for each", says="gets no gradient")
class CutsTheExperts(_Block):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        y, routing = self.moe(self.norm2(x))
        return x + y.detach() + 0 * self.norm2(x), routing


@right("5.1")
class WithOneSum(_Block):
    def forward(self, x):
        seen = self.attention(self.norm1(x))
        y, routing = self.moe(self.norm2(x + seen))
        return torch.stack([x, seen, y]).sum(dim=0), routing


@right("5.1")
class WithNormsInAModuleList(nn.Module):
    def __init__(self, d_model, attention, moe):
        super().__init__()
        self.norms = nn.ModuleList(nn.RMSNorm(d_model) for _ in range(2))
        self.ffn, self.mixer = moe, attention

    def forward(self, x):
        first, second = self.norms
        x = torch.add(x, self.mixer(first(x)))
        y, record = self.ffn(second(x))
        return y.add(x), record
