"""Exercise 4.7: wrong answers with what they must be told, and other right ones."""

import torch
from torch import nn
from torch.nn.functional import linear, one_hot

from moe_teach.chapters.ch04_dispatch.layer_parts import PARTS
from moe_teach.chapters.ch04_dispatch.my_moe import EXERCISE
from moe_teach.types import Routing


class _Layer(nn.Module):
    def __init__(self, d_model, n_experts, top_k, d_ff, normalize_gates=True, **parts):
        super().__init__()
        self.top_k, self.normalize_gates = top_k, normalize_gates
        self.router = nn.Linear(d_model, n_experts, bias=False)
        self.w_gate = nn.Parameter(torch.randn(n_experts, d_ff, d_model) / d_model**0.5)
        self.w_up = nn.Parameter(torch.randn(n_experts, d_ff, d_model) / d_model**0.5)
        self.w_down = nn.Parameter(torch.randn(n_experts, d_model, d_ff) / d_ff**0.5)
        for name in PARTS:
            setattr(self, name, parts.get(name) or PARTS[name])

    def logits(self, tokens):
        return linear(tokens.float(), self.router.weight.float())

    def choose(self, logits):
        return self.route(logits, self.top_k, self.normalize_gates)

    def place(self, ids):
        return self.sort(ids, torch.ones_like(ids, dtype=torch.bool), len(self.w_up))

    def ask(self, rows, counts):
        slices = rows.split(counts.tolist())
        own = zip(self.w_gate, self.w_up, self.w_down, strict=True)
        return torch.cat([self.expert(s, *w) for s, w in zip(slices, own, strict=True)])

    def bring(self, answers, gates, slot):
        return self.mix(answers.float(), gates, slot)

    def leave(self, y, x):
        return y.to(x.dtype).reshape(x.shape)

    def record(self, logits, gates, ids):
        return Routing(logits, logits.softmax(dim=-1), gates, ids)

    def fetch(self, tokens, token_idx):
        return tokens[token_idx]

    def forward(self, x, token_ids=None):
        tokens = x.reshape(-1, x.shape[-1])
        logits = self.logits(tokens)
        gates, ids = self.choose(logits)
        token_idx, slot, counts = self.place(ids)
        y = self.bring(self.ask(self.fetch(tokens, token_idx), counts), gates, slot)
        return self.leave(y, x), self.record(logits, gates, ids)


@EXERCISE.wrong(stage="what comes back", says="returns two things")
class ReturnsTheMixtureAlone(_Layer):
    def forward(self, x, token_ids=None):
        return super().forward(x)[0]


@EXERCISE.wrong(stage="what comes back", says="must have the shape of x")
class LeavesTheTokensFlat(_Layer):
    def leave(self, y, x):
        return y.to(x.dtype)


@EXERCISE.wrong(stage="what comes back", says="After a transpose use `reshape`")
class ViewsWhatLiesApart(_Layer):
    def forward(self, x, token_ids=None):
        y, routing = super().forward(x.view(-1, x.shape[-1]))
        return y.view(x.shape), routing


@EXERCISE.wrong(stage="the mixture", says="in the order of the tokens")
class GivesRowsInTokenOrder(_Layer):
    def fetch(self, tokens, token_idx):
        return tokens.repeat_interleave(self.top_k, dim=0)


@EXERCISE.wrong(stage="the mixture", says="read in the order of the rows")
class ForgetsTheWayBack(_Layer):
    def bring(self, answers, gates, slot):
        return self.mix(answers.float(), gates, torch.arange(slot.numel()).view_as(slot))


@EXERCISE.wrong(stage="the mixture", says="never reached `mix`")
class LeavesTheGatesAtHome(_Layer):
    def bring(self, answers, gates, slot):
        return self.mix(answers.float(), torch.ones_like(gates), slot)


@EXERCISE.wrong(stage="the mixture", says="beside other tokens than their own")
class MixesWithTheNeighboursGates(_Layer):
    def bring(self, answers, gates, slot):
        return self.mix(answers.float(), gates.roll(1, 0), slot)


@EXERCISE.wrong(stage="the mixture", says="changed places")
class SwapsTheMatrices(_Layer):
    def ask(self, rows, counts):
        own = zip(rows.split(counts.tolist()), self.w_up, self.w_gate, self.w_down, strict=True)
        return torch.cat([self.expert(*one) for one in own])


@EXERCISE.wrong(stage="the mixture", says="residual connection is the block's")
class AddsTheStream(_Layer):
    def leave(self, y, x):
        return x + y.reshape(x.shape)


@EXERCISE.wrong(stage="the mixture", says="The gates always sum to 1")
class AlwaysNormalises(_Layer):
    def choose(self, logits):
        return self.route(logits, self.top_k)


@EXERCISE.wrong(stage="the mixture", says="once and with its own gate")
class MixesTheFirstChoiceTwice(_Layer):
    def bring(self, answers, gates, slot):
        return self.mix(answers.float(), gates, slot[:, :1].expand_as(slot))


@EXERCISE.wrong(stage="the record", says="cover all E experts")
class RecordsTheChosenOnly(_Layer):
    def record(self, logits, gates, ids):
        return Routing(logits, gates, gates, ids)


@EXERCISE.wrong(stage="the record", says="everybody is kept")
class KeepsNobody(_Layer):
    def record(self, logits, gates, ids):
        return Routing(logits, logits.softmax(-1), gates, ids, torch.zeros_like(ids).bool())


@EXERCISE.wrong(stage="its parts", says="never asks its part `mix`")
class MixesByItself(_Layer):
    def bring(self, answers, gates, slot):
        return (gates[..., None] * answers[slot].float()).sum(dim=1)


@EXERCISE.wrong(stage="its parts", says="Each expert got more tokens than chose it")
class AsksEveryoneEverything(_Layer):
    def forward(self, x, token_ids=None):
        tokens = x.reshape(-1, x.shape[-1])
        logits = self.logits(tokens)
        gates, ids = self.choose(logits)
        token_idx, slot, counts = self.place(ids)
        own = zip(self.w_gate, self.w_up, self.w_down, strict=True)
        said = torch.stack([self.expert(tokens, *w) for w in own])
        answers = said[torch.arange(len(counts)).repeat_interleave(counts), token_idx]
        return self.leave(self.bring(answers, gates, slot), x), self.record(logits, gates, ids)


@EXERCISE.wrong(stage="bfloat16", says="rounded numbers tie")
class ScoresInTheDtypeOfX(_Layer):
    def logits(self, tokens):
        return self.router(tokens)


@EXERCISE.wrong(stage="bfloat16", says="End with `.to(x.dtype)`")
class WidensTheStream(_Layer):
    def leave(self, y, x):
        return y.reshape(x.shape)


@EXERCISE.wrong(stage="bfloat16", says="`mix` was handed rounded numbers")
class MixesWhatTheExpertsRounded(_Layer):
    def bring(self, answers, gates, slot):
        return self.mix(answers, gates, slot)


@EXERCISE.wrong(stage="gradients", says="`router.weight`")
class LogsTheGates(_Layer):
    def bring(self, answers, gates, slot):
        return self.mix(answers.float(), gates.detach(), slot)


@EXERCISE.wrong(stage="gradients", says="`w_down`")
class ReadsTheWeightsByData(_Layer):
    def ask(self, rows, counts):
        own = zip(self.w_gate, self.w_up, self.w_down.detach(), strict=True)
        slices = zip(rows.split(counts.tolist()), own, strict=True)
        return torch.cat([self.expert(s, *w) for s, w in slices])


@EXERCISE.wrong(stage="with your parts", says="With your own part `sort`, the answer to 4.2")
class BringsABrokenSort(_Layer):
    def __init__(self, *sizes, **parts):
        super().__init__(*sizes, **parts)
        if "sort" not in parts:
            self.sort = lambda ids, kept, n: (*PARTS["sort"](ids.flip(0), kept, n),)


@EXERCISE.wrong(stage="with your parts", says="It raises RuntimeError")
class BringsAMixThatRaises(_Layer):
    def __init__(self, *sizes, **parts):
        super().__init__(*sizes, **parts)
        self.mix = parts.get("mix") or (lambda y, gates, slot: torch.stack([]))


@EXERCISE.wrong(stage="the laws", says='breaks the law "repeatable"')
class CountsItsTokens(_Layer):
    def __init__(self, *sizes, **parts):
        super().__init__(*sizes, **parts)
        self.register_buffer("n_seen", torch.zeros((), dtype=torch.long))

    def forward(self, x, token_ids=None):
        self.n_seen += x[..., 0].numel()
        return super().forward(x)


@EXERCISE.wrong(stage="it learns", says="the loss hardly falls")
class ForgetsToTrain(_Layer):
    def forward(self, x, token_ids=None):
        y, routing = super().forward(x)
        return (y, routing) if len(y) < 100 else (y.detach() + 0 * y, routing)


@EXERCISE.right
class WithALoopOverTheExperts(_Layer):
    def forward(self, x, token_ids=None):
        tokens = x.flatten(0, -2) if x.dim() > 1 else x[None]
        logits = tokens.float() @ self.router.weight.float().t()
        gates, ids = self.route(
            logits=logits, top_k=self.top_k, normalize_gates=self.normalize_gates
        )
        token_idx, slot, counts = self.sort(ids, ids >= 0, len(self.w_gate))
        y, end = tokens.new_zeros(slot.numel(), tokens.shape[1], dtype=torch.float32), 0
        for e, count in enumerate(counts.tolist()):
            rows = slice(end, end + count)
            end += count
            if count:
                own = self.w_gate[e], self.w_up[e], self.w_down[e]
                y[rows] = self.expert(tokens[token_idx[rows]], *own).float()
        out = self.mix(y, gates, slot).to(x.dtype).unflatten(0, x.shape[:-1])
        return out, Routing(logits, logits.softmax(-1), gates, ids)


@EXERCISE.right
class WithMasksInTheSortedRows(_Layer):
    def ask(self, rows, counts):
        owner = one_hot(torch.arange(len(counts)).repeat_interleave(counts), len(counts)).bool()
        answers = torch.empty_like(rows, dtype=torch.float64)
        for e, mine in enumerate(owner.T):
            said = self.expert(rows[mine], self.w_gate[e], self.w_up[e], self.w_down[e])
            answers = answers.masked_scatter(mine[:, None], said.double())
        return answers
