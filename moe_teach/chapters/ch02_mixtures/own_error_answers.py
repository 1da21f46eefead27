"""Exercise 2.8: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch02_mixtures.answer_parts import errors_of
from moe_teach.chapters.ch02_mixtures.own_error import EXERCISE


def _likelihood(outputs, log_gates, y, variance):
    return -(log_gates - errors_of(outputs, y) / (2 * variance)).logsumexp(-1).mean()


def _falling(progress, start, by):
    return max(0.02, start * (0.02 / start) ** (progress / by))


@EXERCISE.wrong(stage="a loss", says="An axis is left")
def one_error_per_place(outputs, log_gates, y, progress):
    return -(log_gates - errors_of(outputs, y) / 0.04).logsumexp(-1)


@EXERCISE.wrong(stage="a loss", says="must be finite")
def cuts_the_graph(outputs, log_gates, y, progress):
    return _likelihood(outputs, log_gates, y, 0.02).detach()


@EXERCISE.wrong(stage="several worlds at once", says="`torch.where`")
def asks_for_a_number(outputs, log_gates, y, progress):
    hardest = errors_of(outputs, y).min(-1).values.mean().item()
    return _likelihood(outputs, log_gates, y, max(hardest / 3, 0.01))


@EXERCISE.wrong(stage="goal", says="the plain way reaches 75.2%")
def the_lessons_likelihood(outputs, log_gates, y, progress):
    return _likelihood(outputs, log_gates, y, 0.02)


@EXERCISE.wrong(stage="goal", says="The goal is at least 92%")
def the_best_fixed_variance(outputs, log_gates, y, progress):
    return _likelihood(outputs, log_gates, y, 0.1)


@EXERCISE.wrong(stage="goal", says="The goal is at least 92%")
def the_competitive_error(outputs, log_gates, y, progress):
    return (log_gates.exp() * errors_of(outputs, y)).sum(-1).mean()


@EXERCISE.wrong(stage="goal", says="The goal is at least 92%")
def the_cooperative_error(outputs, log_gates, y, progress):
    return (y - (log_gates.exp()[..., None] * outputs).sum(1)).square().sum(-1).mean()


@EXERCISE.wrong(stage="goal", says="The goal is at least 92%")
def a_variance_that_grows(outputs, log_gates, y, progress):
    return _likelihood(outputs, log_gates, y, 0.02 * 15**progress)


@EXERCISE.right
def measures_the_noise_as_it_goes(outputs, log_gates, y, progress):
    errors = errors_of(outputs, y)
    mine = (log_gates - errors / 0.04).detach().softmax(-1)
    variance = ((mine * errors).sum(-1).mean() / 3).detach().clamp(min=0.01)
    return _likelihood(outputs, log_gates, y, variance)


@EXERCISE.right
def equal_gates_at_first(outputs, log_gates, y, progress):
    gates = log_gates * min(1, 0.1 + 3 * progress)
    return _likelihood(outputs, gates, y, _falling(progress, 1.0, by=1 / 3))


@EXERCISE.right
def experts_and_router_apart(outputs, log_gates, y, progress):
    errors = errors_of(outputs, y)
    variance = _falling(progress, 1.0, by=1 / 3)
    mine = (log_gates - errors / (2 * variance)).detach().softmax(-1)
    return (mine * (errors / (2 * variance) - log_gates)).sum(-1).mean()
