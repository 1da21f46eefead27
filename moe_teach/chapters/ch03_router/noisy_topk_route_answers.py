"""Exercise 3.2: wrong answers with what they must be told, and other right ones."""

import torch
from torch.nn.functional import softplus

from moe_teach.chapters.ch03_router.noisy_topk_route import EXERCISE


def _noisy(logits, noise, top_k):
    chosen, ids = (logits + noise).topk(top_k)
    return chosen.softmax(-1), ids


def _with_noise(logits, noise_logits, training, generator):
    noise = torch.randn(logits.shape, generator=generator)
    return logits + noise * softplus(noise_logits) if training else logits


@EXERCISE.wrong(stage="evaluation", says="no noise at all")
def noise_in_evaluation_too(logits, noise_logits, top_k, training, generator=None):
    noise = torch.randn(logits.shape, generator=generator)
    return _noisy(logits, noise * softplus(noise_logits), top_k)


@EXERCISE.wrong(stage="repeatable", says="Hand `generator` on")
def ignores_the_generator(logits, noise_logits, top_k, training, generator=None):
    noise = torch.randn_like(logits) * softplus(noise_logits) * training
    return _noisy(logits, noise, top_k)


@EXERCISE.wrong(stage="repeatable", says="no noise reaches them")
def clean_gates_of_a_noisy_choice(logits, noise_logits, top_k, training, generator=None):
    if not training:
        return _noisy(logits, 0.0, top_k)
    gates = _noisy(logits, 0.0, top_k)[0]
    return gates, (logits + torch.randn(logits.shape, generator=generator)).topk(top_k).indices


@EXERCISE.wrong(stage="a draw for each", says="The choice was made on the clean logits")
def noisy_gates_of_a_clean_choice(logits, noise_logits, top_k, training, generator=None):
    ids = logits.topk(top_k).indices
    if training:
        noise = torch.randn(logits.shape, generator=generator)
        logits = logits + noise * softplus(noise_logits)
    return logits.gather(-1, ids).softmax(-1), ids


@EXERCISE.wrong(stage="a draw for each", says="Every token met the same noise")
def one_draw_per_expert(logits, noise_logits, top_k, training, generator=None):
    noise = torch.randn(logits.shape[1:], generator=generator) * training
    return _noisy(logits, noise * softplus(noise_logits), top_k)


@EXERCISE.wrong(stage="size", says="not a uniform number")
def uniform_noise(logits, noise_logits, top_k, training, generator=None):
    noise = torch.rand(logits.shape, generator=generator) * training
    return _noisy(logits, noise * softplus(noise_logits), top_k)


@EXERCISE.wrong(stage="a draw for each", says="wrong size")
def forgets_softplus(logits, noise_logits, top_k, training, generator=None):
    noise = torch.randn(logits.shape, generator=generator) * training
    return _noisy(logits, noise * noise_logits, top_k)


@EXERCISE.wrong(stage="gradient", says="`torch.normal(mean, std)` does that")
def with_torch_normal(logits, noise_logits, top_k, training, generator=None):
    if training:
        logits = torch.normal(logits, (1 + noise_logits.exp()).log(), generator=generator)
    ids = logits.argsort(-1, descending=True)[:, :top_k]
    return logits.gather(-1, ids).softmax(-1), ids


@EXERCISE.right
def by_masking_with_minus_infinity(logits, noise_logits, top_k, training, generator=None):
    if training:
        noise = torch.empty(logits.shape, dtype=torch.float64).normal_(generator=generator)
        logits = logits + (noise * softplus(noise_logits.double())).to(logits.dtype)
    ids = logits.topk(top_k).indices
    masked = torch.full_like(logits, -torch.inf).scatter(-1, ids, logits.gather(-1, ids))
    return masked.softmax(-1).gather(-1, ids), ids


@EXERCISE.wrong(stage="evaluation", says="among all experts")
def probabilities_of_all(logits, noise_logits, top_k, training, generator=None):
    return tuple(_with_noise(logits, noise_logits, training, generator).softmax(-1).topk(top_k))


@EXERCISE.wrong(stage="repeatable", says="a seed inside your function")
def seeds_by_itself(logits, noise_logits, top_k, training, generator=None):
    own = torch.Generator().manual_seed(0)
    values, ids = _with_noise(logits, noise_logits, training, own).topk(top_k)
    return values.softmax(-1), ids


@EXERCISE.wrong(stage="a draw for each", says="the gates come from the clean ones")
def gates_from_clean_logits(logits, noise_logits, top_k, training, generator=None):
    ids = _with_noise(logits, noise_logits, training, generator).topk(top_k).indices
    return logits.gather(1, ids).softmax(-1), ids


def _with_draw(draw):
    """Answer with other noise in training; `draw` gets the logits' shape and the generator."""

    def answer(logits, noise_logits, top_k, training, generator=None):
        noise = draw(logits.shape, generator) if training else 0.0
        return _noisy(logits, noise * softplus(noise_logits), top_k)

    answer.__name__ = draw.__name__.strip("_")
    return answer


def _from_another_one(shape, generator):
    own = torch.Generator()
    return torch.randn(shape, generator=own.set_state(generator.get_state()))


def _fixed_where_none_is_given(shape, generator):
    return torch.randn(shape, generator=generator or torch.Generator().manual_seed(0))


def _global_seeded(shape, generator):
    if generator is not None:
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
    return torch.randn(shape)


def _centred_uniform(shape, generator):
    return (torch.rand(shape, generator=generator) - 0.5) * 12**0.5


for _draw, _stage, _says in (
    (_from_another_one, "its own generator", "met the same noise"),
    (_fixed_where_none_is_given, "its own generator", "Hand the None on"),
    (_global_seeded, "its own generator", "global random numbers moved on"),
    (_centred_uniform, "size", "is not *normal*"),
):
    EXERCISE.wrong(stage=_stage, says=_says)(_with_draw(_draw))


@EXERCISE.wrong(stage="far from zero", says="`exp` of them is infinite")
def writes_its_own_softmax(logits, noise_logits, top_k, training, generator=None):
    chosen, ids = _with_noise(logits, noise_logits, training, generator).topk(top_k)
    powers = chosen.exp()
    return powers / powers.sum(-1, keepdim=True), ids


@EXERCISE.wrong(stage="size", says="Noise is *added* to the logits")
def noise_instead_of_logits(logits, noise_logits, top_k, training, generator=None):
    if training:
        logits = torch.randn(logits.shape, generator=generator) * softplus(noise_logits)
    return _noisy(logits, 0.0, top_k)


@EXERCISE.wrong(stage="size", says="has the wrong size")
def a_fifth_too_much(logits, noise_logits, top_k, training, generator=None):
    noise = torch.randn(logits.shape, generator=generator) * training
    return _noisy(logits, noise * softplus(noise_logits) * 1.2, top_k)


@EXERCISE.wrong(stage="few of many", says="the same noisy logits")
def probabilities_of_all_in_training(logits, noise_logits, top_k, training, generator=None):
    noisy = _with_noise(logits, noise_logits, training, generator)
    return tuple(noisy.softmax(-1).topk(top_k)) if training else _noisy(noisy, 0.0, top_k)


@EXERCISE.wrong(stage="gradient", says="not connected with `noise_logits`")
def noise_that_cannot_be_learned(logits, noise_logits, top_k, training, generator=None):
    clean = torch.zeros_like(logits)
    with torch.no_grad():
        noise = _with_noise(clean, noise_logits, training, generator)
    return _noisy(logits, noise, top_k)


@EXERCISE.right
def row_after_row(logits, noise_logits, top_k, training, generator=None):
    if training:
        noise = [torch.randn(len(row), generator=generator) for row in logits]
        logits = logits + torch.stack(noise) * torch.log1p(noise_logits.exp())
    return _noisy(logits, 0.0, top_k)


@EXERCISE.right
def all_in_float64(logits, noise_logits, top_k, training, generator=None):
    return _noisy(
        _with_noise(logits.double(), noise_logits.double(), training, generator), 0, top_k
    )
