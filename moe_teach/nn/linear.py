"""The leaves of a model, which draw themselves.

Each knows how large its numbers must be, and nobody above corrects them afterwards. So
`reset_parameters` may be called on the modules of a model in any order and any number of times,
also after `to_empty()` has brought a model from the meta device.
"""

import torch
from torch import nn


class Linear(nn.Linear):
    """A linear map drawn with standard deviation `std * scale`; a bias starts at zero.

    `std` is 1 / sqrt(d_in) where it is not given: then an output is about as large as its input.
    With `std=0` the map starts at zero.
    """

    std: float | None = None  # torch draws first, in its own way, while it makes the weights

    def __init__(
        self,
        d_in: int,
        d_out: int,
        bias: bool = False,
        std: float | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__(d_in, d_out, bias=bias)
        self.std, self.scale = d_in**-0.5 if std is None else std, scale

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        if self.std is None:
            super().reset_parameters()
            return
        if self.std:
            nn.init.normal_(self.weight, std=self.std).mul_(self.scale)
        else:
            nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class Embedding(nn.Embedding):
    """One vector for each token, drawn small: then the first logits lie near zero."""

    STD = 0.02

    def reset_parameters(self) -> None:
        """Draw the vectors anew."""
        nn.init.normal_(self.weight, std=self.STD)


def reset_parts(module: nn.Module) -> None:
    """Draw every part below `module` that has something to draw."""
    for part in module.modules():
        if part is not module and hasattr(part, "reset_parameters"):
            part.reset_parameters()
