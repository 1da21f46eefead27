"""What the named answers of several exercises are made of."""

import torch


def _best_two(groups):
    return groups.topk(min(2, groups.shape[-1]), dim=-1).values.sum(-1)


def _open(worth, top_groups):
    mask = torch.zeros_like(worth, dtype=torch.bool)
    return mask.scatter(-1, worth.topk(top_groups, dim=-1).indices, True)


def _limited(groups, worth, top_k, top_groups, closed=-torch.inf):
    is_open = _open(worth, top_groups)[..., None]
    return groups.masked_fill(~is_open, closed).flatten(1).topk(top_k, dim=-1).indices
