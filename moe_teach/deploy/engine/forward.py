"""Which way a model is read, and what is done to it before."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from moe_teach.config import refuse
from moe_teach.deploy.engine.cache import Reading
from moe_teach.deploy.engine.definition import definition
from moe_teach.deploy.engine.lean import LeanForward
from moe_teach.nn.mode import twin
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE
from moe_teach.nn.router import Router
from moe_teach.types import Routing

Forward = Callable[[Tensor, Reading, Tensor], tuple[Tensor, list[Routing]]]


def pass_through(model: Model) -> Forward:
    """Choose the way through a model: the lean one on a CPU in float32, else the definition."""
    return LeanForward(model) if LeanForward.serves(model) else partial(definition, model)


def serving(model: Model) -> Model:
    """Return the model ready to serve: in evaluation mode, and no expert ever full."""
    routers = [module for module in model.modules() if isinstance(module, Router)]
    refuse(
        any(router.config.choice == "expert" for router in routers),
        "Here the experts choose among all tokens they see, so an answer would depend on who else "
        "is served: serve a model with choice='token'.",
    )
    ready = twin(model).eval()
    for module in ready.modules():
        if isinstance(module, MoE):
            module.capacity_factor = module.capacity = None
    return ready
