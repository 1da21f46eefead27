"""Chapter 13: two towers that learn which name belongs to which, from pairs in a batch."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from moe_teach.data.pairs import PAIRED, Pairs

WIDTH, KERNEL = 32, 3


class Tower(nn.Module):
    """Reads a name byte by byte, and what language it is in; answers with a unit vector.

    One tower serves both sides: the bytes of a name, two convolutions over its neighbours, the
    mean over the letters that are there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(256, WIDTH, padding_idx=0)
        self.languages = nn.Embedding(len(PAIRED), WIDTH)
        self.near = nn.Conv1d(WIDTH, 2 * WIDTH, KERNEL, padding=KERNEL // 2)
        self.far = nn.Conv1d(2 * WIDTH, 2 * WIDTH, KERNEL, padding=KERNEL // 2)
        self.answer = nn.Linear(2 * WIDTH, WIDTH)

    def forward(
        self, names: Int[Tensor, "n width"], languages: Int[Tensor, " n"]
    ) -> Float[Tensor, "n d"]:
        """Return a vector of length 1 for each name."""
        there = (names != 0)[:, None, :]
        x = self.letters(names) + self.languages(languages)[:, None, :]
        x = F.gelu(self.near(x.transpose(1, 2))) * there
        x = F.gelu(self.far(x)) * there
        mean = x.sum(2) / there.sum(2).clamp(min=1)
        return F.normalize(self.answer(mean), dim=1)


class Matcher(nn.Module):
    """Says how likely each left name of a batch belongs to each right one.

    The sigmoid contrastive loss (SigLIP, arXiv 2303.15343) asks of every pair of a batch, and not
    only of those that came together, whether it belongs together; its sharpness and its bias are
    learned, from 10 and -10 as there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tower = Tower()
        self.log_sharpness = nn.Parameter(torch.tensor(10.0).log())
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def forward(self, pairs: Pairs) -> Float[Tensor, "n n"]:
        """Return the logit of "belong together" for each left and each right name."""
        left = self.tower(pairs.left, pairs.languages[:, 0])
        right = self.tower(pairs.right, pairs.languages[:, 1])
        return self.log_sharpness.exp() * left @ right.T + self.bias


def pair_losses(logits: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Return the loss of every pair in nats: -log sigmoid(logit) on the diagonal, else of -logit.

    Their sum, divided by n, is the loss of the batch: a sum over pairs, which is what joint
    choice needs.
    """
    signs = 2 * torch.eye(len(logits)) - 1
    return -F.logsigmoid(signs * logits)


def seeded_matcher(seed: int) -> Matcher:
    """Draw a matcher from a seed; no other draw is disturbed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Matcher()


@torch.no_grad()
def matched(matcher: Matcher, pairs: Pairs) -> float:
    """Return how often the likeliest right name for a left one is its own, between 0 and 1."""
    return float((matcher(pairs).argmax(1) == torch.arange(len(pairs))).double().mean())


def forward_flops(n: int, width: int) -> int:
    """Return the floating-point operations of one forward pass over n pairs, all n x n compared."""
    letters = 2 * KERNEL * width * (WIDTH * 2 * WIDTH + 2 * WIDTH * 2 * WIDTH)
    return 2 * n * (letters + 2 * 2 * WIDTH * WIDTH) + 2 * n * n * WIDTH
