"""What each layer did with a text: who worked on what, how busy everybody was, how close it was."""

import torch
from jaxtyping import Int
from torch import Tensor

from moe_teach.analysis.audit.report import LayerView, Word
from moe_teach.analysis.routes.record import RouteRecord
from moe_teach.analysis.specialisation.counting import choices_by_label
from moe_teach.analysis.specialisation.information import entropy, mutual_information
from moe_teach.analysis.specialisation.nulls import permutation_null

CLOSE = 0.1  # of the even share 1 / E: a margin below it is called a close call
WORDS, OFTEN = 5, 3  # words named for an expert; how often one must occur to be named
_POINTS = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9])


def layer_views(record: RouteRecord, pieces: list[str], n_shown: int) -> tuple[LayerView, ...]:
    """Sum up each layer of a record whose tokens stand for `pieces`."""
    words, word_ids = record.token_ids.unique(return_inverse=True)
    first = torch.full((len(words),), len(word_ids))
    first.scatter_reduce_(0, word_ids, torch.arange(len(word_ids)), "amin")
    named = [pieces[place] for place in first.tolist()]
    return tuple(_view(record, layer, word_ids, named, n_shown) for layer in range(record.n_layers))


def _view(
    record: RouteRecord, layer: int, word_ids: Int[Tensor, " T"], named: list[str], n_shown: int
) -> LayerView:
    ids, margins = record.expert_ids[:, layer], record.margins[:, layer].double()
    counts = choices_by_label(ids, word_ids, record.n_experts, len(named))
    load = counts.sum(0).double() / counts.sum()

    def settled(words: Tensor) -> float:
        return mutual_information(ids, words)

    null = permutation_null(settled, word_ids, n=20)
    bits = entropy(ids.flatten())
    return LayerView(
        name=record.layers[layer],
        expert_ids=tuple(map(tuple, ids[:n_shown].tolist())),
        gates=tuple(
            tuple(round(g, 3) for g in row) for row in record.gates[:n_shown, layer].tolist()
        ),
        margins=tuple(round(margin, 4) for margin in margins[:n_shown].tolist()),
        load=tuple(round(share, 5) for share in load.tolist()),
        words=tuple(_words_of(counts, e, named, record.top_k) for e in range(record.n_experts)),
        margin_points=tuple(round(m, 5) for m in margins.quantile(_POINTS.double()).tolist()),
        close_calls=round(float((margins < CLOSE / record.n_experts).double().mean()), 4),
        choice_bits=round(bits, 3),
        token_bits=round(null.measured, 3),
        token_chance=round(null.mean, 3),
    )


def _words_of(
    counts: Int[Tensor, "words E"], expert: int, named: list[str], top_k: int
) -> tuple[Word, ...]:
    """Name the words that the expert takes most often beyond its load."""
    mine, occurs = counts[:, expert].double(), counts.sum(1) // top_k
    excess = mine - occurs * mine.sum() / occurs.sum()
    best = excess.masked_fill(mine < OFTEN, 0.0).topk(min(WORDS, len(named)))
    return tuple(
        Word(named[i], round(float(mine[i]) / int(occurs[i]), 3), int(occurs[i]))
        for i, by in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        if by > 0
    )
