"""Exercise 4.5: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch04_dispatch.drop_report import EXERCISE


def _report(kept, n_texts):
    lost = ~kept
    return {
        "dropped": lost.float().mean().item(),
        "by_text": lost.view(n_texts, -1).float().mean(1),
        "unserved": int(lost.all(1).sum()),
    }


@EXERCISE.wrong(stage="a dictionary", says="a plain float")
def leaves_tensors_in_the_report(kept, n_texts):
    return _report(kept, n_texts) | {"dropped": (~kept).float().mean()}


@EXERCISE.wrong(stage="dropped", says="the share of False")
def reports_the_kept_share(kept, n_texts):
    return _report(kept, n_texts) | {"dropped": kept.float().mean().item()}


@EXERCISE.wrong(stage="by text", says="return their share")
def counts_in_each_text(kept, n_texts):
    return _report(kept, n_texts) | {"by_text": (~kept).view(n_texts, -1).sum(1).float()}


@EXERCISE.wrong(stage="by text", says="in one piece")
def deals_the_tokens_out(kept, n_texts):
    dealt = (~kept).view(-1, n_texts, kept.shape[1]).float().mean((0, 2))
    return _report(kept, n_texts) | {"by_text": dealt}


@EXERCISE.wrong(stage="unserved", says="lost *all* their choices")
def counts_the_slightly_hurt(kept, n_texts):
    return _report(kept, n_texts) | {"unserved": int((~kept).any(1).sum())}


@EXERCISE.right
def by_splitting_the_batch(kept, n_texts):
    texts = kept.chunk(n_texts)
    return {
        "dropped": 1 - kept.double().mean().item(),
        "by_text": torch.tensor([1 - text.double().mean().item() for text in texts]),
        "unserved": sum(not any(token) for token in kept.tolist()),
    }


@EXERCISE.right
def in_float64_by_adding_up(kept, n_texts):
    lost = (1 - kept.double()).view(n_texts, -1, kept.shape[1])
    per_token = lost.sum(-1)
    return {
        "dropped": float(lost.sum() / lost.numel()),
        "by_text": per_token.sum(-1) / lost[0].numel(),
        "unserved": (per_token == kept.shape[1]).sum().item(),
    }


@EXERCISE.wrong(stage="by text", says="right to three digits only")
def averages_in_sixteen_bits(kept, n_texts):
    return _report(kept, n_texts) | {"by_text": (~kept).view(n_texts, -1).half().mean(1)}
