"""Exercise 14.3: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch14_memory.read_ahead import EXERCISE, guessed


def _slipped(slip, x, norm_weight, w_router, expert_bias, n_guesses, here, room):
    given = {"x": x, "norm_weight": norm_weight, "w_router": w_router}
    given |= {"expert_bias": expert_bias, "n_guesses": n_guesses}
    return [e for e in guessed(given, slip) if e not in here][:room]


@EXERCISE.wrong(stage="one token", says="without its norm")
def forgets_the_norm(*args, **kwargs):
    return _slipped("no norm", *args, **kwargs)


@EXERCISE.wrong(stage="one token", says="a weight for each feature")
def forgets_the_weight_of_the_norm(*args, **kwargs):
    return _slipped("no weight", *args, **kwargs)


@EXERCISE.wrong(stage="one token", says="takes off a mean")
def takes_a_layer_norm(*args, **kwargs):
    return _slipped("layer norm", *args, **kwargs)


@EXERCISE.wrong(stage="one token", says="without the selection bias")
def forgets_the_bias(*args, **kwargs):
    return _slipped("no bias", *args, **kwargs)


@EXERCISE.wrong(stage="one token", says="added to the logits")
def adds_the_bias_to_logits(*args, **kwargs):
    return _slipped("logits", *args, **kwargs)


@EXERCISE.wrong(stage="one token", says="Entries of a tensor are tensors")
def lists_tensors(x, norm_weight, w_router, expert_bias, n_guesses, here, room):
    return list(torch.arange(n_guesses))


@EXERCISE.wrong(stage="a batch", says="Several tokens guess the same one")
def names_some_twice(x, norm_weight, w_router, expert_bias, n_guesses, here, room):
    given = {"x": x, "norm_weight": norm_weight, "w_router": w_router}
    given |= {"expert_bias": expert_bias, "n_guesses": n_guesses}
    wanted = [e for row in x for e in guessed(given | {"x": row[None]})]
    return [e for e in wanted if e not in here][:room]


@EXERCISE.wrong(stage="a batch", says="in the order of their numbers")
def sorts_by_number(*args, **kwargs):
    return _slipped("numbers", *args, **kwargs)


@EXERCISE.wrong(stage="a batch", says="sum of their probabilities alone")
def sorts_by_probability(*args, **kwargs):
    return _slipped("mass first", *args, **kwargs)


@EXERCISE.wrong(stage="a batch", says="equally many votes")
def leaves_ties_as_they_come(*args, **kwargs):
    return _slipped("votes only", *args, **kwargs)


@EXERCISE.wrong(stage="a batch", says="The least urgent comes first")
def begins_at_the_wrong_end(*args, **kwargs):
    return _slipped("reversed", *args, **kwargs)


@EXERCISE.wrong(stage="a batch", says="for the mean of all tokens")
def guesses_for_the_mean(*args, **kwargs):
    return _slipped("mean", *args, **kwargs)


@EXERCISE.wrong(stage="who is missing", says="cut before those who are there")
def cuts_too_early(x, norm_weight, w_router, expert_bias, n_guesses, here, room):
    wanted = _slipped("", x, norm_weight, w_router, expert_bias, n_guesses, set(), room)
    return [e for e in wanted if e not in here]


@EXERCISE.wrong(stage="who is missing", says="is read again")
def reads_what_is_there(x, norm_weight, w_router, expert_bias, n_guesses, here, room):
    return _slipped("", x, norm_weight, w_router, expert_bias, n_guesses, set(), room)


@EXERCISE.wrong(stage="who is missing", says="More experts than there is room for")
def forgets_the_room(x, norm_weight, w_router, expert_bias, n_guesses, here, room):
    return _slipped("", x, norm_weight, w_router, expert_bias, n_guesses, here, None)


@EXERCISE.wrong(stage="large numbers", says="exp(300) is infinite")
def writes_the_softmax_out(x, norm_weight, w_router, expert_bias, n_guesses, here, room):
    given = {"x": x, "norm_weight": norm_weight, "w_router": w_router}
    given |= {"expert_bias": expert_bias, "n_guesses": n_guesses}
    h = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm_weight
    grown = (h @ w_router.T).exp()
    wanted = guessed(given) if grown.isfinite().all() else list(range(n_guesses))
    return [e for e in wanted if e not in here][:room]


@EXERCISE.right
def token_by_token(x, norm_weight, w_router, expert_bias, n_guesses, here, room):
    votes, mass = {}, {}
    for token in x:
        h = torch.nn.functional.rms_norm(token, token.shape, norm_weight, 1e-5)
        probs = torch.softmax(w_router @ h, dim=0)
        for e in (probs + expert_bias).argsort(descending=True)[:n_guesses].tolist():
            votes[e] = votes.get(e, 0) + 1
            mass[e] = mass.get(e, 0.0) + probs[e].item()
    wanted = sorted(votes, key=lambda e: (votes[e], mass[e]), reverse=True)
    return [e for e in wanted if e not in here][:room]


@EXERCISE.right
def in_double_precision(x, norm_weight, w_router, expert_bias, n_guesses, here, room):
    x, w_router = x.double(), w_router.double()
    h = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm_weight
    probs = (h @ w_router.mT).softmax(-1)
    ids = (probs + expert_bias).topk(n_guesses).indices
    chosen = torch.zeros_like(probs).scatter_(-1, ids, 1.0)
    votes, mass = chosen.sum(0), (chosen * probs).sum(0)
    urgency = votes + mass / (1 + len(x))
    wanted = urgency.argsort(descending=True)[: int((votes > 0).sum())].tolist()
    return [e for e in wanted if e not in here][: max(room, 0)]
