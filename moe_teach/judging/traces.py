"""The words for what a call changed of its arguments: symptom, cause and cure of each."""

CHANGED = (
    "{who} changed its input `{name}` in place, and the caller still needs it as it was.",
    "`a += b`, `a[i] = b`, and methods that end in `_` or change a list write into the object that "
    "was given.",
    "Make a new value (`a = a + b`), or work on a copy.",
)
GRADIENT = (
    "{who} left a gradient in its input `{name}`.",
    "`backward()` adds to the `.grad` of every leaf that it reaches.",
    "`torch.autograd.grad` returns gradients and leaves nothing behind.",
)
SWITCHED = (
    "{who} switched `requires_grad` of its input `{name}`, which belongs to the caller.",
    "`requires_grad_()` and `requires_grad = True` mark the tensor itself, and no copy of it.",
    "Work on `x.detach().clone().requires_grad_()`.",
)
MODE = (
    "{who} left its input `{name}` in another mode.",
    "`train()` and `eval()` last until somebody calls the other one.",
    "Keep `training` as it was at the beginning, and set it again at the end.",
)
