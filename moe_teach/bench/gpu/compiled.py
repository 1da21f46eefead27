"""Does the layer give the same inside `torch.compile`, and in how many pieces is it compiled."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from moe_teach.bench.gpu.correctness import compared
from moe_teach.bench.gpu.step import Row
from moe_teach.bench.kernel_cases import TOY, Case, shape_of
from moe_teach.bench.layer import OutputOnly, build_layer


def check_compiled(device: str, toy: bool) -> Iterator[Row]:
    """Compare a compiled layer with the same layer called step by step, forward and backward."""
    shape = TOY if toy else shape_of("OLMoE", 4096)
    case = Case("layer", shape)
    torch.manual_seed(0)
    with torch.device(device):
        layer = OutputOnly(build_layer(shape, case.dtype))
        x = torch.randn(shape.n_tokens, shape.d_model, dtype=case.dtype, requires_grad=True)
    # The toy needs no compiler of C++: that the layer can be traced is all that it tries.
    compiled = torch.compile(layer, backend="eager" if toy else "inductor")
    true, got = _results(layer, x), _results(compiled, x)
    for name, one in got.items():
        yield compared(case, "compiled", name, one, true[name].double())
    torch._dynamo.reset()
    told = torch._dynamo.explain(layer)(x)
    yield {"graph_breaks": told.graph_break_count, "graphs": told.graph_count}


def _results(layer: nn.Module, x: Tensor) -> dict[str, Tensor]:
    parameters = dict(layer.named_parameters())
    names = [name.removeprefix("_orig_mod.") for name in parameters]
    out = layer(x)
    gradients = torch.autograd.grad(out, [x, *parameters.values()], torch.ones_like(out))
    what = ("gradient of x", *(f"gradient of {name}" for name in names))
    return {"output": out.detach(), **dict(zip(what, gradients, strict=True))}
