"""Into how many graphs torch.compile cuts an MoE layer, and whether the answer stays the same."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch

from moe_teach.config import MoEConfig, RouterConfig
from moe_teach.nn.moe import MoE

HEADER = ("dtype", "tokens", "gradients", "graphs", "breaks", "off by", "because")
N_TOKENS = (4, 512)
WIDTH = 64


@dataclass(frozen=True, slots=True)
class Cut:
    """One layer, compiled for one size: its graphs, the breaks between them, and its error.

    `off_by` is the largest difference to the layer that is not compiled, over its largest number.
    """

    dtype: torch.dtype
    n_tokens: int
    learns: bool
    n_graphs: int
    n_breaks: int
    off_by: float
    because: str

    def cells(self) -> list[str]:
        """Write the row of a table."""
        kind = str(self.dtype).removeprefix("torch.")
        learns = "with" if self.learns else "without"
        graphs = str(self.n_graphs), str(self.n_breaks)
        return [kind, str(self.n_tokens), learns, *graphs, f"{self.off_by:.0e}", self.because]


def cuts(dtypes: list[torch.dtype], device: str) -> Iterator[Cut]:
    """Compile a layer of 8 experts for few and many tokens, with gradients and without."""
    for dtype, n_tokens, learns in product(dtypes, N_TOKENS, (True, False)):
        torch.manual_seed(0)
        config = MoEConfig(router=RouterConfig(n_experts=8, top_k=2), d_ff=WIDTH)
        yield cut(MoE.build(WIDTH, config).to(device, dtype), n_tokens, learns)


def cut(layer: MoE, n_tokens: int, learns: bool) -> Cut:
    """Compile a layer without its memory of earlier sizes, and call it once each way."""
    parameter = next(layer.parameters())
    x = torch.randn(n_tokens, layer.experts.w_up.shape[-1]).to(parameter)
    torch._dynamo.reset()
    with torch.set_grad_enabled(learns):
        told = torch._dynamo.explain(layer)(x)
        torch._dynamo.reset()
        expected, got = layer(x)[0], torch.compile(layer, backend="aot_eager")(x)[0]
    reasons = {_sentence(reason.reason) for reason in told.break_reasons}
    off_by = ((got - expected).abs().max() / expected.abs().max()).item()
    counts = told.graph_count, told.graph_break_count
    return Cut(parameter.dtype, n_tokens, learns, *counts, off_by, "; ".join(sorted(reasons)))


def _sentence(reason: str) -> str:
    """Pick our own words out of what the compiler says, where there are any."""
    ours = reason.partition("(reason: ")[2].partition(")\n")[0]
    return (ours or reason.splitlines()[0]).partition(", so")[0]
