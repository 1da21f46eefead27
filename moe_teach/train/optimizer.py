"""AdamW, and the decision which parameters weight decay may touch."""

from collections.abc import Iterator

import torch
from torch import nn

BETAS = (0.9, 0.95)  # the shorter memory of language-model training (GPT-3 and after)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Split the trainable parameters into those with weight decay and those without.

    Matrices decay: attention, feed-forwards, experts, the output projection. The rest does not:

    - norms and biases have one number per feature, whose natural value is not zero;
    - embeddings: decay would shrink the rows of rare tokens at steps that never saw them;
    - routers: decay pulls the logits together, towards even routing. It would be a balancing
      force that nobody asked for and that no record shows; `z_loss_coef` is the open one.

    Experts decay whether or not they are chosen, so an expert that gets no tokens fades.
    """
    still = set(_undecayed(model))
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trainable if id(p) not in still], "weight_decay": weight_decay},
        {"params": [p for p in trainable if id(p) in still], "weight_decay": 0.0},
    ]


def build_optimizer(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Make the optimiser of a run; the loop sets the learning rate at every step."""
    groups = [group for group in parameter_groups(model, weight_decay) if group["params"]]
    if not groups:
        raise ValueError("No parameter of this model requires a gradient: there is nothing to do.")
    device = groups[0]["params"][0].device.type
    # The fused step reads and writes every number once, instead of once per operation.
    return torch.optim.AdamW(groups, lr=lr, betas=BETAS, fused=device in ("cpu", "cuda"))


def _undecayed(model: nn.Module) -> Iterator[int]:
    for name, module in model.named_modules():
        is_router = "router" in name.split(".")
        for parameter in module.parameters(recurse=False):
            if is_router or parameter.dim() < 2 or isinstance(module, nn.Embedding):
                yield id(parameter)
